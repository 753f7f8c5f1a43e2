"""What is known of essentry before a comparison, and the numbers of guests without a key of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
import pandas as pd

from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.desired.payload import list_guests
from transforms.diff.changes import Known
from transforms.naming.guest_numbers import digest_guest_keys


def number_guests(state: State, keyless: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, dict[str, int]]:
    """Numbers for guests without a key of their own, of all partitions; new ones are kept in the state store, so that a plan's ids hold.

    keyless: source → texts, of each partition. Returns source → text → number.
    """
    texts: dict[str, set[str]] = {}
    for part in keyless:
        for source, found in part.items():
            texts.setdefault(source, set()).update(found)
    numbers: dict[str, dict[str, int]] = {}
    for name, some in texts.items():
        ordered = sorted(some)
        digests = digest_guest_keys(ordered, state.salt())
        known = state.guest_numbers(name, digests)
        numbers[name] = {text: known[digest] for text, digest in zip(ordered, digests, strict=True)}
    return numbers


def _pick_numbers(numbers: Mapping[str, Mapping[str, int]], keyless: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    return {source: {text: numbers[source][text] for text in texts} for source, texts in keyless.items()}


def check_sources(config: Config, snapshot: pd.DataFrame) -> None:
    """S15: a source that essentry has events of may not just leave the configuration. Raises ConfigurationError."""
    rest = pick_rows(snapshot[["source", "state"]], ~is_among(snapshot["source"], list(config.sources)))
    for name in sorted(set(rest.loc[rest["state"] == "active", "source"])):
        raise ConfigurationError(
            f"the state holds events of the source {name!r}, which the configuration does not name: put it back, "
            f'or give its new name id_prefix = "{name}" and run `essentry-sync rename {name} NEW` (the ids stay, nobody is mailed), '
            f"or `essentry-sync retire {name}` (its events stay in essentry as they are)"
        )


def load_known(state: State) -> Known:
    """What is known of essentry: the snapshot, and on top of it every request whose outcome is unknown (S8)."""
    snapshot = state.read_fingerprints()
    intents = state.open_intents()
    unanswered: dict[str, dict[str, dict]] = {}
    removals: dict[str, set[str]] = {}
    latest: dict[str, dict] = {}
    perhaps_deleted: dict[str, str] = {}
    for intent in intents.to_dict("records"):
        guests = unanswered.setdefault(intent["source_id"], {})
        for text in (intent["after"], intent["body"]):
            if isinstance(text, str):
                for key, guest in list_guests(orjson.loads(text)).items():
                    if "deletedAt" in guest:
                        removals.setdefault(intent["source_id"], set()).add(key)
                    else:
                        guests.setdefault(key, guest)
        latest[intent["source_id"]] = intent
        if intent["action"] == "delete":
            perhaps_deleted[intent["source_id"]] = intent["reason"]
    snapshot = snapshot.assign(dirty=is_among(snapshot["source_id"], list(latest)))
    asked = snapshot[snapshot["dirty"]]  # few
    active = set(asked.loc[asked["state"] == "active", "source_id"])
    lost = [row for key, row in latest.items() if key not in active and row["action"] != "expire"]
    ghosts = {row["source_id"] for row in lost}
    if lost:
        rows = pd.DataFrame(lost).reindex(columns=snapshot.columns)
        trace = asked.set_index("source_id")  # an event that was deleted or over before: a plan is judged stale by it
        rows = rows.assign(
            **{name: rows["source_id"].map(trace[name]) for name in ("fingerprint", "confirmed_run")},
            fingerprint_version=0, state="active", absent_runs=0, dirty=True, guests=0,
        )  # fmt: skip
        snapshot = pd.concat(
            [snapshot[~is_among(snapshot["source_id"], ghosts)], rows.astype(snapshot.dtypes.to_dict())], ignore_index=True
        )

    def payloads(ids: list[str]) -> dict[str, str]:
        stored = dict(state.read_payloads([key for key in ids if key not in ghosts]))
        return stored | {key: "{}" for key in ids if key in ghosts}

    return Known(snapshot, payloads, unanswered, state.rejections(), removals, perhaps_deleted)
