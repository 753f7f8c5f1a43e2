"""Tables that never cut a value: as wide as they are in a pipe.

On a terminal the last column wraps, and where that is too narrow each row is a paragraph.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console

LEAST = 24
"""Characters that are left to the last column before rows become paragraphs."""
GAP = "  "


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    wrap: bool = False,
) -> None:
    """Rows of texts under their headings. right: columns of numbers. wrap: the last column is
    prose, which may be wrapped between its words.
    """
    table = [list(columns), *([" ".join(text.split()) for text in row] for row in rows)]
    widths = [max(cell_len(row[place]) for row in table) for place in range(len(columns))]
    fixed = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
    room = console.width if console.is_terminal else fixed + widths[-1]
    if fixed + widths[-1] > room:
        if not wrap or room - fixed < LEAST:
            _print_paragraphs(console, columns, table[1:])
            return
        widths[-1] = room - fixed
    for number, row in enumerate(table):
        head = GAP.join(
            _pad(text, width, right=name in right)
            for text, width, name in zip(row[:-1], widths, columns, strict=False)
        )
        last = row[-1] if cell_len(row[-1]) <= widths[-1] else _wrap(row[-1], widths[-1], fixed)
        line = (
            head
            + (GAP if head else "")
            + (_pad(last, widths[-1], right=True) if columns[-1] in right else last)
        ).rstrip()
        console.print(line, markup=False, soft_wrap=True, style="dim" if number == 0 else None)


def _pad(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _wrap(text: str, width: int, indent: int) -> str:
    """Between words alone: a long key goes over the edge rather than being cut in two."""
    return ("\n" + " " * indent).join(
        textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    )


def _print_paragraphs(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    width = max(map(cell_len, columns))
    for number, row in enumerate(rows):
        if number:
            console.print("")
        for name, text in zip(columns, row, strict=True):
            if text:
                console.print(f"{name:{width}}{GAP}{text}", markup=False, soft_wrap=True)
