"""Invite before cancelling (S21): a guest who moves from one meeting to another, and a meeting that
becomes part of another. Pure: no I/O, no clock.

What a change waits for is a condition: its event, `after`, and the event whose change essentry must
have confirmed before. A guest whose new meeting waits itself (refused before, outside the pilot,
held as reappeared) stays in the old one until then, and so do guests who change places with one
another: such a removal goes in a later run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import orjson
import pandas as pd

from transforms.arrow.codes import to_plain, to_texts
from transforms.arrow.columns import find_positions, is_among
from transforms.arrow.rows import pick_rows
from transforms.desired.payload import fingerprint, list_guests, name_person
from transforms.diff.body import dump_payload
from transforms.diff.changes import Diff

MOVED = "a guest moves to a meeting that waits"
"""Why a removal, or the end of a meeting, is held."""
_LEAVING = ("guestless", "merged")
"""Reasons of a delete that leave the guests free for another meeting."""


@dataclass(frozen=True)
class Moves:
    """`kept`: event → identities of guests whom its update does not remove yet. `dropped`: events
    whose change is held for a guest's sake.
    """

    kept: Mapping[str, set[str]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()


def find_moves(diff: Diff) -> tuple[Diff, Moves]:
    """The diff of a whole night with its conditions, without the removals that must wait; and what
    of its changes has to be left out.
    """
    leaving = _list_leaving(diff)
    if leaving.empty:
        return diff, Moves()
    people = set(leaving["identity"])
    mails, awaited = (
        pick_rows(frame, is_among(to_texts(frame["identity"]), people))
        for frame in (diff.mails, diff.awaited)
    )
    coming = _group(
        to_plain(pick_rows(mails, (to_texts(mails["kind"]) == "invited").to_numpy(dtype=bool)))
    )
    waiting = _group(to_plain(awaited))
    kept: dict[str, set[str]] = {}
    needs: dict[str, dict[str, set[str]]] = {}
    # few: guests who are cancelled
    for source_id, who in leaving[["source_id", "identity"]].itertuples(index=False):
        others = coming.get(who, set()) - {source_id}
        if others:
            needs.setdefault(source_id, {})[who] = others
        elif waiting.get(who, set()) - {source_id}:
            kept.setdefault(source_id, set()).add(who)
    deleted = set(
        diff.changes.loc[(diff.changes["action"] == "delete").to_numpy(dtype=bool), "source_id"]
    )
    for circle in _find_circles(
        {key: set().union(*wanted.values()) for key, wanted in needs.items()}
    ):
        for source_id in circle:
            for who in [who for who, others in needs[source_id].items() if others & circle]:
                del needs[source_id][who]
                kept.setdefault(source_id, set()).add(who)
    left = leaving.groupby("source_id")["identity"].agg(set)
    dropped = frozenset(
        key
        for key, who in kept.items()
        if key in deleted or (key in diff.removing and who >= left[key])
    )
    conditions = [
        (key, "after", other)
        for key, wanted in needs.items()
        if key not in dropped
        for other in sorted(set().union(*wanted.values(), set()))
    ]
    moves = Moves({key: who for key, who in kept.items() if key not in dropped}, dropped)
    return _leave_out(
        replace(diff, conditions=sorted({*diff.conditions, *conditions})), moves
    ), moves


def _list_leaving(diff: Diff) -> pd.DataFrame:
    """source_id and identity of guests who are cancelled in a meeting that stays, or ends for want
    of guests.
    """
    cancelled = to_plain(
        pick_rows(diff.mails, (to_texts(diff.mails["kind"]) == "cancelled").to_numpy(dtype=bool))
    )
    action, reason = (to_texts(diff.changes[name]) for name in ("action", "reason"))
    gone = diff.changes.loc[
        ((action == "delete") & ~reason.isin(_LEAVING)).to_numpy(dtype=bool), "source_id"
    ]
    return pick_rows(cancelled, ~is_among(cancelled["source_id"], gone))[
        ["source_id", "identity"]
    ].drop_duplicates()


def _group(mails: pd.DataFrame) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    # of the people who leave alone
    for source_id, who in mails[["source_id", "identity"]].itertuples(index=False):
        found.setdefault(who, set()).add(source_id)
    return found


def _find_circles(after: Mapping[str, set[str]]) -> Iterator[set[str]]:
    """Sets of events that all wait for one another (strongly connected, more than one), by Tarjan's
    way without recursion.
    """
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for start in after:
        if start in number:
            continue
        work: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(after[start])))]
        number[start] = lowest[start] = len(number)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, rest = work[-1]
            step = next(rest, None)
            if step is None:
                work.pop()
                if work:
                    lowest[work[-1][0]] = min(lowest[work[-1][0]], lowest[node])
                if lowest[node] == number[node]:
                    circle: set[str] = set()
                    while node not in circle:
                        circle.add(stack.pop())
                    on_stack -= circle
                    if len(circle) > 1:
                        yield circle
            elif step not in number:
                number[step] = lowest[step] = len(number)
                stack.append(step)
                on_stack.add(step)
                work.append((step, iter(sorted(after.get(step, ())))))
            elif step in on_stack:
                lowest[node] = min(lowest[node], number[step])


def _leave_out(diff: Diff, moves: Moves) -> Diff:
    """The diff as it is when the moves have their way."""
    if not moves.kept and not moves.dropped:
        return diff
    mails = to_plain(diff.mails)
    stays = is_among(mails["source_id"], list(moves.dropped))
    for source_id, who in moves.kept.items():
        stays |= (
            (mails["source_id"] == source_id)
            & (mails["kind"] == "cancelled")
            & mails["identity"].isin(who)
        ).to_numpy(dtype=bool)
    decisions = to_plain(diff.decisions)
    out = is_among(decisions["source_id"], list(moves.dropped))
    return replace(
        diff,
        changes=pick_rows(diff.changes, ~is_among(diff.changes["source_id"], list(moves.dropped))),
        decisions=decisions.assign(
            action=decisions["action"].mask(out, "held"),
            reason=decisions["reason"].mask(out, MOVED),
        ),
        mails=pick_rows(mails, ~stays),
        kept=diff.kept | dict.fromkeys(moves.kept, MOVED),
        conditions=[row for row in diff.conditions if row[0] not in moves.dropped],
    )


def rewrite_pages(
    pages: Callable[[], Iterable[pd.DataFrame]], moves: Moves
) -> Callable[[], Iterator[pd.DataFrame]]:
    """The pages of a run of changes as the moves leave them."""

    def rewritten() -> Iterator[pd.DataFrame]:
        for page in pages():
            rest = (
                pick_rows(page, ~is_among(page["source_id"], list(moves.dropped)))
                if moves.dropped
                else page
            )
            rows = (
                [place for place, key in enumerate(rest["source_id"]) if key in moves.kept]
                if moves.kept
                else []
            )
            if rows:
                rest = rest.copy()
                for place in rows:  # few
                    row = rest.iloc[place].to_dict()
                    for name, value in keep_guests(row, moves.kept[row["source_id"]]).items():
                        rest.iloc[place, rest.columns.get_loc(name)] = value
            if len(rest):
                yield rest

    return rewritten


def renew_changes(
    changes: pd.DataFrame,
    pages: Iterable[Callable[[], Iterable[pd.DataFrame]]],
    kept: Collection[str],
) -> pd.DataFrame:
    """The changes with the content that they lead to by the rewritten pages, which a plan stores:
    what is compared with a plan must be what the plan would have. kept: events of `Moves.kept`.
    """
    ids, prints, guests = [], [], []
    for run in pages:
        for page in run():
            for row in to_plain(
                pick_rows(page, is_among(page["source_id"], list(kept)))
            ).itertuples():
                ids.append(row.source_id)
                prints.append(row.fingerprint)
                guests.append(row.guests)
    place = find_positions(changes["source_id"], pd.Series(ids, dtype="str"))
    mine = place >= 0
    renewed = {}
    for name, values in (("fingerprint", prints), ("guests", guests)):
        column = changes[name].astype("object").copy()
        column[mine] = [values[at] for at in place[mine]]
        renewed[name] = column.astype(changes[name].dtype)
    return changes.assign(**renewed)


def keep_guests(change: Mapping[str, object], people: set[str]) -> dict[str, object]:
    """What differs in an update that does not remove these people: after, body, guests_json,
    fingerprint and guests.
    """
    told = orjson.loads(str(change["guests_json"]))
    kept = {guest["sourceId"]: guest for guest in told["removed"] if name_person(guest) in people}
    told["removed"] = [guest for guest in told["removed"] if guest["sourceId"] not in kept]
    after, body = orjson.loads(str(change["after"])), orjson.loads(str(change["body"]))
    after["invitations"] = [*after.get("invitations", []), *kept.values()]
    text = dump_payload(after)
    sent = [guest for guest in body.get("invitations", []) if guest["sourceId"] not in kept]
    # the list is the whole one: who is not in it goes
    if not change["ignore_missing"] and "invitations" in body:
        sent = sorted([*sent, *kept.values()], key=lambda guest: guest["sourceId"])
    if "invitations" in body:
        body["invitations"] = sent
        if not sent and change["ignore_missing"]:
            del body["invitations"]
    return {
        "after": text, "body": orjson.dumps(body).decode(),
        "guests_json": orjson.dumps(told).decode(), "fingerprint": fingerprint(text),
        "guests": len(list_guests(after)),
    }  # fmt: skip


def list_others(conditions: Iterable[tuple[str, str, str]], kind: str) -> dict[str, list[str]]:
    """Event → the others of its conditions of a kind."""
    found: dict[str, list[str]] = {}
    for source_id, what, other in conditions:
        if what == kind:
            found.setdefault(source_id, []).append(other)
    return found
