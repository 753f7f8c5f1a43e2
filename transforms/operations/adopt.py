"""Match the ids of another integration with the records of the sources. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pandas as pd

from schemas.config import Config
from schemas.frames import MAX_TEXT
from transforms.desired.build import Desired, _records
from transforms.diff.unions import read_members
from transforms.naming.ids import escape_part
from transforms.naming.naming import Naming
from transforms.validate.source import Validated

REQUIRED = ("source", "source_event_id", "event_id")
ADOPT_COLUMNS = (*REQUIRED, "guest", "invitation_id")
EVENT_COLUMNS = [
    "source_id", "source", "location_id", "name", "starts_at", "ends_at", "fingerprint",
    "fingerprint_version", "payload", "guests", "state",
    "absent_runs",
]  # fmt: skip
RECORD_COLUMNS = ["own_id", "source", "location_id", "name", "starts_at", "ends_at"]
OVER = "past"
"""The one disposition of which nothing is written down: nobody comes any more, and nothing is to be
cancelled.
"""


class AdoptError(ValueError):
    """A line that does not fit; `line` is its number."""

    def __init__(self, line: str, text: str) -> None:
        super().__init__(text)
        self.line = line


@dataclass(frozen=True)
class Adoption:
    """`ids`: rows own_id, kind (event, guest), adopted_id, source. `events`: rows of the snapshot,
    for what is due and what is not due yet.

    known: ids that were taken over before; not_due: disposition → events; unnamed: guests of due
    events whose invitation is not named.
    """

    ids: list[dict[str, str]]
    events: pd.DataFrame
    known: int
    not_due: Mapping[str, int]
    unnamed: int


def match_adoption(
    lines: Sequence[Mapping[str, str]],
    desired: Desired,
    guests: pd.DataFrame,
    naming: Naming,
    adopted: Mapping[str, Mapping[str, str]],
    snapshot: pd.DataFrame,
    *,
    shared: bool,
    records: pd.DataFrame | None = None,
    asked: Collection[str] = (),
) -> Adoption:
    """Match the lines (ADOPT_COLUMNS and `line`) with what the sources show. Raises AdoptError for
    the first line that does not fit.

    desired, guests: built with `naming`, without any id taken over. adopted: kind → built id → id
    taken over before. snapshot: what essentry-sync holds confirmed. records: RECORD_COLUMNS of
    every event of the sources, due or not (`list_records`). asked: ids of requests without an
    answer.
    """
    fate = dict(
        zip(desired.dispositions["own_id"], desired.dispositions["disposition"], strict=True)
    )
    people = _list_people(guests)
    active = set(snapshot.loc[snapshot["state"] == "active", "source_id"])
    united = _list_united(snapshot)
    remembered = dict(zip(snapshot["source_id"], snapshot["state"], strict=True))
    taken = {kind: {new: own for own, new in adopted[kind].items()} for kind in ("event", "guest")}
    new: dict[str, dict[str, str]] = {"event": {}, "guest": {}}
    sources: dict[str, str] = {}
    invitations: dict[str, dict[str, str]] = {}  # event → built invitation id → taken over
    known = 0
    for row in lines:  # one look-up a line; the file is read once in the life of a company
        line, source = row["line"], row["source"]
        if source not in naming.prefixes:
            raise AdoptError(
                line,
                (
                    f"there is no source {source!r}: the configuration names "
                    f"{', '.join(naming.prefixes)}"
                ),
            )
        prefix = escape_part(naming.prefix_of(source))
        own = naming.name_events(
            pd.Series([naming.prefix_of(source)], dtype="str"),
            pd.Series([row["source_event_id"]], dtype="str"),
        )[0]
        if own not in fate:
            raise AdoptError(
                line,
                (
                    f"{source} shows no event {row['source_event_id']!r}: correct the key, "
                    "or leave the line out"
                ),
            )
        event = _check_id(row, "event_id")
        if own in active and adopted["event"].get(own) is None:
            raise AdoptError(
                line, f"essentry-sync has created this event itself, as {own}: leave the line out"
            )
        if own in asked or own in united:
            raise AdoptError(
                line,
                (
                    f"essentry-sync has sent this event itself, as {united.get(own, own)}: "
                    "leave the line out"
                ),
            )
        if event in fate and event != own:
            raise AdoptError(
                line, f"event_id {event!r} is the id of another record of {source}: correct it"
            )
        if event in remembered and adopted["event"].get(own) != event:
            raise AdoptError(
                line,
                (
                    f"event_id {event!r} is an event of essentry-sync itself "
                    f"({remembered[event]}): correct it, or leave the line out"
                ),
            )
        before = adopted["event"].get(own) or new["event"].get(own)
        if before is not None and before != event:
            raise AdoptError(
                line,
                (
                    f"the event {row['source_event_id']!r} is taken over as {before!r}: "
                    "one event has one id"
                ),
            )
        if taken["event"].setdefault(event, own) != own:
            raise AdoptError(
                line, f"event_id {event!r} is given to two events: correct one of them"
            )
        known += own in adopted["event"] and own not in invitations
        if own not in adopted["event"]:
            new["event"][own] = event
        sources[own] = source
        mine = invitations.setdefault(own, {})
        if not row["guest"] and not row["invitation_id"]:
            continue
        if not row["guest"] or not row["invitation_id"]:
            raise AdoptError(line, "guest and invitation_id belong together: give both, or neither")
        part = escape_part(row["guest"])
        by_key = f"{prefix}-{part}" if shared else f"{own}-{part}"
        guest = (
            by_key
            if by_key in people.get(own, {}).values()
            else people.get(own, {}).get(row["guest"].lower())
        )
        if guest is None:
            raise AdoptError(
                line,
                (
                    f"{source} shows no such guest of the event {row['source_event_id']!r}: "
                    "give guest_id or the e-mail address"
                ),
            )
        invitation = _check_id(row, "invitation_id")
        if guest in mine or invitation in mine.values():
            raise AdoptError(
                line,
                "the guest or the invitation_id occurs twice for this event: leave one line out",
            )
        before = adopted["guest"].get(guest) or new["guest"].get(guest)
        if before is not None and before != invitation:
            raise AdoptError(
                line,
                (
                    "the guest is taken over under another invitation_id already: "
                    "one invitation has one id"
                ),
            )
        mine[guest] = invitation
        known += guest in adopted["guest"]
        if guest not in adopted["guest"]:
            new["guest"][guest] = invitation
            sources[guest] = source
    due = desired.events[desired.events["source_id"].isin(list(new["event"]))]
    ids = [
        {"own_id": own, "kind": kind, "adopted_id": to, "source": sources[own]}
        for kind in new
        for own, to in new[kind].items()
    ]
    not_due = Counter(fate[own] for own in new["event"] if fate[own] != "due")
    wanted = desired.invitations[desired.invitations["source_id"].isin(due["source_id"])]
    unnamed = sum(
        guest not in invitations[event]
        for event, guest in wanted[["source_id", "invitation_id"]].itertuples(index=False)
    )
    events = _as_confirmed(due, new["event"], invitations)
    later = [own for own in new["event"] if fate[own] not in ("due", OVER)]
    if later:
        events = pd.concat(
            [
                frame
                for frame in (events, _as_later(later, records, sources, new["event"], invitations))
                if len(frame)
            ]
        )
    return Adoption(ids, events.reset_index(drop=True), known, dict(not_due), unnamed)


def list_records(sources: Sequence[Validated], config: Config, naming: Naming) -> pd.DataFrame:
    """RECORD_COLUMNS of every event that could be read, whatever its state."""
    frames = [_records(v, config.sources[v.source], naming)[RECORD_COLUMNS] for v in sources]
    return pd.concat(frames, ignore_index=True).drop_duplicates("own_id", ignore_index=True)


def _list_united(snapshot: pd.DataFrame) -> dict[str, str]:
    """Record → the meeting of several records that it is part of, as essentry has it."""
    there = snapshot[(snapshot["state"] == "active") & snapshot["members_json"].notna()]
    return {
        record: source_id
        for source_id, text in zip(there["source_id"], there["members_json"], strict=True)
        for record in read_members(text)
    }


def _check_id(row: Mapping[str, str], key: str) -> str:
    value = row[key]
    if len(value) > MAX_TEXT or not value.isprintable():
        raise AdoptError(
            row["line"],
            (
                f"{key} must be printable and at most {MAX_TEXT} characters: "
                "copy it from the other integration"
            ),
        )
    return value


def _list_people(guests: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Event → e-mail address, or built id where there is none → built invitation id."""
    people: dict[str, dict[str, str]] = {}
    for event, guest, email in guests[["own_id", "invitation_id", "email"]].itertuples(index=False):
        mine = people.setdefault(event, {})
        mine[guest] = guest
        if isinstance(email, str):
            mine.setdefault(email, guest)
    return people


