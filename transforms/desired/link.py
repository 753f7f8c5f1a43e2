"""One meeting held in two sources becomes one event. Pure.

A row with `linked_source` and `linked_event_id` points at the record it belongs to. The record
pointed at gives the content, the pointing one fills what is empty, and a place that a room's own
entry gave outranks one that only the site gave. Guests are united. The id that essentry already
knows stays; with none, it is the smallest (S10). A cancelled record pointed at cancels the meeting;
a cancelled pointer only drops out. A link to nothing holds both, a circle is set aside.

A link is believed when the two overlap or begin on one day, or have a guest in common, or essentry
has them as one meeting: a booking that is branched off from another takes its link along, and its
guests are not those of that interview.
"""

from __future__ import annotations

from dataclasses import dataclass

import orjson
import pandas as pd

from transforms.arrow.columns import is_among, no_text
from transforms.naming.naming import Naming

_FILLED = ("name", "description", "host_first_name", "host_last_name", "host_phone")
_TOLD = ("name", "description")
NEAR = pd.Timedelta(hours=12)
"""A room is booked for the morning, and the interview is after lunch."""


@dataclass(frozen=True)
class Linked:
    """`events` with `source_id` of the meeting and `own_id` of the record; `status` may be
    `merged`. `problems`: own_id, check.

    `meetings`: own_id → source_id of the meeting, where that is another record's, for the guests.
    `held_targets`: ids that must not be deleted.
    """

    events: pd.DataFrame
    meetings: pd.Series
    problems: pd.DataFrame
    held_targets: set[str]


def link_events(
    events: pd.DataFrame,
    *,
    guests: pd.DataFrame,
    confirmed: pd.DataFrame,
    quarantined: set[str],
    naming: Naming | None = None,
) -> Linked:
    """Unite linked records.

    events: own_id, source, status, starts_at, ends_at, linked_source, linked_event_id and content
    columns. guests: own_id and identity. confirmed: source_id and members_json of what essentry
    holds. quarantined: ids of records that failed validation. naming: of the records pointed at; by
    default their source's name is their prefix.
    """
    events = events.assign(source_id=events["own_id"], members=no_text(events.index))
    events, taken = _take_over(events, confirmed)
    pointing = events[events["linked_source"].notna() & events["linked_event_id"].notna()]
    problems: list[tuple[str, str]] = []
    held: set[str] = set()
    if pointing.empty:
        return _linked(events, problems, held)
    known = set(confirmed["source_id"])
    naming = naming or Naming({})
    prefixes = pointing["linked_source"].map(naming.prefix_of).astype("str")
    target = dict(
        zip(
            pointing["own_id"],
            naming.name_events(prefixes, pointing["linked_event_id"]),
            strict=True,
        )
    )
    present = dict(zip(events["own_id"], events.index, strict=True))
    groups: dict[str, list[str]] = {}
    strangers = _find_strangers(events, guests, confirmed, target, present)
    # linked meetings are few against all events, and chains are short: following them one by one is
    # clearest
    for own in target:
        root, seen, doubted = own, {own}, False
        while root in target:
            doubted |= root in strangers
            root = target[root]
            if root in seen:
                break
            seen.add(root)
        if root in target:
            problems.append((own, "link_cycle"))
        elif root not in present:
            if events.at[present[own], "status"] != "cancelled":
                problems.append((own, "link"))
            held.update({own, root} - quarantined | {root})
        elif doubted:
            problems.append((own, "link_strangers"))
        else:
            groups.setdefault(root, [root]).append(own)
    updates: dict[str, dict[int, object]] = {
        column: {}
        for column in ("source_id", "status", "members", "location_id", "entrance_id", *_FILLED)
    }
    for root, members in groups.items():
        _unite(events, present, root, members, known, taken, updates)
    columns = {}
    for column, values in updates.items():
        if values:
            filled = events[column].astype("object")
            filled.loc[list(values)] = list(values.values())
            columns[column] = filled.astype(events[column].dtype)
    return _linked(events.assign(**columns), problems, held)


