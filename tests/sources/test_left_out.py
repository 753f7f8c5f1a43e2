"""What is left out on purpose: places that are not for visitors, addresses that are no guests,
domains below the company's.
"""

from __future__ import annotations

import pandas as pd
import pytest

from schemas.config import Config
from schemas.errors import ConfigurationError
from schemas.load_config import load_config
from tests.firm import Firm, guards_of
from tests.flows.test_night import sandbox  # noqa: F401
from transforms.guards.policy import digest_policy
from transforms.validate.people import are_of_domains, match_patterns


@pytest.fixture
def firm(tmp_path, sandbox):  # noqa: F811
    return Firm(tmp_path, sandbox, approve_policy_change=False)


def settle(firm: Firm, **settings) -> None:
    firm.source_settings["rooms"] = firm.source_settings.get("rooms", {}) | settings


def test_events_of_an_ignored_site_are_no_quarantine_and_are_not_sent(firm) -> None:
    settle(firm, sites={"1": {"location_id": 11}, "2": "ignore"})
    firm.book("a", "ann")
    firm.book("b", "bob", site="2")
    firm.book("c", "cat", site="2", host=None, status="odd")  # nor is what else is wrong with it
    result = firm.night()
    assert result.exit_code == 0
    assert result.report["quarantined"] == []
    assert [mail[3] for mail in firm.new_mails()] == ["ann@out.example"]


def test_a_room_is_asked_before_its_site(firm) -> None:
    settle(
        firm,
        sites={"1": {"location_id": 11}, "2": "ignore"},
        rooms={"r1": "ignore", "r2": {"location_id": 12}},
    )
    firm.book("a", "ann", room_key="r1")
    firm.book("b", "bob", site="2", room_key="r2")
    firm.night()
    assert [mail[3] for mail in firm.new_mails()] == ["bob@out.example"]


@pytest.mark.parametrize("written", ["Haus  2", " Haus 2 ", "Haus\t2", "Haus\u00a02"])
def test_a_key_of_the_configuration_is_cleaned_as_a_rows_is(firm, written) -> None:
    """As `init` finds it in the table, or as somebody typed it: the same place, mapped or ignored,
    as site or as room.
    """
    settle(
        firm,
        sites={"1": {"location_id": 11}, written: {"location_id": 12}},
        rooms={written: "ignore"},
    )
    firm.book("a", "ann", site="Haus 2")
    firm.book("b", "bob", site=" Haus  2")
    firm.book("c", "cat", room_key="Haus 2")
    firm.book("d", "dan", room_key=" Haus  2")
    result = firm.night()
    assert (result.exit_code, result.report["quarantined"]) == (0, [])
    assert sorted(mail[3] for mail in firm.new_mails()) == ["ann@out.example", "bob@out.example"]


@pytest.mark.parametrize("partitions", [1, 3])
def test_guests_without_a_name_are_counted_in_the_report(firm, partitions) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    firm.book("a", "ann")
    nobody = {"first_name": None, "last_name": None}
    firm.meetings["rooms"]["a"]["guests"] |= {
        "x": nobody | {"email": "x@out.example"},
        "y": nobody | {"email": "y@out.example"},
    }
    firm.book(
        "b",
        guests={
            "z": nobody | {"email": "z@out.example"},
            "w": nobody | {"email": "w@out.example", "last_name": "Wu"},
        },
    )
    for _ in range(2):
        result = firm.night()
        assert (result.exit_code, result.report["notes"]["guests_without_a_name"]) == (0, 3)
    assert "guests without a name 3" in (result.folder / "report.md").read_text()
    assert "3: guests have an address and no name" in " ".join(
        (result.folder / "report.html").read_text().split()
    )


def test_employees_below_the_companys_domain_are_left_out_where_it_is_settled(firm) -> None:
    settle(firm, internal_domains=["corp.example"], internal_subdomains=True)
    firm.book("a", "ann")
    firm.meetings["rooms"]["a"]["guests"] |= {
        "k": "kim@mail.corp.example",
        "o": "oli@corp.example",
        "n": "ned@notcorp.example",
    }
    firm.night()
    assert sorted(mail[3] for mail in firm.new_mails()) == [
        "ann@out.example",
        "ned@notcorp.example",
    ]
    settle(firm, internal_subdomains=False)
    firm.night()
    assert [(mail[0], mail[3]) for mail in firm.new_mails()] == [
        ("invited", "kim@mail.corp.example")
    ]


