"""Standard output that nothing breaks: another encoding than UTF-8, a reader that has gone, a full
disk.

A night never ends because of what it prints.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Any

READABLE = "essentry-readable"
PLAIN = {
    "…": "...", "→": "->", "−": "-", "–": "-", "—": "-", "✓": "+", "✗": "x", "“": '"', "”": '"',
    "’": "'", "‘": "'", "•": "*", "·": "*",
    "▸": ">", "▾": "v", "━": "-", "╸": "-", "╺": "-",
    **{bar: str(height) for height, bar in enumerate("▁▂▃▄▅▆▇█", start=1)},
}  # fmt: skip
"""What stands for a character that the encoding does not have; any other is written as JSON writes
it, so that no key is lost.
"""


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        PLAIN.get(letter) or escape(letter) for letter in error.object[error.start : error.end]
    ), error.end


def escape(text: str) -> str:
    r"""Letters beyond ASCII as JSON has them, `é` as `\u00e9`; valid inside of a JSON string, and
    whole JSON texts have them nowhere else.
    """
    return "".join(letter if letter.isascii() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{units[place]:02x}{units[place + 1]:02x}" for place in range(0, len(units), 2)
    )


class Steady:
    """A text stream that, once it cannot be written to, swallows what follows; everything else is
    the stream's own.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or let it go."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            self._let_go()
        return len(text)

    def flush(self) -> None:
        """Flush, or let it go."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def _let_go(self) -> None:
        """What is left in the buffer goes nowhere, too: the interpreter flushes it at the end."""
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            return


def steady_output() -> None:
    """Have standard output and standard error take any character, and outlive their reader."""
    codecs.register_error(READABLE, _spell)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, Steady):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=READABLE)
        setattr(sys, name, Steady(stream))


def write_json(text: str | bytes) -> None:
    """JSON on standard output; where that is not UTF-8, in ASCII, which says the same."""
    plain = text.decode() if isinstance(text, bytes) else text
    encoding = codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name
    sys.stdout.write((plain if encoding == "utf-8" else escape(plain)).rstrip("\n") + "\n")
    sys.stdout.flush()
