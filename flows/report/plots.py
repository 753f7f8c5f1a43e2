"""The plots of report.html: SVG by pygal, in the page's own colours. No script, no font, no address
outside.

Every colour is a variable of the page's style sheet, so a plot follows the light and the dark
theme. Under each plot the page holds its numbers as a table; the SVG itself is an image with a
title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pygal
from pygal.style import Style

KINDS = (("create", "new"), ("update", "updated"), ("delete", "cancelled"))
MOST_BARS = 45
_ONE = ("var(--bar)",)
_THREE = ("var(--create)", "var(--update)", "var(--delete)")


def _style(colors: Sequence[str]) -> Style:
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--muted)",
        foreground_strong="var(--text)",
        foreground_subtle="var(--line)",
        guide_stroke_color="var(--line)",
        major_guide_stroke_color="var(--line)",
        opacity="1",
        opacity_hover="1",
        stroke_opacity="1",
        stroke_opacity_hover="1",
        transition="0s",
        colors=tuple(colors),
        value_colors=("var(--text)",) * len(colors),
        font_family="inherit",
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        no_data_font_size=16,
    )


def _options(colors: Sequence[str], **more: Any) -> dict[str, Any]:
    return {
        "style": _style(colors), "js": (), "no_prefix": False, "width": 600, "height": 250,
        "margin": 6, "spacing": 6, "explicit_size": False,
        "show_x_guides": False, "include_x_axis": False, "legend_at_bottom": True,
        "legend_at_bottom_columns": len(colors), "legend_box_size": 11,
        "show_legend": len(colors) > 1, "value_formatter": lambda value: f"{value:,.0f}",
        "max_scale": 6, "min_scale": 2, "integer_scale": True,
        "disable_xml_declaration": True, "truncate_label": -1, "rounded_bars": 1, **more,
    }  # fmt: skip


def _to_svg(chart: Any, title: str, key: str) -> str:
    """The chart as inline SVG: an image with a title, nothing in it that runs, loads or can be
    reached by keyboard.
    """
    chart.config.no_data_text = "nothing to draw"
    chart.uuid = key  # the same report gives the same file
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            # `desc` holds values for pygal's own script, which is left out: the table under the
            # plot has them
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in ("script", "desc"):
                parent.remove(child)
            elif (child.get("id") or "").startswith("activate"):
                del child.attrib["id"]  # the same in every plot of a page
    heading = (
        root.find("title")
        if root.find("title") is not None
        else root.find("{http://www.w3.org/2000/svg}title")
    )
    if heading is not None:
        heading.text = title
        heading.set("id", f"title-{key}")
    root.set("role", "img")
    root.set("aria-labelledby", f"title-{key}")
    root.set("class", "plot")
    return ET.tostring(root, encoding="unicode", method="xml")


def plot_days(by_day: Mapping[str, Mapping[str, int]]) -> str:
    """Changes by the day of the visit, by week where the days are many."""
    days = {date.fromisoformat(day): counts for day, counts in by_day.items()}
    first, last = min(days), max(days)
    step = (
        1 if (last - first).days < MOST_BARS else 7 if (last - first).days < MOST_BARS * 7 else 30
    )
    starts = [first + timedelta(days=offset) for offset in range(0, (last - first).days + 1, step)]
    chart = pygal.StackedBar(**_options(_THREE, x_label_rotation=0, show_minor_x_labels=False))
    chart.x_labels = [f"{day:%-d %b}" for day in starts]
    chart.x_labels_major = _some([f"{day:%-d %b}" for day in starts])
    for action, label in KINDS:
        sums = [0] * len(starts)
        for day, counts in days.items():
            sums[(day - first).days // step] += counts.get(action, 0)
        chart.add(label, sums)
    unit = {1: "day", 7: "week", 30: "30 days"}[step]
    return _to_svg(chart, f"Changes by {unit} of the visit", "days")


def plot_locations(
    by_location: Mapping[str, Mapping[str, int]], places: Mapping[str, str], *, most: int = 12
) -> str:
    """Changes by location, the largest first; the others as one."""
    ranked = sorted(by_location.items(), key=lambda item: -sum(item[1].values()))
    rest: dict[str, int] = {}
    for _, counts in ranked[most:]:
        for action, count in counts.items():
            rest[action] = rest.get(action, 0) + count
    shown = [(places.get(key, key), counts) for key, counts in ranked[:most]] + (
        [("others", rest)] if rest else []
    )
    chart = pygal.HorizontalStackedBar(
        **_options(_THREE, height=max(150, 70 + 26 * len(shown)), show_y_guides=True)
    )
    chart.x_labels = [name[:28] for name, _ in reversed(shown)]
    for action, label in KINDS:
        chart.add(label, [counts.get(action, 0) for _, counts in reversed(shown)])
    return _to_svg(chart, "Changes by location", "locations")


def plot_history(history: Sequence[Mapping[str, Any]], measure: str, title: str) -> str:
    """One number of the last runs; this run is the last bar, in a stronger colour."""
    chart = pygal.Bar(**_options(_ONE, height=190, width=380, show_minor_x_labels=False))
    chart.x_labels = [""] * len(history)
    values: list[Any] = [
        {"value": run[measure], "color": "var(--bar)"} if run[measure] is not None else None
        for run in history[:-1]
    ]
    largest = max((run[measure] or 0 for run in history), default=0)
    if largest <= 4:
        chart.y_labels = list(range(max(1, round(largest + 0.49)) + 1))
    chart.add(
        "",
        [
            *values,
            {"value": history[-1][measure], "color": "var(--accent)"}
            if history[-1][measure] is not None
            else None,
        ],
    )
    return _to_svg(chart, title, f"history-{measure}")


def plot_visits(visits: Sequence[Mapping[str, Any]]) -> str:
    """Guests expected by day, as essentry holds them."""
    chart = pygal.Bar(**_options(_ONE, show_minor_x_labels=False))
    labels = [f"{date.fromisoformat(row['day']):%a %-d %b}" for row in visits]
    chart.x_labels, chart.x_labels_major = labels, _some(labels)
    chart.add("guests", [row["guests"] for row in visits])
    return _to_svg(chart, "Guests expected by day", "visits")


def _some(labels: list[str], *, most: int = 8) -> list[str]:
    """A few of many labels, evenly spread."""
    return labels[:: max(1, -(-len(labels) // most))]
