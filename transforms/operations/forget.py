"""Take people out of what is remembered: one guest by address, or everybody after a time. Ids and
fingerprints stay. Pure.

An invitation's sourceId is what the next diff needs of a guest; it names a person only where the
source's own guest key does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

GONE = "…"
_SHORTEST = 3


def find_names(value: Any, address: str) -> set[str]:
    """First and last names, together and the last alone, of every guest with this address in parsed
    JSON.
    """
    names: set[str] = set()
    for guest in _guests(value, address):
        first, last = (
            str(guest.get("firstName", "")).strip(),
            str(guest.get("lastName", "")).strip(),
        )
        names |= {f"{first} {last}".strip(), f"{last} {first}".strip(), last}
    return {name for name in names if len(name) >= _SHORTEST}


def _guests(value: Any, address: str) -> Iterable[Mapping[str, Any]]:
    if isinstance(value, dict):
        if _is_guest(value, address):
            yield value
        for item in value.values():
            yield from _guests(item, address)
    elif isinstance(value, list):
        for item in value:
            yield from _guests(item, address)


def _is_guest(value: Mapping[str, Any], address: str) -> bool:
    return "sourceId" in value and str(value.get("email", "")).casefold() == address


def forget_guest(value: Any, address: str, names: Iterable[str]) -> Any:
    """Parsed JSON without the guest: of the guest only the id stays, and texts lose the address and
    the names.

    address: lower case. names: of `find_names`. A host or booker with this address stays: that is
    an employee, and no guest.
    """
    if isinstance(value, dict):
        if _is_guest(value, address):
            return {"sourceId": value["sourceId"]}
        return {
            key: item if key == "sourceId" else forget_guest(item, address, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [forget_guest(item, address, names) for item in value]
    return forget_words(value, address, names) if isinstance(value, str) else value


def forget_words(text: str, address: str, names: Iterable[str]) -> str:
    """A text without the address and the names, as whole words, whatever their case."""
    for word in (address, *sorted(names, key=len, reverse=True)):
        if word.casefold() in text.casefold():
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", GONE, text, flags=re.IGNORECASE)
    return text


def find_names_in_texts(texts: Iterable[str | None], address: str) -> set[str]:
    """`find_names` of texts that may be JSON."""
    return set().union(*(find_names(_parse(text), address) for text in texts if text))


def forget_in_texts(
    texts: Mapping[str, str | None], address: str, names: Iterable[str]
) -> dict[str, str | None]:
    """Texts of one event (JSON objects and lists, or plain words) without the guest; only those
    that change.
    """
    changed: dict[str, str | None] = {}
    for key, text in texts.items():
        value = _parse(text) if text else text
        new = forget_guest(value, address, names)
        if new != value:
            changed[key] = new if isinstance(new, str) else orjson.dumps(new).decode()
    return changed


def _parse(text: str) -> Any:
    if text[:1] in "{[":
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
    return text
