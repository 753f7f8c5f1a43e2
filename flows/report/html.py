"""report.html: one file that opens from disk, needs no network, and holds at most MAX_LISTED
changes. Renders data, decides nothing.

The head, what needs attention, the plots and the first changes are plain HTML. The changes are a
table of columns as JSON, compressed (gzip, base64: no markup can be in it) and written into the
page as text by its script, a page of rows at a time.
"""

from __future__ import annotations

import gzip
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import orjson
from markupsafe import Markup, escape

from flows.report import plots
from transforms.report.words import (
    DELETE_REASONS,
    LABELS,
    MEASURES,
    Wording,
    show_instant,
    show_person,
    show_value,
)
from transforms.words import plural

FIRST_ROWS = 50
"""Rows that are there without JavaScript."""
SHARED = ("action", "reason", "source", "location", "state", "code", "message")
STATUS_WORDS = {
    "done": "Done", "idle": "Nothing to do", "incomplete": "Done with rejects", "plan": (
        "A plan, nothing was sent"
    ),
    "stopped": "Stopped by a guard", "failed": "Failed",
}  # fmt: skip
ACTION_WORDS = {
    "create": "new", "update": "updated", "delete": "cancelled", "expire": "over", "held": "held",
    "dormant": "beyond the window",
    "unchanged": "unchanged", "pilot": "left out by the pilot",
}  # fmt: skip
STATE_WORDS = {
    "failed": "failed",
    "planned": "not sent", "sending": "under way", "confirmed": "confirmed", "rejected": "rejected",
    "unknown": "unknown", "held": "held",
    "quarantined": "quarantined for the first time",
    "superseded": "superseded", "stale": "stale",
}  # fmt: skip
NOTE_WORDS = {
    "ambiguous_times": "clock times that happened twice were read as their first occurrence",
    "shifted_times": "clock times that a change of clocks skipped were read an hour later",
    "default_ends": "events without an end got the source's default length",
    "copies_dropped": "rows that were copies of another were dropped",
    "guests_merged": "guests listed twice were merged into one invitation",
    "hosts_as_guests": "hosts listed as guests of their own meeting were left out",
    "names_cut": "titles were cut to 255 characters",
    "guests_without_a_name": (
        "guests have an address and no name: a kiosk that finds guests by name does not find them"
    ),
    "events_unknown_since_a_restore": (
        "events are sent again: the state was restored from an older copy, "
        "so what essentry holds of them is not known"
    ),
    "minutes_that_the_clock_differs_from_essentry": (
        "minutes this machine's clock is away from essentry's or the databases': have NTP set it"
    ),
    "events_brought_back_that_a_clock_ahead_had_ended": (
        "events that a clock ahead had ended too early count as held by essentry again"
    ),
    "meetings_under_another_key": (
        "meetings came back under another key of their source and keep the id that essentry has: "
        "nobody is mailed"
    ),
    "ids_kept": "guests kept the invitation id that essentry knows",
}


