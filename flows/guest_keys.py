"""Digests of guests' addresses: the state store knows that it has seen a guest, and not who it is."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b


def digest_guest_keys(keys: Sequence[str], salt: str) -> list[str]:
    """A keyed digest (32 hex digits) of each key, in order."""
    return [blake2b(key.encode(), key=salt.encode()[:64], digest_size=16).hexdigest() for key in keys]
