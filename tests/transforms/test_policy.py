"""The policy digest follows what decides who is invited, and nothing else (S14)."""

from __future__ import annotations

import pytest
from literal_frames import config

from transforms.guards.policy import digest_policy, list_policy_changes


@pytest.mark.parametrize(
    "change",
    [
        {"essentry": {"guest_list": "authoritative"}},
        {"window": {"days_ahead": 7}},
        {"guests": "all"},
        {"internal_domains": ["other.example"]},
        {"sites": {"hq": {"location_id": 2}}},
        {"private_title": "Busy"},
        {"pending": "send"},
    ],
)
def test_s14_policy_digest_follows_who_is_invited(change: dict) -> None:
    base = config()
    if set(change) <= {"essentry", "window"}:
        other = config(**change)
    else:
        other = config(sources={"hr": base.sources["hr"].model_dump(exclude_none=True) | change})
    assert digest_policy(other)[0] != digest_policy(base)[0]


def test_s14_policy_digest_leaves_the_rest_alone() -> None:
    assert digest_policy(config(essentry={"concurrency": 1}, guards={"max_deletes": 1}))[0] == digest_policy(config())[0]


def test_s14_policy_changes_in_words() -> None:
    before, after = config(), config(window={"days_ahead": 7}, essentry={"guest_list": "authoritative"})
    changes = list_policy_changes(digest_policy(before)[1], digest_policy(after)[1])
    assert changes == ("guest_list: additive → authoritative", "window: 365 → 7")
    assert list_policy_changes(digest_policy(before)[1], digest_policy(before)[1]) == ()
    assert list_policy_changes("", digest_policy(after)[1]) == ()