def render_html(
    report: Mapping[str, Any], changes: Sequence[Mapping[str, Any]], wording: Wording
) -> bytes:
    """The page of a report; `changes` are its records in the order to show them."""
    page = _template()
    script, style = _asset("report.js"), _asset("report.css")
    content = page.render(
        report=report,
        style=style,
        script=script,
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        data=pack_changes(changes, wording) if changes else "",
        first=[_show(change, wording) for change in changes[:FIRST_ROWS]],
        plots=_draw(report) if "counts" in report else {},
        sums=[
            ("Rows read", "rows_read", "rows", "rows_balanced"),
            ("Events in essentry before", "snapshot_before", "snapshot", "snapshot_balanced"),
        ],
        status_words=STATUS_WORDS,
        action_words=ACTION_WORDS,
        state_words=STATE_WORDS,
        note_words=NOTE_WORDS,
        measures=MEASURES,
        delete_reasons=DELETE_REASONS,
        plural=plural,
        instant=lambda text: show_instant(text, wording.timezone) if text else "–",
        place=lambda key: (
            show_value("locationId", int(key), wording, with_id=True)
            if str(key).isdigit()
            else str(key)
        ),
    )
    return content.encode()


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("flows.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}" if value is not None else "–"
    environment.filters["code"] = lambda text: Markup(  # noqa: S704  escaped just before
        re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    )
    environment.filters["number"] = lambda value: (
        "–" if value is None else f"{value:,.1f}".removesuffix(".0")
    )
    return environment.get_template("report.html.j2")


@cache
def _asset(name: str) -> str:
    return (files("flows.report") / "templates" / name).read_text(encoding="utf-8")


def _draw(report: Mapping[str, Any]) -> dict[str, str]:
    drawn: dict[str, str] = {}
    if report["by_day"]:
        drawn["days"] = plots.plot_days(report["by_day"])
    if report["by_location"]:
        drawn["locations"] = plots.plot_locations(report["by_location"], report["places"])
    if report["visits"]:
        drawn["visits"] = plots.plot_visits(report["visits"])
    if len(report["history"]) > 1:
        for measure, title in (
            ("changes", "Changes"), ("people", "People mailed"),
            ("quarantined", "Quarantined rows"), ("rejected", "Rejected or unknown"),
            ("seconds", "Seconds"),
        ):  # fmt: skip
            drawn[f"history_{measure}"] = plots.plot_history(report["history"], measure, title)
    return drawn


def pack_changes(changes: Sequence[Mapping[str, Any]], wording: Wording) -> str:
    """The changes as columns, texts that repeat as numbers into `lists`; gzip, base64."""
    shown = [_show(change, wording) for change in changes]
    packed: dict[str, Any] = {"timezone": wording.timezone, "lists": {}}
    for column in SHARED:
        values = sorted({row[column] for row in shown})
        place = {value: number for number, value in enumerate(values)}
        packed["lists"][column] = values
        packed[column] = [place[row[column]] for row in shown]
    for column in ("id", "key", "name", "starts", "what", "fields", "guests"):
        packed[column] = [row[column] for row in shown]
    return b64encode(gzip.compress(orjson.dumps(packed), 6, mtime=0)).decode()


def _show(change: Mapping[str, Any], wording: Wording) -> dict[str, Any]:
    """A change as texts. `fields`: [label, before, after]; `guests`: [sign, before, after];
    `starts` sorts as text.
    """
    place = change["location_id"]
    return {
        "id": change["source_id"],
        "key": _own_key(change),
        "name": change["name"] or "",
        "starts": _sortable(change["starts_at"], wording.timezone),
        "what": change["what"],
        "action": ACTION_WORDS.get(change["action"], change["action"]),
        "state": STATE_WORDS.get(change["state"], change["state"]),
        "location": "" if place is None else show_value("locationId", place, wording, with_id=True),
        **{key: change[key] or "" for key in ("reason", "source", "code", "message")},
        "fields": [
            [
                LABELS.get(f["field"], f["field"]),
                *(
                    show_value(f["field"], f[side], wording, with_id=True)
                    for side in ("before", "after")
                ),
            ]
            for f in change["fields"]
        ],
        "guests": [
            *(["+", "", _guest(guest)] for guest in change["added"]),
            *(["~", _guest(pair["before"]), _guest(pair["after"])] for pair in change["changed"]),
            *(["−", _guest(guest), ""] for guest in change["removed"]),
        ],
    }


def _own_key(change: Mapping[str, Any]) -> str:
    """The source's own key where the id spells it otherwise."""
    key = change.get("source_key") or ""
    return "" if change["source_id"].endswith(f"-{key}") else key


def _sortable(text: str | None, timezone: str) -> str:
    return (
        f"{datetime.fromisoformat(text).astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M}"
        if text
        else ""
    )


def _guest(guest: Mapping[str, Any]) -> str:
    parts = [
        show_person(guest),
        guest.get("companyName"),
        guest.get("language"),
        guest.get("sourceId"),
    ]
    if guest.get("customFields"):
        parts.append(
            "; ".join(f"field {key}: {value}" for key, value in guest["customFields"].items())
        )
    if guest.get("accessProfiles"):
        parts.append(
            "doors: "
            + ", ".join(f"{p['partitionId']}/{p['sourceId']}" for p in guest["accessProfiles"])
        )
    return " · ".join(dict.fromkeys(str(part) for part in parts if part))
