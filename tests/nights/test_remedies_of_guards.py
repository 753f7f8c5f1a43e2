"""Every guard that stops a night, answered in both ways that its message offers: a person approves
the plan, or raises the limit. The next night sends what was asked about, and the one after it has
nothing to do.

A guard without a life here fails.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from schemas.config_guards import GuardsConfig
from tests.firm import START, Firm, guards_of
from tests.nights.test_remedies import Step


class Life(NamedTuple):
    """limits: before the cause; the others are out of the way. raised: the same, with which it
    passes. full: the night is asked to send everything.
    """

    cause: Step
    limits: dict[str, Any]
    raised: dict[str, Any]
    full: bool = False


OUT_OF_THE_WAY: dict[str, Any] = {
    "max_deletes": 99,
    "max_delete_share": 1.0,
    "max_update_share": 1.0,
    "max_guest_removals": 99,
    "max_new_invitations": 99,
    "max_people_mailed": 99,
    "max_mails_per_guest": 99,
    "max_churn": 99,
    "max_full_resend": 99,
    "max_quarantine_share": 1.0,
    "max_shrink_share": 1.0,
    "max_outside_hosts": 99,
    "max_host_domain_guests": 99,
    "max_new_domain_guests": 99,
    "min_count": 1,
    "approve_first_run": False,
    "approve_policy_change": False,
}


def rooms(firm: Firm) -> dict[str, dict[str, Any]]:
    return firm.meetings["rooms"]


def cancel(firm: Firm) -> None:
    firm.cancel("m000", "m001", "m002")


def move_all(firm: Firm) -> None:
    for meeting in rooms(firm).values():
        meeting["start"] += timedelta(hours=3)


def remove_guests(firm: Firm) -> None:
    rooms(firm)["team"]["guests"] = {"g1": "g1@out.example"}


def invite(firm: Firm) -> None:
    firm.book_many(3, first=50)


def invite_one(firm: Firm) -> None:
    for number in range(3):
        firm.book(f"n{number}", "ada")


def another_key(firm: Firm) -> None:
    """Of some meetings; without the row that has none they would surely be the same."""
    firm.meetings["rooms"] = {
        f"uuid-{key}" if key in ("m000", "m001") else key: row for key, row in rooms(firm).items()
    }
    firm.book("", "zoe", source_event_id=None)


def spoil(firm: Firm) -> None:
    rooms(firm)["m005"]["name"] = "Another title"
    for key in ("m000", "m001", "m002"):
        rooms(firm)[key]["host"] = "nobody"


def correct(firm: Firm) -> None:
    for key in ("m000", "m001", "m002"):
        rooms(firm)[key]["host"] = "host@corp.example"


def lose(firm: Firm) -> None:
    firm.cancel(*(f"m{number:03}" for number in range(6)))


def outside_hosts(firm: Firm) -> None:
    firm.book("n0", host="chief@stranger.example")


def colleagues(firm: Firm) -> None:
    """Guests who look like the host's own company, under no internal domain."""
    firm.book("n0", guests={f"c{n}": f"c{n}@corp.example" for n in range(3)})


def crowd(firm: Firm) -> None:
    firm.book("n0", guests={f"c{n}": f"c{n}@new.example" for n in range(3)})


def invite_all(firm: Firm) -> None:
    """Colleagues are no guests, and then they are."""
    firm.source_settings["rooms"] = {"guests": "all"}


def nothing(_: Firm) -> None:
    """The night itself is the cause."""