def test_what_was_sent_stays_when_its_site_is_ignored_and_a_cancellation_still_goes(firm) -> None:
    firm.book("a", "ann")
    firm.book("b", "bob")
    firm.night()
    firm.new_mails()
    settle(firm, sites={"1": "ignore", "2": {"location_id": 12}})
    firm.night()
    assert firm.new_mails() == []
    firm.cancel("b")
    firm.night()
    assert [(mail[0], mail[3]) for mail in firm.new_mails()] == [("cancelled", "bob@out.example")]


def test_excluded_addresses_are_no_guests_even_malformed_ones(firm) -> None:
    settle(firm, exclude_guests=["*@resource.example", "room-?@out.example", "beamer*@*"])
    firm.book("a", "ann")
    firm.meetings["rooms"]["a"]["guests"] |= {
        "r": "Room1@Resource.example",
        "s": "room-1@out.example",
        "t": "beamer@@x",
    }
    firm.book("b", "x")
    firm.meetings["rooms"]["b"]["guests"] = {"r": "room2@resource.example"}
    result = firm.night()
    assert [mail[3] for mail in firm.new_mails()] == ["ann@out.example"]
    assert result.report["quarantined"] == []


def test_patterns_fit_whole_addresses() -> None:
    addresses = pd.Series(
        ["a@x.example", "a@x.example.org", "aXx.example", None, "ä+b@x.example"], dtype="str"
    )
    assert match_patterns(addresses, ["*@x.example"]).tolist() == [True, False, False, False, True]
    assert match_patterns(addresses, []).tolist() == [False] * 5
    assert match_patterns(addresses, ["a@X.example"]).tolist() == [True, False, False, False, False]
    assert match_patterns(
        pd.Series(["a.b@x.example", "axb@x.example"], dtype="str"), ["a.b@*"]
    ).tolist() == [True, False]


def test_domains_below() -> None:
    addresses = pd.Series(
        ["a@corp.example", "a@mail.corp.example", "a@notcorp.example", "a@corp.example.org"],
        dtype="str",
    )
    assert are_of_domains(addresses, ["corp.example"]).tolist() == [True, False, False, False]
    assert are_of_domains(addresses, ["corp.example"], below=True).tolist() == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('sites."7" = "ignored"', "ignore"),
        ('sites."7" = { entrance_id = 5 }', "location_id is missing"),
        ('exclude_guests = ["*"]', "write the @"),
        ('exclude_guests = ["*@*"]', "write the @"),
        ('exclude_guests = ["resource.example"]', "write the @"),
    ],
)
def test_a_wrong_setting_is_one_message(setting, words, tmp_path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(f'[sources.rooms]\nurl = "sqlite:///x"\npreset = "mrbs"\n{setting}\n')
    with pytest.raises(ConfigurationError, match=words):
        load_config(file)


def test_s14_the_settings_are_policy_once_they_are_set() -> None:
    def digest(**settings) -> str:
        source = {
            "url": "sqlite://",
            "preset": "mrbs",
            "sites": {"1": {"location_id": 5}},
        } | settings
        return digest_policy(Config(sources={"rooms": source}))[0]

    plain = digest()
    changed = [
        digest(exclude_guests=["*@r.example"]),
        digest(internal_subdomains=True),
        digest(sites={"1": "ignore"}),
    ]
    assert len({plain, *changed}) == 4


def test_a_policy_that_leaves_guests_out_asks(tmp_path, sandbox) -> None:  # noqa: F811
    firm = Firm(tmp_path, sandbox)
    firm.book("a", "ann", "bob")
    firm.night()
    firm.new_mails()
    settle(firm, exclude_guests=["bob@*"])
    result = firm.night()
    assert "policy" in " ".join(guards_of(result))
    assert firm.new_mails() == []
