"""Restrict a night to a selection of its events: what was compared stays as it is, and of its
changes the chosen ones alone are planned.

Events that guests move between, and records that are or were one meeting, go together: who is
chosen brings them along, and they are told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pandas as pd

from flows.night.compare import Compared
from flows.night.known import were_sent
from flows.night.pages import Pages
from flows.night.run import Night
from flows.night.watch import Watch, list_names
from schemas.errors import ConfigurationError
from transforms.arrow.codes import to_texts
from transforms.arrow.columns import is_among
from transforms.arrow.rows import pick_rows
from transforms.diff.unions import read_members
from transforms.guards.restriction import Restriction, find_near, find_part, list_involved
from transforms.guards.selection import find_parted
from transforms.masking import mask_text
from transforms.report.holds import NOT_DONE
from transforms.words import plural

TOLD = "told"
"""The kind of condition of an event that a selection's plan tells, and does not change."""


@dataclass(frozen=True)
class Selected:
    """What a restricted run is about. `ids`: the events chosen, with and without a change; `along`:
    those that come along.
    """

    words: str
    ids: frozenset[str]
    along: tuple[str, ...] = ()


def restrict(
    night: Night, compared: Compared, failed: Mapping[str, str]
) -> tuple[Compared, Selected]:
    """The night with the chosen changes alone; its decisions are still those of all events. Raises
    ConfigurationError with the remedy.
    """
    only, diff, snapshot = night.only, compared.diff, compared.known.snapshot
    sent = snapshot[were_sent(snapshot)]
    if sent.empty:
        raise ConfigurationError(
            "nothing was ever sent: the first run is a whole one, so that somebody sees all of it; "
            "run `essentry-sync sync`, limited by [pilot]"
        )
    _check_part(night, compared, failed)
    if only.by_id:
        ids = _find_ids(night, compared, failed)
        chosen = is_among(diff.changes["source_id"], list(ids))
    else:
        timezone = night.config.report.timezone
        chosen = find_part(diff.changes, only, compared.naming, timezone)
        held = find_part(snapshot, only, compared.naming, timezone) & (
            snapshot["state"] == "active"
        ).to_numpy(dtype=bool, na_value=False)
        ids = {*diff.changes.loc[chosen, "source_id"], *snapshot.loc[held, "source_id"]}
        ids |= _find_waiting(night, compared)
        ids -= set(diff.changes.loc[~chosen, "source_id"])  # moved out of the part
    names = to_texts(diff.changes["source_id"]).tolist()
    along = sorted(
        {key for group in find_parted(names, chosen, diff.conditions) for key in group}
        - set(diff.changes.loc[chosen, "source_id"])
    )
    chosen |= is_among(diff.changes["source_id"], along)
    changes = pick_rows(diff.changes, chosen)
    for source in sorted(
        list_involved(changes, compared.naming) - set(sent["source"]) - _list_united(sent, compared)
    ):
        raise ConfigurationError(
            f"nothing was ever sent of the source {source!r}: its first run is a whole one, "
            "so that somebody sees all of it; run `essentry-sync sync`"
        )
    taken = frozenset(changes["source_id"])
    pages = [_keep_pages(run, taken) for run in compared.pages]
    narrowed = replace(
        diff,
        changes=changes,
        mails=pick_rows(diff.mails, is_among(diff.mails["source_id"], list(taken))),
        conditions=[row for row in diff.conditions if row[0] in taken],
    )
    sources = list_involved(changes, compared.naming)
    compared = replace(
        compared,
        diff=narrowed,
        pages=pages,
        order=compared.order[chosen],
        hosts=_count_hosts(compared, pages),
        findings=[finding for finding in compared.findings if finding.scope.split()[1] in sources],
    )
    return compared, Selected(str(only), frozenset({*ids, *along}), tuple(along))


