"""Hosts from outside, and crowds of one domain among the invited, deserve a question (S24)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from literal_frames import compare, config, desire, guest, know, meeting

from schemas.config import Config
from transforms.diff.changes import Diff
from transforms.guards.findings import Finding
from transforms.guards.strangers import Precedents, count_hosts, find_strangers, unite_hosts


def _find(
    *meetings: dict,
    held: dict[str, int] | None = None,
    hosted: dict[str, int] | None = None,
    earlier: Diff | None = None,
    settings: Config | None = None,
    **flags: Any,
) -> list[Finding]:
    """held, hosted: domain → events of such guests, or of such a host, that essentry has."""
    desired = desire(*meetings)
    diff = compare(desired, know())
    seen = Precedents(
        lambda domain, most: min((hosted or {}).get(domain, 0), most),
        lambda domain, most: min((held or {}).get(domain, 0), most),
    )
    hosts = unite_hosts(
        [count_hosts(diff, desired.events), count_hosts(diff, desired.events.iloc[:0])]
    )
    return find_strangers(diff, earlier, hosts, settings or config(), seen, **flags)


def _crowd(domain: str, count: int, *, first: int = 0) -> list[dict]:
    """One meeting a guest."""
    return [
        meeting(f"hr-{first + n:03}", guest(f"g{n}", f"p{first + n}@{domain}"))
        for n in range(count)
    ]


def _told(findings: list[Finding]) -> list[tuple[str, str, float]]:
    return [(f.guard, f.scope, f.number) for f in findings]


def test_s24_a_host_outside_the_internal_domains_is_asked_about_once() -> None:
    strange = meeting("hr-1", guest("a"), host_email="boss@corp.test")
    (finding,) = _find(strange, meeting("hr-2", guest("b")))
    assert (finding.guard, finding.scope, finding.number, finding.causes) == (
        "max_outside_hosts",
        "source hr",
        1,
        ("corp.test: 1 event",),
    )
    assert "boss" not in str(finding)
    assert _find(strange, hosted={"corp.test": 1}) == []
    assert _find(strange, settings=config(guards={"max_outside_hosts": 1})) == []
    assert _find(meeting("hr-1", guest("a"), host_email="b@not-corp.example")) != []


def test_s24_without_internal_domains_there_is_no_outside() -> None:
    source = config().sources["hr"].model_dump(exclude_none=True) | {"internal_domains": []}
    assert (
        _find(
            meeting("hr-1", guest("a"), host_email="boss@corp.test"),
            settings=config(sources={"hr": source}),
        )
        == []
    )


def test_s24_an_event_that_stays_as_it_is_asks_nothing() -> None:
    strange = meeting("hr-1", guest("a"), host_email="boss@corp.test")
    desired = desire(strange)
    diff = compare(desired, know(strange))
    none = Precedents(lambda *_: 0, lambda *_: 0)
    assert (
        find_strangers(diff, None, unite_hosts([count_hosts(diff, desired.events)]), config(), none)
        == []
    )


@pytest.mark.parametrize("how", ["one meeting", "many meetings"])
def test_s24_guests_of_a_hosts_own_domain(how: str) -> None:
    """`internal_domains` has a typing mistake: employees are invited."""
    source = config().sources["hr"].model_dump(exclude_none=True) | {
        "internal_domains": ["crop.example"]
    }
    settings = config(sources={"hr": source}, guards={"max_outside_hosts": 99})

    def night(count: int) -> list[dict]:
        crowd = _crowd("corp.example", count)
        return (
            crowd if how == "many meetings" else [meeting("hr-1", *(m["guests"][0] for m in crowd))]
        )

    assert _find(*night(5), settings=settings) == []
    (finding,) = _find(*night(6), settings=settings)
    assert (finding.guard, finding.number, finding.causes) == (
        "max_host_domain_guests",
        6,
        ("corp.example: 6 people",),
    )
    # a company that does invite its own
    assert _find(*night(6), settings=settings, held={"corp.example": 5}) == []
    everybody = config(sources={"hr": source | {"guests": "all"}}, guards={"max_outside_hosts": 99})
    assert _find(*night(6), settings=everybody) == []


def test_s24_employees_who_come_drop_by_drop_are_counted_over_the_day() -> None:
    settings = config(
        sources={
            "hr": config().sources["hr"].model_dump(exclude_none=True) | {"internal_domains": []}
        }
    )
    earlier = compare(desire(*_crowd("corp.example", 5)), know())
    later = _crowd("corp.example", 5, first=5)
    # what went today is no precedent
    assert _find(*later, settings=settings, held={"corp.example": 5}, earlier=earlier) != []
    assert _find(*later, settings=settings, held={"corp.example": 10}, earlier=earlier) == []
    assert _find(*later, settings=settings) == []


def test_s24_a_crowd_of_a_domain_that_was_never_invited() -> None:
    assert _find(*_crowd("new.example", 50)) == []
    assert _told(_find(*_crowd("new.example", 51))) == [("max_new_domain_guests", "source hr", 51)]
    assert _find(*_crowd("new.example", 51), held={"new.example": 5}) == []
    # everything is new then, and asked about
    assert _find(*_crowd("new.example", 51), first_run=True) == []
    same = [meeting(f"hr-{n}", guest(f"g{n}", "one@new.example")) for n in range(60)]
    assert _find(*same) == []  # one person is no crowd


def test_s24_guests_without_an_address_have_no_domain() -> None:
    named = [meeting(f"hr-{n}", guest(f"g{n}", None, last_name=f"P{n}")) for n in range(60)]
    assert _find(*named) == []
    assert (
        _find(
            *named,
            earlier=Diff(pd.DataFrame(), pd.DataFrame(), compare(desire(*named), know()).mails),
        )
        == []
    )