def _find_strangers(
    events: pd.DataFrame,
    guests: pd.DataFrame,
    confirmed: pd.DataFrame,
    target: dict[str, str],
    present: dict[str, int],
) -> set[str]:
    """The pointing records that have guests and neither the time nor a guest of the record that
    they point at.
    """
    pairs = {
        own: other
        for own, other in target.items()
        if other in present and events.at[present[own], "status"] == "confirmed"
    }
    mine = guests[is_among(guests["own_id"], [*pairs, *pairs.values()])]
    people: dict[str, set[str]] = {}
    for own, who in zip(mine["own_id"], mine["identity"], strict=True):
        people.setdefault(own, set()).add(who)
    united: dict[str, set[str]] = {}
    joint = confirmed[confirmed["members_json"].notna()]
    for source_id, members in zip(joint["source_id"], joint["members_json"], strict=True):
        together = {source_id, *orjson.loads(members)}
        united |= dict.fromkeys(together, together)
    found = set()
    for own, other in pairs.items():
        one, two = (events.loc[present[record]] for record in (own, other))
        overlapping = one["starts_at"] < two["ends_at"] and two["starts_at"] < one["ends_at"]
        near = overlapping or abs(one["starts_at"] - two["starts_at"]) < NEAR
        if own in people and not (
            near or people[own] & people.get(other, set()) or other in united.get(own, ())
        ):
            found.add(own)
    return found


def _unite(
    events: pd.DataFrame,
    present: dict[str, int],
    root: str,
    members: list[str],
    known: set[str],
    taken: set[str],
    updates: dict[str, dict[int, object]],
) -> None:
    row = events.loc[present[root]]
    confirmed = [own for own in members if own in known and own not in taken]
    chosen = root if root in confirmed else min(confirmed or members)
    if events.at[present[root], "source_id"] != root:  # an id taken over earlier stays
        chosen = events.at[present[root], "source_id"]
    if row["status"] != "confirmed":  # cancelled or pending: the whole meeting is
        for own in members:
            updates["status"][present[own]] = row["status"]
        return
    joined = [
        own for own in members if own == root or events.at[present[own], "status"] == "confirmed"
    ]
    updates["source_id"][present[root]] = chosen
    updates["members"][present[root]] = orjson.dumps(
        sorted(set(members) - {chosen} | ({root} - {chosen}))
    ).decode()
    for own in joined[1:]:
        other = events.loc[present[own]]
        updates["source_id"][present[own]] = chosen
        updates["status"][present[own]] = "merged"
        for column in _FILLED:
            # a private meeting takes no words from anywhere
            if column in _TOLD and row.get("private", False):
                continue
            if (
                pd.isna(row[column])
                and not pd.isna(other[column])
                and (column[:5] != "host_" or other["host_email"] == row["host_email"])
            ):
                updates[column].setdefault(present[root], other[column])
        if other["by_room"] and not row["by_room"]:
            updates["location_id"].setdefault(present[root], other["location_id"])
            updates["entrance_id"].setdefault(present[root], other["entrance_id"])


def _take_over(events: pd.DataFrame, confirmed: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """When the record whose id a meeting carries is gone or unreadable and another record of the
    meeting remains, the id stays with that one.
    """
    joint = confirmed[confirmed["members_json"].notna()]
    taken: set[str] = set()
    if joint.empty:
        return events, taken
    own = pd.Series(events.index, index=events["own_id"])
    known = set(confirmed["source_id"])
    ids, united = events["source_id"].copy(), events["members"].copy()
    for source_id, members in zip(joint["source_id"], joint["members_json"], strict=True):
        if source_id in own.index:
            continue
        remaining = [m for m in orjson.loads(members) if m in own.index and m not in known]
        remaining = [m for m in remaining if events.at[own[m], "status"] == "confirmed"]
        if len(remaining) > 1:  # the one that gives the content
            remaining = [m for m in remaining if pd.isna(events.at[own[m], "linked_event_id"])]
        if len(remaining) == 1:
            ids.loc[own[remaining[0]]] = source_id
            united.loc[own[remaining[0]]] = orjson.dumps(remaining).decode()
            taken.add(remaining[0])
    return events.assign(source_id=ids, members=united), taken


def _linked(events: pd.DataFrame, problems: list[tuple[str, str]], held: set[str]) -> Linked:
    moved = events[(events["source_id"] != events["own_id"]).to_numpy(dtype=bool)]
    meetings = pd.Series(moved["source_id"].to_numpy(), index=moved["own_id"], dtype="str")
    table = pd.DataFrame(problems, columns=["own_id", "check"]).astype("str")
    return Linked(events, meetings, table, held)