LIVES: dict[str, Life] = {
    "max_deletes": Life(cancel, {"max_deletes": 2}, {"max_deletes": 3}),
    "max_delete_share": Life(cancel, {"max_delete_share": 0.1}, {"max_delete_share": 0.9}),
    "max_update_share": Life(move_all, {"max_update_share": 0.5}, {"max_update_share": 1.0}),
    "max_guest_removals": Life(remove_guests, {"max_guest_removals": 1}, {"max_guest_removals": 2}),
    "max_new_invitations": Life(invite, {"max_new_invitations": 2}, {"max_new_invitations": 99}),
    "max_people_mailed": Life(invite, {"max_people_mailed": 2}, {"max_people_mailed": 99}),
    "max_mails_per_guest": Life(invite_one, {"max_mails_per_guest": 2}, {"max_mails_per_guest": 9}),
    "max_churn": Life(another_key, {"max_churn": 0}, {"max_churn": 9}),
    "max_full_resend": Life(nothing, {"max_full_resend": 0}, {"max_full_resend": 99}, full=True),
    "max_quarantine_share": Life(
        spoil, {"max_quarantine_share": 0.1}, {"max_quarantine_share": 0.9}
    ),
    "max_shrink_share": Life(lose, {"max_shrink_share": 0.3}, {"max_shrink_share": 0.9}),
    "max_outside_hosts": Life(outside_hosts, {"max_outside_hosts": 0}, {"max_outside_hosts": 1}),
    "max_host_domain_guests": Life(
        colleagues, {"max_host_domain_guests": 2}, {"max_host_domain_guests": 9}
    ),
    "max_new_domain_guests": Life(
        crowd, {"max_new_domain_guests": 2}, {"max_new_domain_guests": 9}
    ),
    "approve_first_run": Life(nothing, {"approve_first_run": True}, {"approve_first_run": False}),
    "approve_policy_change": Life(
        invite_all, {"approve_policy_change": True}, {"approve_policy_change": False}
    ),
    "sql": Life(
        invite,
        {"sql": {"new": "SELECT source_id FROM plan WHERE action = 'create'"}},
        {"sql": {}},
    ),
}
NO_LIMIT = {
    "min_count", "limit_hours", "delete_after_runs", "on_trip", "plan_max_age_hours",
    "approval_wait_minutes", "clock_tolerance_minutes", "max_clock_minutes", "sql_seconds",
}  # fmt: skip
"""Settings of `[guards]` that an approval does not answer."""
LATER = {"max_shrink_share"}
"""Whose plan holds back what the guard is about: approved, it goes with the next night."""


def test_every_guard_has_a_life() -> None:
    assert set(LIVES) | NO_LIMIT == set(GuardsConfig.model_fields)


def _begin(firm: Firm, guard: str) -> None:
    firm.sections["guards"] = dict(OUT_OF_THE_WAY)
    firm.book_many(8)
    firm.book("team", "g1", "g2", "g3", start=START + timedelta(days=2))
    firm.book("inside", guests={"col": "col@corp.example"}, start=START + timedelta(days=3))
    firm.source_settings["rooms"] = {"internal_domains": ["corp.example"]}
    if guard == "max_host_domain_guests":
        firm.source_settings["rooms"] = {}
    if guard != "approve_first_run":
        assert firm.night().exit_code == 0
    firm.sections["guards"] |= LIVES[guard].limits
    LIVES[guard].cause(firm)


@pytest.mark.share(3)
@pytest.mark.parametrize("answer", ["approve", "approve and apply", "raise"])
@pytest.mark.parametrize("guard", LIVES)
def test_an_answered_guard_lets_the_night_go(firm: Firm, guard: str, answer: str) -> None:
    life = LIVES[guard]
    _begin(firm, guard)
    puts = firm.puts()
    night = firm.night(full=life.full)
    assert (night.exit_code, guards_of(night), firm.puts()) == (4, {_named(guard)}, puts)
    if answer == "raise":
        firm.sections["guards"] |= life.raised
        night = firm.night(full=life.full)
    else:
        assert firm.approve()
        night = firm.apply() if "apply" in answer else firm.night(full=life.full)
    if "" in rooms(firm):
        assert night.exit_code == 3, "a row has no key"
        firm.cancel("")
        night = firm.night()
    if guard in LATER and "apply" in answer:
        night = firm.night()
    assert night.exit_code == 0, night.report["verdict"]
    assert firm.puts() > puts
    if guard == "max_quarantine_share":  # an approval is of one night: the rows stay too many
        correct(firm)
    quiet = firm.night()
    assert (quiet.exit_code, guards_of(quiet)) == (0, set())
    changes = sum(quiet.report["counts"][action] for action in ("create", "update", "delete"))
    assert changes == 0


def _named(guard: str) -> str:
    return "sql.new" if guard == "sql" else guard
