"""Digests of guests' addresses: the state store knows that it has seen a guest, and not who it
is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

_HEX_DIGITS = 13
"""A number has 52 bits: any database and any JSON reader holds it exactly."""


def digest_guest_keys(keys: Sequence[str], salt: str) -> list[str]:
    """A keyed digest (32 hex digits) of each key, in order."""
    return [
        blake2b(key.encode(), key=salt.encode()[:64], digest_size=16).hexdigest() for key in keys
    ]


def derive_number(digest: str) -> int:
    """The number that a new guest's digest asks for. It rests on the digest alone, so a restored
    backup, however old, gives it again.
    """
    return int(digest[:_HEX_DIGITS], 16)


def find_older_digests(
    texts: Sequence[str], digests: Sequence[str], salt: str
) -> Mapping[str, str]:
    """Digest → the digest under which an older release knew the guest, whose text was the address
    alone.

    texts: with the name, as `list_guest_keys` gives them now, and their digests.
    """
    addresses = [text.rpartition("|name:")[0] for text in texts]
    mailed = [
        (digest, address) for address, digest in zip(addresses, digests, strict=True) if address
    ]
    older = digest_guest_keys([address for _, address in mailed], salt)
    return dict(zip((digest for digest, _ in mailed), older, strict=True))
