"""A comparison of two configurations in words: lines for a terminal, Markdown for a merge request,
plain data. People are masked. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transforms.masking import mask_address, mask_name
from transforms.operations.differences import KINDS, Comparison, Difference, Outcome, Rejected
from transforms.words import plural

MOST_EVENTS = 200
"""So many events are listed one by one in Markdown and on the terminal."""
MOST_PEOPLE = 5
WORDS = {
    "create": "invited",
    "update": "changed",
    "delete": "cancelled",
    "expire": "over",
    "dormant": "waits",
}


def dump_comparison(comparison: Comparison) -> dict[str, Any]:
    """The comparison as data for JSON."""
    mine, others = comparison.list_rejected()
    return {
        "same": comparison.same,
        "state": "none" if comparison.empty else "copied",
        "settings": list(comparison.settings),
        "people_mailed": {
            kind: dict(zip(("this", "other"), _count_people(comparison, kind), strict=True))
            for kind in KINDS
        },
        "events": [_dump_event(difference) for difference in comparison.differences],
        "quarantined": {
            "this": [_dump_row(row) for row in mine],
            "other": [_dump_row(row) for row in others],
        },
    }


def _dump_event(difference: Difference) -> dict[str, Any]:
    people = {kind: difference.list_people(kind) for kind in KINDS}
    return {
        "source_id": difference.source_id,
        "source": difference.this.source or difference.other.source,
        **{
            side: {"action": out.action, "reason": out.reason or None}
            for side, out in (("this", difference.this), ("other", difference.other))
        },
        "fields": list(difference.fields),
        "people": {
            kind: {
                "this_only": [mask_identity(who) for who in mine],
                "other_only": [mask_identity(who) for who in others],
            }
            for kind, (mine, others) in people.items()
            if mine or others
        },
        "causes": list(difference.causes),
    }


def _dump_row(row: Rejected) -> dict[str, str | None]:
    return {
        name: value or None
        for name, value in zip(
            ("source", "part", "source_event_id", "column", "check"), row, strict=True
        )
    }


def mask_identity(identity: str) -> str:
    """Whom a mail goes to, as logs may show it."""
    return (
        mask_name(identity.removeprefix("name:"))
        if identity.startswith("name:")
        else mask_address(identity)
    )


def _count_people(comparison: Comparison, kind: str) -> tuple[int, int]:
    """Distinct people, by this configuration and by the other."""
    mine, others = (
        len({who for event in side.events.values() for how, who in event.people if how == kind})
        for side in (comparison.this, comparison.other)
    )
    return mine, others


def _name_outcome(outcome: Outcome) -> str:
    word = WORDS.get(outcome.action, outcome.action)
    return f"{word} ({outcome.reason})" if outcome.reason and outcome.reason != "new" else word


def _name_people(difference: Difference) -> str:
    parts = []
    for kind in KINDS:
        for side, people in zip(
            ("", " by the other only"), difference.list_people(kind), strict=True
        ):
            if people:
                shown = ", ".join(mask_identity(who) for who in people[:MOST_PEOPLE])
                more = (
                    f" and {len(people) - MOST_PEOPLE:,} more" if len(people) > MOST_PEOPLE else ""
                )
                parts.append(f"{kind}{side}: {shown}{more}")
    return "; ".join(parts)


def _name_row(row: Rejected) -> str:
    source, part, event, column, check = row
    return f"{source}, {part} of {event or 'no readable key'}: {column} ({check})"


def _sum_up(comparison: Comparison, against: str) -> str:
    rows = sum(map(len, comparison.list_rejected()))
    if comparison.same:
        what = "nobody fares otherwise"
    else:
        what = (
            f"{plural(len(comparison.differences), 'event')} and {plural(rows, 'quarantined row')} "
            "differ"
        )
    state = "; there is no state yet, so everything is new to essentry" if comparison.empty else ""
    return f"compared with {against}: {what}; nothing was sent or stored{state}"


def _count_causes(comparison: Comparison) -> list[tuple[str, int]]:
    return [
        (words, sum(words in event.causes for event in comparison.differences))
        for words in comparison.settings
    ]


def render_lines(comparison: Comparison, against: str) -> list[str]:
    """For a terminal."""
    lines = [_sum_up(comparison, against)]
    lines += [
        f"setting {words} ({plural(count, 'event')})" for words, count in _count_causes(comparison)
    ]
    for kind in KINDS:
        mine, others = _count_people(comparison, kind)
        if mine or others:
            lines.append(f"people {kind}: {mine:,}, by the other {others:,}")
    for event in comparison.differences[:MOST_EVENTS]:
        told = (
            f"{event.source_id}: {_name_outcome(event.this)}, by the other "
            f"{_name_outcome(event.other)}"
        )
        told += f"; {', '.join(event.fields)}" if event.fields else ""
        people = _name_people(event)
        lines.append(
            told
            + (f"; {people}" if people else "")
            + (f"; because of {' and '.join(event.causes)}" if event.causes else "")
        )
    lines += _more(comparison)
    for words, rows in zip(
        ("quarantined", "quarantined by the other only"), comparison.list_rejected(), strict=True
    ):
        lines += [f"{words}: {_name_row(row)}" for row in rows[:MOST_EVENTS]]
    return lines


def _more(comparison: Comparison) -> list[str]:
    left = len(comparison.differences) - MOST_EVENTS
    return [f"and {plural(left, 'event')} more: --json has them all"] if left > 0 else []


def render_markdown(comparison: Comparison, against: str) -> str:
    """For a merge request."""
    lines = [
        "## essentry-sync: what this change would do",
        "",
        f"C{_sum_up(comparison, against)[1:]}.",
        "",
    ]
    sides = comparison.this, comparison.other
    counts: list[tuple[str, int, int]] = [
        (f"people {kind}", *_count_people(comparison, kind)) for kind in KINDS
    ]
    for action in ("create", "update", "delete", "held"):
        mine, others = (
            sum(event.action == action for event in side.events.values()) for side in sides
        )
        counts.append((f"events {WORDS.get(action, action)}", mine, others))
    counts.append(
        ("rows quarantined", comparison.this.rejected.total(), comparison.other.rejected.total())
    )
    lines += _table(
        ("", "this", "other"), [(name, f"{mine:,}", f"{others:,}") for name, mine, others in counts]
    )
    if comparison.settings:
        lines += ["### Settings that differ (other → this)", ""]
        lines += _table(
            ("setting", "events it changes"),
            [(words, f"{count:,}") for words, count in _count_causes(comparison)],
        )
    if comparison.differences:
        lines += ["### Events that fare otherwise", ""]
        lines += _table(
            ("event", "this", "other", "what", "people", "because of"),
            [
                (
                    e.source_id,
                    _name_outcome(e.this),
                    _name_outcome(e.other),
                    ", ".join(e.fields),
                    _name_people(e),
                    " and ".join(e.causes),
                )
                for e in comparison.differences[:MOST_EVENTS]
            ],
        )
        lines += [f"{line}\n" for line in _more(comparison)]
    for title, rejected in zip(("this one", "the other"), comparison.list_rejected(), strict=True):
        if rejected:
            lines += [
                f"### Rows that {title} alone sets aside",
                "",
                *(f"- {_escape(_name_row(row))}" for row in rejected[:MOST_EVENTS]),
                "",
            ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(map(_escape, row))} |" for row in rows),
        "",
    ]


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
