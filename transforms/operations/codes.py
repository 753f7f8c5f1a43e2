"""Which invitations may have a code for the gate, and how their files are called. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import orjson
import pandas as pd

from transforms.desired.payload import list_guests
from transforms.naming.ids import parse_invitation_id
from transforms.naming.naming import Naming

MANIFEST_COLUMNS = [
    "file",
    "invitation_id",
    "event_id",
    "source",
    "source_event_id",
    "guest_id",
    "starts_at",
    "ends_at",
    "location_id",
]
_PLAIN = re.compile(r"[A-Za-z0-9._~-]{1,120}")
_RESERVED = re.compile(
    r"(?:\..*|con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|\.+|.*\.", re.IGNORECASE
)


@dataclass(frozen=True)
class Choice:
    """`codes`: MANIFEST_COLUMNS without `file`, a row an invitation. `refused`: event or invitation
    asked for → why it has no code.
    """

    codes: pd.DataFrame
    refused: Mapping[str, str]


def choose_codes(
    snapshot: pd.DataFrame,
    payloads: Mapping[str, str],
    unanswered: Collection[str],
    naming: Naming,
    *,
    as_of: pd.Timestamp,
    asked: Sequence[str] = (),
    shared: bool = False,
) -> Choice:
    """The invitations that essentry has confirmed, of events that are not over.

    snapshot: source_id, source, location_id, starts_at, ends_at, state. payloads: confirmed
    canonical JSON of them. unanswered: events with a request whose outcome is not known, and so nor
    what their guests hold. asked: ids of events and invitations; none asks for all.
    """
    rows: list[dict] = []
    built = {adopted: own for own, adopted in naming.guests.items()}
    refused: dict[str, str] = {}
    wanted = set(asked)
    found: set[str] = set()
    for event in snapshot.sort_values(["starts_at", "source_id"], kind="stable").to_dict("records"):
        key = event["source_id"]
        guests = list_guests(orjson.loads(payloads.get(key) or "{}"))
        chosen = [guest for guest in guests if not wanted or key in wanted or guest in wanted]
        named = ({key} | set(guests)) & wanted
        found |= named
        why = _refuse(event, key in unanswered, as_of)
        if why is None and key in wanted and not guests:
            why = "the event has no guest"
        if why is not None:
            refused |= dict.fromkeys(named, why)
            if (
                not wanted
                and event["state"] == "active"
                and key in unanswered
                and not event["ends_at"] <= as_of
            ):
                refused[key] = why
            continue
        rows += [_describe(event, guest, naming, built, shared=shared) for guest in sorted(chosen)]
    refused |= dict.fromkeys(
        sorted(wanted - found), "essentry has confirmed no such event or invitation"
    )
    return Choice(pd.DataFrame(rows, columns=MANIFEST_COLUMNS[1:]), refused)


def _refuse(event: Mapping, unanswered: bool, as_of: pd.Timestamp) -> str | None:
    if event["state"] == "deleted":
        return "the event was cancelled"
    if event["state"] != "active" or event["ends_at"] <= as_of:
        return "the event is over"
    if unanswered:
        return "essentry has not answered for it yet: run `essentry-sync sync` first"
    return None


def _describe(
    event: Mapping, invitation_id: str, naming: Naming, built: Mapping[str, str], *, shared: bool
) -> dict:
    """One invitation without a person in it: a name and an address are the source's to join, by its
    own keys.
    """
    source_event_id: str | None
    try:
        source_event_id = naming.read_event(event["source_id"]).event
    except ValueError:  # shortened, or another integration's
        source_event_id = None
    try:
        guest_id = parse_invitation_id(built.get(invitation_id, invitation_id), shared=shared).guest
    except ValueError:
        guest_id = None
    return {
        "invitation_id": invitation_id,
        "event_id": event["source_id"],
        "source": event["source"],
        "source_event_id": source_event_id,
        "guest_id": guest_id,
        "starts_at": event["starts_at"],
        "ends_at": event["ends_at"],
        "location_id": event["location_id"],
    }


def name_files(invitation_ids: Sequence[str], suffix: str) -> list[str]:
    """A file name an invitation, the same every time: its id where every file system takes that,
    else a digest of it.

    Two ids that differ in capitals alone get two names on a file system that does not tell them
    apart.
    """
    folded: dict[str, int] = {}
    for key in set(invitation_ids):
        folded[key.casefold()] = folded.get(key.casefold(), 0) + 1
    return [
        (key if _is_plain(key) and folded[key.casefold()] == 1 else _digest(key)) + suffix
        for key in invitation_ids
    ]


def _is_plain(key: str) -> bool:
    return bool(_PLAIN.fullmatch(key)) and not _RESERVED.fullmatch(key)


def _digest(key: str) -> str:
    return "id-" + blake2b(key.encode(), digest_size=16).hexdigest()
