"""A flow run that ends without a result says here what happened: its server may be gone by now."""

from __future__ import annotations

import pytest
from prefect.states import Cancelled, Crashed, Paused, State

from flows import sync


@pytest.mark.parametrize(
    "state", [Cancelled(message="by ann@out.example"), Crashed(message="lost"), Paused(), None]
)
def test_the_words_say_what_happened_and_name_no_server_and_no_person(state: State | None) -> None:
    words = sync._describe_lost_end(state)
    assert f"Prefect ended the run as {state.name if state else 'unknown'}" in words
    assert "log" not in words
    assert "ann@" not in words
    assert "essentry-sync runs" in words
    if state is not None and state.message == "lost":
        assert "(lost)" in words
