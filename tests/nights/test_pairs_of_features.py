"""Two rare features in one life: nobody is mailed because of the pair, and every way on is open."""

from __future__ import annotations

import pytest

from flows.operations.rebuild import Rebuild, apply_rebuild, plan_rebuild
from tests.firm import Firm


@pytest.fixture(autouse=True)
def _few_meetings(firm: Firm) -> None:
    firm.sections["guards"] |= {"max_deletes": 100, "max_delete_share": 1.0}


def lose_state(firm: Firm) -> None:
    for file in firm.folder.glob("state.sqlite*"):
        file.unlink()


def rebuild(firm: Firm) -> Rebuild:
    """The command `rebuild`, agreed to."""
    firm.write()
    planned = plan_rebuild(firm.config)
    assert firm.approve(planned.plan_id)
    assert apply_rebuild(firm.config, planned.plan_id).exit_code == 0
    return planned


@pytest.mark.parametrize("secret", [True, False])
def test_a_rebuild_says_who_gets_another_seal(
    firm: Firm, monkeypatch: pytest.MonkeyPatch, secret: bool
) -> None:
    """Where the seals rest on the lost state, everybody is invited again."""
    monkeypatch.setenv("SEALS", "a secret of many letters, kept apart")
    firm.sections["essentry"] = {"invitation_ids": "sealed"}
    if secret:
        firm.sections["essentry"]["invitation_secret_env"] = "SEALS"
    firm.book("a", "ada", "bob")
    firm.book("z", "zoe")
    firm.night()
    firm.new_mails()
    lose_state(firm)
    planned = rebuild(firm)
    invited = {address for kind, _, _, address in firm.new_mails() if kind == "invited"}
    assert (planned.renumbered, planned.sealed) == (
        len(invited),
        "secret" if secret else "salt",
    )
    assert len(invited) == (0 if secret else 3)
    assert (firm.night().exit_code, firm.new_mails()) == (0, [])
