"""What a test of SELECTs expects against what came of its rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from schemas.select_test import ExpectedEvent, ExpectedGuest
from transforms.desired.build import Desired

_FIELDS = ("name", "description", "location_id", "entrance_id", "host_email")
_INSTANTS = ("starts_at", "ends_at")


@dataclass(frozen=True)
class Difference:
    """One thing that is not as expected. `key`: of the event; `what`: event, becomes, check, a
    field, `guest ADDRESS` or its field.
    """

    key: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"event {self.key}, {self.what}: expected {self.expected}, found {self.found}"


def compare_expected(
    expected: Sequence[ExpectedEvent],
    desired: Desired,
    rejects: pd.DataFrame,
    *,
    ids: dict[str, str],
    rejected_guests: tuple[int, int] = (0, 0),
) -> list[Difference]:
    """Every difference, by the order of the expected events; then what nobody expected.

    rejects: REJECT_COLUMNS of the source and of links. ids: source_event_id → sourceId of every
    expected event. rejected_guests: rows expected, and found.
    """
    own = dict(
        zip(desired.dispositions["own_id"], desired.dispositions["disposition"], strict=True)
    )
    events = {row["source_id"]: row for row in desired.events.to_dict("records")}
    found = list(_compare_known(expected, desired, rejects, ids, own, events))
    names = {source_id: key for key, source_id in ids.items()}
    keys = {source_id: str(event["source_event_id"]) for source_id, event in events.items()}
    for source_id, disposition in own.items():
        if source_id not in names:
            found.append(
                Difference(keys.get(source_id, str(source_id)), "event", "none", disposition)
            )
    if rejected_guests[0] != rejected_guests[1]:
        checks = (
            ", ".join(sorted(rejects.loc[rejects["part"] == "guests", "check"].unique())) or "none"
        )
        found.append(
            Difference(
                "-",
                "guest rows set aside",
                str(rejected_guests[0]),
                f"{rejected_guests[1]} ({checks})",
            )
        )
    unkeyed = rejects[(rejects["part"] == "events") & rejects["source_event_id"].isna()]
    if len(unkeyed):
        found.append(Difference("-", "event rows without a key", "0", str(len(unkeyed))))
    return found


def _compare_known(
    expected: Sequence[ExpectedEvent],
    desired: Desired,
    rejects: pd.DataFrame,
    ids: dict[str, str],
    own: dict[str, str],
    events: dict,
) -> Iterator[Difference]:
    for event in expected:
        source_id = ids[event.key]
        disposition = own.get(source_id)
        if disposition is None:
            yield Difference(event.key, "event", event.becomes, "no row of the events SELECT")
            continue
        checks = sorted(
            rejects.loc[
                (rejects["part"] == "events") & (rejects["source_event_id"] == event.key), "check"
            ].unique()
        )
        if disposition != event.becomes:
            why = f" ({', '.join(checks)})" if checks else ""
            yield Difference(event.key, "becomes", event.becomes, disposition + why)
        elif event.check_ is not None and event.check_ not in checks:
            yield Difference(event.key, "check", event.check_, ", ".join(checks) or "none")
        elif event.becomes == "due":
            yield from _compare_fields(event, events[source_id])
            guests = desired.invitations[desired.invitations["source_id"] == source_id]
            yield from _compare_guests(event.key, event.list_guests(), guests)


def _compare_fields(event: ExpectedEvent, row: dict) -> Iterator[Difference]:
    for name in _FIELDS:
        wanted, got = getattr(event, name), row[name]
        if wanted is not None and (pd.isna(got) or got != wanted):
            yield Difference(
                event.key, name, repr(wanted), "nothing" if pd.isna(got) else repr(got)
            )
    for name in _INSTANTS:
        wanted = getattr(event, name)
        if wanted is not None and row[name] != wanted:
            yield Difference(
                event.key,
                name,
                f"{pd.Timestamp(wanted).tz_convert('UTC'):%Y-%m-%d %H:%M:%SZ}",
                f"{row[name]:%Y-%m-%d %H:%M:%SZ}",
            )


def _compare_guests(
    key: str, wanted: Sequence[ExpectedGuest], guests: pd.DataFrame
) -> Iterator[Difference]:
    left = [_read_guest(row) for row in guests.to_dict("records")]
    for guest in wanted:
        match = next(
            (other for other in left if other.label.casefold() == guest.label.casefold()), None
        )
        if match is None:
            yield Difference(key, f"guest {guest.label}", "invited", "not invited")
            continue
        left.remove(match)
        for name in ExpectedGuest.model_fields:
            want, got = getattr(guest, name), getattr(match, name)
            if want is not None and name != "email" and want != got:
                yield Difference(
                    key,
                    f"guest {guest.label}, {name}",
                    repr(want),
                    "nothing" if got is None else repr(got),
                )
    for guest in left:
        yield Difference(key, f"guest {guest.label}", "not invited", "invited")


def _read_guest(row: dict) -> ExpectedGuest:
    return ExpectedGuest(
        **{name: None if pd.isna(row[name]) else row[name] for name in ExpectedGuest.model_fields}
    )