def _as_confirmed(
    due: pd.DataFrame, ids: Mapping[str, str], invitations: Mapping[str, Mapping[str, str]]
) -> pd.DataFrame:
    """Snapshot rows that know ids and nothing else, so that the next run sends the complete state
    as an update.
    """
    if due.empty:
        return pd.DataFrame(columns=EVENT_COLUMNS)
    due = due.reset_index(drop=True)
    names = due["source_id"].map(dict(ids))
    guests = [sorted(invitations[own].values()) for own in due["source_id"]]
    payloads = [
        orjson.dumps(
            {"sourceId": name, "invitations": [{"sourceId": guest} for guest in mine]}
        ).decode()
        for name, mine in zip(names, guests, strict=True)
    ]
    columns: dict[str, Any] = {
        c: due[c] for c in ("source", "location_id", "name", "starts_at", "ends_at")
    }
    columns |= {
        "source_id": names,
        "fingerprint": "",
        "fingerprint_version": 0,
        "payload": payloads,
        "guests": [len(mine) for mine in guests],
    }
    return pd.DataFrame(columns | {"state": "active", "absent_runs": 0})[EVENT_COLUMNS].reset_index(
        drop=True
    )


def _as_later(
    own_ids: Sequence[str],
    records: pd.DataFrame | None,
    sources: Mapping[str, str],
    ids: Mapping[str, str],
    invitations: Mapping[str, Mapping[str, str]],
) -> pd.DataFrame:
    """The same of events that are not due (yet): essentry holds them, so what becomes of them later
    must reach it.

    What the source does not show of them (a quarantined row) stays empty.
    """
    known = pd.DataFrame(columns=RECORD_COLUMNS) if records is None else records
    rows = pd.DataFrame({"own_id": list(own_ids)}, dtype="str").merge(
        known.drop(columns="source"), on="own_id", how="left", validate="1:1"
    )
    instants = {
        name: pd.to_datetime(rows[name], utc=True).astype("datetime64[us, UTC]")
        for name in ("starts_at", "ends_at")
    }
    rows = rows.assign(
        source=rows["own_id"].map(dict(sources)), source_id=rows["own_id"], **instants
    )
    rows = rows.astype({"location_id": "Int64", "name": "str"})
    return _as_confirmed(rows, ids, invitations)