def _find_waiting(night: Night, compared: Compared) -> set[str]:
    """The events of a part that essentry does not hold and that are not sent tonight: held, and of
    whole sources those whose rows cannot be read. They are told (S19).
    """
    only, decisions = night.only, compared.diff.decisions
    held = decisions.loc[to_texts(decisions["action"]).isin(NOT_DONE), "source_id"]
    found = (night.watch.due if night.watch else set()) & set(to_texts(held))
    if only.locations or only.first or only.last:  # of what cannot be read, no place is known
        return found
    rows = compared.desired.dispositions
    mine = (rows["disposition"] == "quarantined") & rows["source"].isin(list(only.sources))
    return found | set(rows.loc[mine, "source_id"])


def narrow_decisions(compared: Compared, selected: Selected) -> Compared:
    """What is told of a restricted run: the decisions about the chosen events, and nothing to
    settle of any other.
    """
    diff = compared.diff
    return replace(
        compared,
        diff=replace(
            diff,
            decisions=pick_rows(
                diff.decisions, is_among(diff.decisions["source_id"], list(selected.ids))
            ),
            kept={key: why for key, why in diff.kept.items() if key in selected.ids},
            absent_now=[],
            refreshed={},
            rejoined={},
        ),
    )


def list_told(compared: Compared, rejects: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Conditions of a selection's plan that name its events without a change that ask a person, so
    that the run that applies it tells them as one command does (S20). rejects: of the selection.
    """
    decisions = compared.diff.decisions
    held = decisions.loc[to_texts(decisions["action"]).isin(NOT_DONE), "source_id"]
    ids = {*to_texts(held), *rejects["source_id"].dropna()}
    return [(source_id, TOLD, "") for source_id in sorted(ids)]


def _check_part(night: Night, compared: Compared, failed: Mapping[str, str]) -> None:
    """Every source and location that is named is one, and was read."""
    only, config = night.only, night.config
    for source in only.sources:
        if source not in config.sources:
            raise ConfigurationError(
                f"--source {source}: the configuration names {', '.join(sorted(config.sources))}"
            )
    for source in failed if not only.by_id and not only.sources else only.sources:
        if source in failed:
            raise _tell_failed(source, failed)
    places = {
        entry.location_id
        for source in config.sources.values()
        for entry in (*source.sites.values(), *source.rooms.values())
    }
    places |= {
        *compared.known.snapshot["location_id"].dropna(),
        *compared.diff.changes["location_id"].dropna(),
    }
    known = sorted({int(place) for place in places if place is not None})
    for location in only.locations:
        if location not in known:
            raise ConfigurationError(
                f"--location {location}: essentry's locations here are "
                f"{', '.join(map(str, known)) or 'none'}"
            )


def _tell_failed(source: str, failed: Mapping[str, str]) -> ConfigurationError:
    return ConfigurationError(
        f"the source {source} could not be read ({mask_text(failed[source])}), "
        "so nothing of it can be sent: see `essentry-sync doctor`, then try again"
    )


def _find_ids(night: Night, compared: Compared, failed: Mapping[str, str]) -> set[str]:
    watch = night.watch or Watch(night.only)
    decided = dict(
        zip(
            to_texts(compared.diff.decisions["source_id"]),
            to_texts(compared.diff.decisions["reason"]),
            strict=True,
        )
    )
    ids = {_find_event(text, decided, watch, compared, failed) for text in night.only.events}
    if not night.only.guests:
        return ids
    with_guest: set[str] = set()
    for text in night.only.guests:
        found = watch.invited.get(text, set()) | (
            set(night.state.find_held_with(text)) & set(decided)
        )
        if night.only.events and not found & ids:
            raise ConfigurationError(
                f"--guest {mask_text(text)}: no guest of {', '.join(sorted(ids))}; "
                "leave --guest or --event out"
            )
        if not found:
            unread = f", and the source {', '.join(failed)} could not be read" if failed else ""
            raise ConfigurationError(
                f"--guest {mask_text(text)}: no event to come has this guest, "
                f"in a source or in essentry{unread}; write the e-mail address as the source has "
                "it, or the id of the invitation"
            )
        with_guest |= found
    return ids & with_guest if ids else with_guest


def _find_event(
    text: str,
    decided: Mapping[str, str],
    watch: Watch,
    compared: Compared,
    failed: Mapping[str, str],
) -> str:
    """The event that a text means, which is the meeting when it names a record of one."""
    members = _read_unions(compared)
    found = {
        target
        for name in list_names(text, compared.naming)
        if (target := _find_meeting(name, decided, watch, members))
    }
    if text in found:
        found = {text}
    if len(found) > 1:
        raise ConfigurationError(
            f"several sources have an event {text!r}: say which by its id, "
            f"{' or '.join(sorted(found))}"
        )
    owner = compared.naming.find_source(next(iter(found), text))
    if owner in failed:
        raise _tell_failed(owner, failed)
    if found:
        return found.pop()
    near = find_near(text, {*decided, *watch.records})
    hint = (
        f"; near it are {', '.join(near)}"
        if near
        else ": an id is <source>-<source_event_id>, as reports show it, or the source's own key"
    )
    unread = (
        f"; the source {', '.join(failed)} could not be read, and may have it" if failed else ""
    )
    raise ConfigurationError(
        f"neither essentry nor a source has an event {mask_text(text)!r}{unread}{hint}"
    )


def _find_meeting(
    name: str, decided: Mapping[str, str], watch: Watch, members: Mapping[str, str]
) -> str | None:
    if name in watch.records and watch.records[name][0] != name:
        target = watch.records[name][0]
        return target if name not in decided else name
    if name in decided or name in watch.records:
        return name
    return members.get(name)


def _read_unions(compared: Compared) -> dict[str, str]:
    """Record → the meeting that essentry has it in."""
    snapshot = compared.known.snapshot
    rows = snapshot.loc[
        snapshot["members_json"].notna() & (snapshot["state"] == "active"),
        ["source_id", "members_json"],
    ]
    return {
        record: key
        for key, text in rows.itertuples(index=False, name=None)
        for record in read_members(text)
    }


def _list_united(sent: pd.DataFrame, compared: Compared) -> set[str]:
    """The sources of records that were sent as part of a meeting."""
    return list_involved(sent[sent["members_json"].notna()], compared.naming)


def _keep_pages(pages: Pages, ids: Collection[str]) -> Pages:
    """The pages of a run with these events alone, kept: they are looked at before they are
    stored.
    """
    kept = [
        rest
        for page in pages()
        if len(rest := pick_rows(page, is_among(page["source_id"], list(ids))))
    ]

    def iterate() -> Iterator[pd.DataFrame]:
        yield from kept

    return iterate


def _count_hosts(compared: Compared, pages: list[Pages]) -> pd.DataFrame:
    """The night's hosts by domain, `changed` counting the chosen events alone."""
    counts: dict[tuple[str, str], int] = {}
    for run in pages:
        for page in run():
            sent = page[page["action"].isin(["create", "update"])]
            for source, text in sent[["source", "after"]].itertuples(index=False, name=None):
                host: dict[str, Any] = (
                    orjson.loads(text).get("host", {}) if isinstance(text, str) else {}
                )
                key = source, str(host.get("email", "")).rpartition("@")[2]
                counts[key] = counts.get(key, 0) + 1
    hosts = compared.hosts
    changed = [
        counts.get(key, 0) for key in hosts[["source", "domain"]].itertuples(index=False, name=None)
    ]
    return hosts.assign(changed=pd.Series(changed, index=hosts.index, dtype="int64"))


def describe_selected(selected: Selected, restriction: Restriction) -> str:
    """What comes along, in words; empty when nothing does."""
    if not selected.along:
        return ""
    named = ", ".join(selected.along[:5]) + (
        f" and {len(selected.along) - 5:,} more" if len(selected.along) > 5 else ""
    )
    return (
        f"{plural(len(selected.along), 'event')} {'comes' if len(selected.along) == 1 else 'come'} "
        f"along with {restriction}: {named}"
    )
