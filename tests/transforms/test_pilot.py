"""What [pilot] leaves out is counted, and neither sent nor cancelled (S18)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from literal_frames import compare, config, decisions, desire, guest, know, meeting

from schemas.config import Config
from transforms.diff.changes import Diff
from transforms.diff.pilot import limit_to_pilot

SITES = {"hq": {"location_id": 1}, "lab": {"location_id": 2}}


def _settings(**pilot: Any) -> Config:
    base = config().sources["hr"].model_dump(exclude_none=True) | {"sites": SITES}
    return config(sources={"hr": base, "rooms": base}, pilot=pilot)


def _limit(diff: Diff, desired: Any, **pilot: Any) -> Diff:
    return limit_to_pilot(diff, _settings(**pilot))


def _sent(diff: Diff) -> list[str]:
    return diff.changes["source_id"].tolist()


def test_s18_without_limits_the_diff_is_the_same() -> None:
    desired = desire(meeting("hr-1", guest("a")))
    diff = compare(desired, know())
    assert _limit(diff, desired) is diff


@pytest.mark.parametrize(
    ("pilot", "sent"),
    [
        ({"sources": ["hr"]}, ["hr-1", "hr-2"]),
        ({"sites": ["hq"]}, ["hr-1", "rooms-1"]),
        ({"sources": ["hr"], "sites": ["lab"]}, ["hr-2"]),
        ({"recipient_domains": ["guest.example"]}, ["hr-1", "hr-2"]),
        ({"recipient_domains": ["other.example"]}, []),
    ],
)
def test_s18_pilot_limits_by_source_site_and_domain(pilot: dict, sent: list[str]) -> None:
    desired = desire(
        meeting("hr-1", guest("a")),
        meeting("hr-2", guest("b"), location_id=2),
        meeting("rooms-1", guest("c"), guest("d", "d@other.example"), source="rooms"),
    )
    diff = compare(desired, know())
    limited = _limit(diff, desired, **pilot)
    assert sorted(_sent(limited)) == sent
    assert set(limited.mails["source_id"]) == set(sent)
    left = {
        key
        for key, (action, reason) in decisions(limited).items()
        if (action, reason) == ("pilot", "pilot")
    }
    assert left == {"hr-1", "hr-2", "rooms-1"} - set(sent)


def test_s18_an_event_with_one_guest_outside_is_left_out_whole() -> None:
    """Also when that guest would not be mailed by this change: a change of the event may mail
    everybody.
    """
    before = meeting("hr-1", guest("a"), guest("x", "x@other.example"))
    desired = desire(meeting("hr-1", guest("a"), guest("b"), guest("x", "x@other.example")))
    limited = _limit(compare(desired, know(before)), desired, recipient_domains=["guest.example"])
    assert _sent(limited) == []
    assert decisions(limited) == {"hr-1": ("held", "pilot")}


def test_s18_a_guest_without_an_address_is_outside() -> None:
    desired = desire(meeting("hr-1", guest("a", None, last_name="Doe")))
    assert (
        _sent(_limit(compare(desired, know()), desired, recipient_domains=["guest.example"])) == []
    )


def test_s18_deletes_outside_are_held_and_expiry_goes_on() -> None:
    over = pd.Timestamp("2026-03-01T09:00:00Z")
    known = know(
        meeting("hr-1", guest("a"), location_id=2),
        meeting("hr-2", guest("b"), location_id=2, starts_at=over),
    )
    desired = desire()
    limited = _limit(compare(desired, known), desired, sites=["hq"])
    assert decisions(limited) == {"hr-1": ("held", "pilot"), "hr-2": ("expire", "over")}


def test_s18_names_that_do_not_exist_are_refused() -> None:
    for pilot, words in (
        ({"sources": ["hrr"]}, "the sources are hr, rooms"),
        ({"sites": ["hx"]}, "no source has such a site"),
    ):
        with pytest.raises(ValueError, match=words):
            _settings(**pilot)
