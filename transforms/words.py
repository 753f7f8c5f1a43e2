"""Small words of messages."""

from __future__ import annotations


def plural(number: int, word: str, words: str | None = None) -> str:
    """`1 event`, `12,000 events`."""
    return f"{number:,} {word if number == 1 else words or word + 's'}"
