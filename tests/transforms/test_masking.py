"""Masking: no address is left in a text, and no text is too long for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.masking import mask_text, mask_words

LETTERS = 2_000_000
"""With work that grows by the square of the length this takes hours, which the tests' time limit
ends; linear it takes a second.
"""
WORD = st.text("abcÄ0.-_+'%", min_size=1, max_size=12).filter(lambda text: text.strip("'"))
DOMAIN = st.from_regex(r"[a-z]{1,8}(\.[a-z]{2,5}){1,2}", fullmatch=True)


@pytest.mark.parametrize("mask", [mask_text, mask_words], ids=lambda mask: mask.__name__)
@pytest.mark.parametrize(
    "piece", ["x", "x@", "@", "x.", "@x.", ': "', ": '\"", ")=(", "x ", "\u00e4\u0301", "<x@y"]
)
@pytest.mark.parametrize("end", ["", "@out.example", "\"'"])
def test_s28_a_text_of_any_length_is_masked(mask, piece: str, end: str) -> None:
    masked = mask(piece * (LETTERS // len(piece)) + end)
    assert "x@out.example" not in masked


@given(before=WORD, local=WORD, domain=DOMAIN, after=WORD, gap=st.sampled_from(' \n\t,;:()<>"'))
def test_s28_no_address_is_left(before, local, domain, after, gap: str) -> None:
    local = local.strip("'") or "a"
    masked = mask_text(f"{before}{gap}{local}@{domain}{gap}{after}")
    assert f"{local}@{domain}" not in masked
    assert masked.startswith(before + gap)
