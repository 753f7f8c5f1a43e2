"""Which of the guests that essentry knows are which of those that are wanted (S10), and how what is
the same was written. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping
from difflib import SequenceMatcher
from itertools import count
from typing import Any

from transforms.naming.ids import is_numbered, plain_id, strip_seal
from transforms.validate.people import clean_address, fold_name

_RESEMBLANCE = 0.75


def match_known(
    known: Mapping[str, dict],
    wanted: Mapping[str, dict],
    *,
    held: Collection[str] = (),
    frozen: bool = False,
) -> dict[str, str]:
    """Wanted id → the id under which essentry knows the same guest; a guest whom it does not know
    is missing.

    The order is the order of certainty: the same id; the same id under another seal, or of a key in
    another spelling; the same address and name; and, where one address leaves a single guest on
    either side, a name that was added or corrected. A number stands for an address and a name, so a
    number that essentry knows for somebody else is no proof. held: known ids whose guests could not
    be read this time; they are nobody's by a corrected name. frozen: any of the known may be one
    that could not be read, so a name is corrected only where it resembles.
    """
    people = {key: _describe(guest) for key, guest in known.items()}
    asked = {key: _describe(guest) for key, guest in wanted.items()}
    found = {
        key: key
        for key in wanted
        if key in known and not (is_numbered(key) and _differ(people[key], asked[key]))
    }
    open_ones = [key for key in sorted(wanted) if key not in found]
    if not open_ones:
        return found
    loose = [key for key in sorted(known) if key not in found]

    def settle(key: str, old: str) -> None:
        found[key] = old
        open_ones.remove(key)
        loose.remove(old)

    plain = {plain_id(old): old for old in reversed(loose)}
    for key in list(open_ones):
        old = plain.get(plain_id(key))
        if old in loose and not (is_numbered(key) and _differ(people[old], asked[key])):
            settle(key, old)
    # of a meeting that came under another key: the source's own key of the guest, and a name or
    # address
    for key in list(open_ones):
        old = next(
            (
                old
                for old in loose
                if _has_same_key(key, old) and _is_known_by(asked[key], people[old])
            ),
            None,
        )
        if old is not None:
            settle(key, old)
    for key in list(open_ones):
        old = next(
            (old for old in loose if people[old] == asked[key] and asked[key] != ("", "")), None
        )
        if old is not None and asked[key][1]:
            settle(key, old)
    crowd = [Counter(who[0] for who in side.values()) for side in (people, asked)]
    for key in list(open_ones):
        address = asked[key][0]
        alone = not frozen and max(side[address] for side in crowd) == 1
        near = [
            old
            for old in loose
            if old not in held and _may_be_same(key, asked[key], old, people[old], alone=alone)
        ]
        rivals = [other for other in open_ones if asked[other][0] == address]
        nameless = not asked[key][1] or any(not people[old][1] for old in near)
        if near and (nameless or len(near) == len(rivals) == 1):
            settle(key, near[0])
    for key in list(open_ones):
        if key in loose and not frozen:
            settle(key, key)
    return found


def name_guests(
    known: Mapping[str, dict], wanted: Mapping[str, dict], matched: Mapping[str, str]
) -> dict[str, dict]:
    """The wanted guests under the ids that they have in essentry; one whose own id is another
    guest's there gets an id that this left free.
    """
    used = set(matched.values())
    free = sorted(key for key in wanted if key not in used and key not in known)
    named: dict[str, dict] = {}
    for key, guest in wanted.items():
        own = matched.get(key) or (key if key not in used and key not in known else None)
        if own is None:
            own = next(
                (other for other in free if other in matched and other not in named), None
            ) or _count_on(key, {*known, *wanted, *named})
        named[own] = guest if own == key else {**guest, "sourceId": own}
    return named


def keep_writing(before: Any, after: Any) -> Any:
    """`after` with every text that differs from `before` in its Unicode form alone as essentry has
    it: that is no change.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        return {key: keep_writing(before.get(key), value) for key, value in after.items()}
    if (
        isinstance(before, str)
        and isinstance(after, str)
        and before != after
        and _compose(before) == _compose(after)
    ):
        return before
    return after


def are_composed(*texts: str | None) -> bool:
    """Whether all of these are in the one Unicode form, so that what is the same is equal."""
    return all(text is None or unicodedata.is_normalized("NFC", text) for text in texts)


def _compose(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _describe(guest: dict) -> tuple[str, str]:
    """Address and name, to compare by."""
    return clean_address(guest.get("email", "")), fold_name(
        f"{guest.get('firstName', '')} {guest.get('lastName', '')}"
    )


def _differ(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether these are surely not one person: two addresses, or two names."""
    return any(a and b and a != b for a, b in zip(one, other, strict=True))


def _has_same_key(key: str, old: str) -> bool:
    """Whether two invitation ids have one guest's key of one source, under two keys of its
    event.
    """
    (event, _, guest), (old_event, _, old_guest) = (
        plain_id(text).rpartition("-") for text in (key, old)
    )
    same_source = event.partition("-")[0] == old_event.partition("-")[0]
    return (
        guest == old_guest
        and event != old_event
        and same_source
        and "-" in event
        and "-" in old_event
        and not is_numbered(key)
    )


def _is_known_by(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether address or name is the same."""
    return any(a and a == b for a, b in zip(one, other, strict=True))


def _may_be_same(
    key: str,
    wanted: tuple[str, str],
    old: str,
    known: tuple[str, str],
    *,
    alone: bool,
) -> bool:
    """Whether it may be one person whose name was added or corrected: by one address, and of two
    guests with keys of their own never.

    alone: nobody else has had the address, and nobody else has it now.
    """
    address = wanted[0]
    if not address or known[0] != address:
        return False
    if not wanted[1] or not known[1]:
        return True
    if not (is_numbered(key) or is_numbered(old)):
        return False
    return alone or _resemble(wanted[1], known[1])


def _count_on(key: str, used: Collection[str]) -> str:
    """The id with the next number that no guest of the event has."""
    head, _, number = strip_seal(key).rpartition("~g")
    return next(text for step in count(1) if (text := f"{head}~g{int(number) + step}") not in used)


def _resemble(one: str, other: str) -> bool:
    words = [set(re.findall(r"\w{2,}", name)) for name in (one, other)]
    return bool(words[0] & words[1]) or SequenceMatcher(None, one, other).ratio() >= _RESEMBLANCE
