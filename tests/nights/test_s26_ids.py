"""S26: an id depends on its own row alone, and not on a spelling; ids that are confirmed stay. In
whole nights.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest

from flows.night.session import open_state
from flows.operations.adopt import adopt_events
from flows.state.people import Forgotten
from flows.state.store import State
from schemas.errors import StateError
from tests.firm import NOW, START, Firm
from transforms.arrow.columns import to_arrow, to_series
from transforms.arrow.rows import are_repeated
from transforms.naming.guest_numbers import digest_guest_keys
from transforms.naming.ids import has_seal_of, parse_invitation_id
from transforms.validate import people

NFC, NFD = (unicodedata.normalize(form, "Jörg Müller") for form in ("NFC", "NFD"))


def who(
    name: str,
    email: str | None = "office@sup.example",
    key: str | None = None,
    **columns: str | None,
) -> dict:
    """A guest row; without a key of its own unless `key`."""
    first, _, last = name.partition(" ")
    return {
        "guest_id": key,
        "email": email,
        "first_name": first or None,
        "last_name": last or None,
    } | columns


def names(firm: Firm, event: str = "rooms-m") -> dict[str, str]:
    """What essentry holds of an event: invitation id → name."""
    guests = firm.sandbox.state()["events"][event]["guests"]
    return {
        key: f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip()
        for key, guest in guests.items()
    }


@contextmanager
def older_release() -> Iterator[None]:
    """Numbers as an older release gave them (the first by name kept the address alone), and keys as
    they came.
    """

    def list_old_keys(validated, *, shared: bool = False) -> pd.Series:
        guests = validated.guests
        some = guests[guests["guest_key"].isna()]
        text = some["identity"]
        both = some[are_repeated(some["source_event_id"], some["email"])]
        if len(both):
            name = people.name_people(both["first_name"], both["last_name"])
            named = both.assign(name=name)[name.notna()]
            smallest = named.groupby(["source_event_id", "email"], sort=False)["name"].transform(
                "min"
            )
            others = named.loc[named["name"] != smallest, "name"]
            text = text.mask(text.index.isin(others.index), text + "|" + others.reindex(text.index))
        return text.reindex(guests.index)

    def clean_old_key(values: pd.Series) -> pd.Series:
        return to_series(pc.utf8_trim_whitespace(to_arrow(values)), values.index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.parts.work.list_guest_keys", list_old_keys)
        patch.setattr("transforms.desired.guests.list_guest_keys", list_old_keys)
        patch.setattr("flows.night.known.find_older_digests", lambda *_: {})
        patch.setattr(people, "clean_key", clean_old_key)
        patch.setattr(people, "compose", lambda array: array)
        yield


# -- people behind one address ---------------------------------------------------------------------

ANA, BO, AL = who("Ana Ng"), who("Bo Ek"), who("Al Abe")


COMINGS_AND_GOINGS = {
    "first leaves": ([ANA, BO], [BO], ["cancelled"]),
    "second leaves": ([ANA, BO], [ANA], ["cancelled"]),
    "another order": ([ANA, BO], [BO, ANA], []),
    "third comes": ([ANA, BO], [AL, ANA, BO], ["invited"]),
    "second comes": ([ANA], [AL, ANA], ["invited"]),
    "name corrected": ([ANA], [who("Anna Ng")], ["updated"]),
    "one of two names corrected": ([ANA, BO], [who("Anna Ng"), BO], ["updated"]),
    "one goes and another comes": ([ANA, BO], [AL, BO], ["cancelled", "invited"]),
    "nameless is nobody else": ([who(""), BO], [BO], []),
    "name added": ([who("")], [ANA], ["updated"]),
    "name written otherwise": ([ANA, BO], [who("ANA  NG"), BO], ["updated"]),
    "namesakes": ([ANA, ANA], [ANA], []),
    # cancelled, and without an address nobody is mailed
    "no address": ([who("Ana Ng", None), BO], [BO], []),
}


def mails_of(firm: Firm) -> dict[str, list[str]]:
    """Kinds of the new mails by event."""
    found: dict[str, list[str]] = {}
    for kind, event, *_ in firm.new_mails():
        found.setdefault(event.removeprefix("rooms-"), []).append(kind)
    return {event: sorted(kinds) for event, kinds in found.items()}


@pytest.mark.parametrize("partitions", [1, 3])
def test_s26_people_behind_one_address_come_and_go_one_by_one(firm: Firm, partitions: int) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    # somebody else at one address may be the same one
    firm.sections["guards"] |= {"max_mails_per_guest": 1000, "max_churn": 10}
    events = {title.replace(" ", "_"): case for title, case in COMINGS_AND_GOINGS.items()}
    for title, (before, _, _) in events.items():
        firm.book(title, guests=dict(enumerate(before)))
    firm.night()
    held, _ = {title: names(firm, f"rooms-{title}") for title in events}, firm.new_mails()
    for title, (_, after, _) in events.items():
        firm.meetings["rooms"][title]["guests"] = dict(enumerate(after))
    night = firm.night()
    assert (night.exit_code, night.report["guards"]) == (0, [])
    assert mails_of(firm) == {title: mails for title, (_, _, mails) in events.items() if mails}
    for title, people_before in held.items():
        stayed = {name: key for key, name in people_before.items()}
        assert all(
            stayed[name] == key
            for key, name in names(firm, f"rooms-{title}").items()
            if name in stayed
        ), title
    firm.night()
    assert firm.new_mails() == []


UPGRADES = {
    "same": ([ANA, BO], [ANA, BO], []),
    "leaves": ([ANA, BO], [BO], ["cancelled"]),
    "comes": ([ANA, BO], [AL, ANA, BO], ["invited"]),
    "alone": ([ANA], [ANA], []),
    "corrected": ([ANA], [who("Anna Ng")], ["updated"]),
    "nameless": ([who("")], [who("")], []),
    "named": ([who("")], [ANA], ["updated"]),
    "decomposed": ([who(NFD)], [who(NFC)], []),
    "no_address": ([who("y z", None)], [who("y z", None)], []),
}


@pytest.mark.share(2)
@pytest.mark.parametrize("policy", ["per-event", "shared"])
@pytest.mark.parametrize("mailbox", ["one for all", "one a meeting"])
def test_s26_a_state_with_numbers_of_an_older_release_mails_nobody_by_itself(
    firm: Firm, policy: str, mailbox: str
) -> None:
    if (policy, mailbox) == ("shared", "one for all"):
        pytest.skip("the older release made one contact of all these people")
    firm.sections["guards"]["max_mails_per_guest"] = 1000
    firm.sections["essentry"] = {"invitation_ids": policy}

    def guests(event: str, rows: list[dict]) -> dict[int, dict]:
        own = [
            row
            | {
                "email": row["email"]
                and (f"{event}@sup.example" if mailbox == "one a meeting" else row["email"])
            }
            for row in rows
        ]
        return dict(enumerate(own))

    for event, (before, _, _) in UPGRADES.items():
        firm.book(event, guests=guests(event, before))
    with older_release():
        firm.night()
    held, _ = {event: names(firm, event) for event in firm.held()}, firm.new_mails()
    firm.night()
    assert (firm.new_mails(), {event: names(firm, event) for event in firm.held()}) == ([], held)
    for event, (_, later, _) in UPGRADES.items():
        firm.meetings["rooms"][event]["guests"] = guests(event, later)
    firm.night()
    assert mails_of(firm) == {event: mails for event, (_, _, mails) in UPGRADES.items() if mails}
    firm.night()
    assert firm.new_mails() == []


def test_s26_somebody_new_in_the_night_of_the_upgrade_takes_nobodys_invitation(firm: Firm) -> None:
    firm.book("m", guests={1: ANA, 2: BO})
    with older_release():
        firm.night()
    held, _ = names(firm), firm.new_mails()
    firm.meetings["rooms"]["m"]["guests"] = {0: AL, 1: ANA, 2: BO}
    firm.night()
    assert [kind for kind, *_ in firm.new_mails()] == ["invited"]
    assert held.items() <= names(firm).items()


def test_s26_one_heir_takes_an_older_number_over_and_of_several_nobody_does(tmp_path: Path) -> None:
    with State.open(f"sqlite:///{tmp_path}/state.sqlite") as state:
        known = ("one", "two", "ana", "bo", "al", "zoe", "yan")
        one, two, ana, bo, al, zoe, yan = digest_guest_keys(known, "salt")
        old = state.guest_numbers("rooms", [one, two])
        heirs = {ana: one, bo: two, al: two}
        new = state.guest_numbers("rooms", list(heirs), older=heirs)
        assert new[ana] == old[one]
        assert len({*new.values(), *old.values()}) == 4
        again = state.guest_numbers("rooms", [zoe, yan, *heirs], older=heirs | {zoe: one, yan: two})
        assert new.items() <= again.items()
        assert not {again[zoe], again[yan]} & set(old.values())  # given away
        assert state.guest_numbers("other", [bo], older=heirs) == {bo: new[bo]}
        for address in (one, two):
            state.forget_numbers(address, Forgotten())
        with state._read() as connection:
            assert (
                connection.exec_driver_sql(
                    "SELECT count(*) FROM guest_keys WHERE source = 'rooms'"
                ).scalar()
                == 0
            )


@pytest.mark.parametrize("keys", [("g1", "g2"), ("g2", "g1")])
def test_s26_namesakes_with_keys_of_their_own_and_no_address_are_two_people(
    firm: Firm, keys: tuple[str, str]
) -> None:
    firm.book("m", guests={key: who("Jon Li", None, key) for key in keys})
    firm.night()
    assert firm.held() == {"rooms-m": {"rooms-m-g1", "rooms-m-g2"}}
    firm.meetings["rooms"]["m"]["guests"].pop("g1")
    firm.night()
    assert firm.held() == {"rooms-m": {"rooms-m-g2"}}


def test_s10_duplicates_by_address_and_name_and_those_of_two_sources_stay_one_person(
    tmp_path: Path, firm: Firm
) -> None:
    firm.meetings["hr"] = {}
    firm.book(
        "u",
        guests={
            "g1": who("Jon Li", "jon@out.example", "g1"),
            "g2": who("Jon Li", "jon@out.example", "g2"),
        },
    )
    firm.book("m", guests={"a": who("Ada Lo", None, "a")}, source="hr")
    firm.book("m", guests={"b": who("Ada Lo", None, "b")}, linked_source="hr", linked_event_id="m")
    firm.night()
    assert {key: len(guests) for key, guests in firm.held().items()} == {"rooms-u": 1, "hr-m": 1}


# -- spelling --------------------------------------------------------------------------------------

SPELLINGS = [
    ("Tür-1", unicodedata.normalize("NFD", "Tür-1")),
    ("k 1", "k\u00a01"),
    ("k1", "k1\u200b"),
    ("k1", "\ufeffk1\r\n"),
    ("k1", "\tk1 "),
    ("k 1", "k  1"),
]


@pytest.mark.share(2)
@pytest.mark.parametrize(("old", "partitions"), [(False, 1), (False, 3), (True, 1), (True, 3)])
def test_s26_a_key_in_another_spelling_is_the_same_key(
    firm: Firm, old: bool, partitions: int
) -> None:
    """Whichever spelling was confirmed first, by this release or by an older one, its ids stay."""
    firm.sections["scale"] = {"partitions": partitions}

    def book(number: int, event: str, guest: str) -> None:
        prefix = str(number)
        firm.book(
            prefix,
            start=START,
            source_event_id=_put(prefix, event),
            guests={"g": who("Ada Lo", f"{prefix}@out.example", guest)},
        )

    for number, (plain, odd) in enumerate(SPELLINGS):
        book(number, odd if old else plain, odd if old else plain)
    if old:
        with older_release():
            firm.night()
    else:
        firm.night()
    held, _ = firm.held(), firm.new_mails()
    for event, guest in ((1, 1), (0, 0), (0, 1)):
        for number, spelled in enumerate(SPELLINGS):
            book(number, spelled[event], spelled[guest])
        assert firm.night().exit_code == 0
        assert (firm.new_mails(), firm.held()) == ([], held)
    firm.cancel("0", "1")
    firm.night()
    assert len(firm.held()) == len(held) - 2


def _put(prefix: str, key: str) -> str:
    """A key of its own, with what is odd about the given one where it was."""
    return key.replace("k", f"k{prefix}").replace("T", f"T{prefix}")


@pytest.mark.parametrize("forms", [(NFC, NFD), (NFD, NFC)])
def test_s26_names_and_titles_in_another_unicode_form_are_no_change(
    firm: Firm, forms: tuple[str, str]
) -> None:
    def book(form: str) -> None:
        firm.book(
            "m",
            start=START,
            name=f"Besuch {form}",
            description=form,
            guests={1: who(form, "Jörg@x.example"), 2: who(form, None)},
        )

    with older_release():
        book(forms[0])
        firm.night()
    firm.new_mails()
    for form in (forms[1], forms[0]):
        book(form)
        firm.night()
        assert firm.new_mails() == []
    firm.meetings["rooms"]["m"]["guests"][3] = who("New One", "new@out.example")
    firm.night()
    assert [kind for kind, *_ in firm.new_mails()] == ["invited"]


def test_s26_two_events_whose_keys_differ_by_their_form_are_held_and_told(firm: Firm) -> None:
    keys = [unicodedata.normalize(form, "Tür") for form in ("NFC", "NFD")]
    with older_release():
        for number, key in enumerate(keys):
            firm.book(str(number), source_event_id=key)
        firm.night()
    held, _ = firm.held(), firm.new_mails()
    report = firm.night().report
    assert {row["check"] for row in report["quarantined"]} == {"unique_key"}
    assert (firm.held(), firm.new_mails()) == (held, [])
    firm.meetings["rooms"].pop("1")
    firm.night()
    assert (firm.held(), firm.new_mails()) == (held, [])


@pytest.mark.parametrize("partitions", [1, 3])
def test_s26_guests_whose_event_key_has_other_capitals_are_told_and_keep_their_invitations(
    firm: Firm, partitions: int
) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    firm.book("AB1", "ada")
    firm.book("cd2", "bob")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    firm.meetings["rooms"]["AB1"]["guests"] = {}
    firm.meetings["rooms"]["cd2"]["guests"]["ada"] = {
        "source_event_id": "ab1",
        "email": "ada@out.example",
    }
    firm.meetings["rooms"]["cd2"]["guests"]["eve"] = {
        "source_event_id": "zz",
        "email": "eve@out.example",
    }
    report = firm.night().report
    assert (firm.held(), firm.new_mails()) == (held, [])
    assert [(row["part"], row["check"], row["rows"]) for row in report["quarantined"]] == [
        ("guests", "guest_event_case", 1)
    ]
    assert report["notes"]["guests_of_no_event"] == 1


def test_s26_event_keys_that_differ_by_capitals_alone_are_two_events_and_told(firm: Firm) -> None:
    firm.book("AB1", "ada")
    firm.book("ab1", "bob")
    assert firm.night().report["notes"]["event_keys_by_case"] == 1
    assert set(firm.held()) == {"rooms-AB1", "rooms-ab1"}


def test_s26_capitals_and_blanks_of_addresses_are_no_change(firm: Firm) -> None:
    spelled = [
        *(
            "Ada@Out.example",
            " ada@out.example\r\n",
            "ada\u200b@out.example",
            "<ada@out.example>",
            "'ada@out.example'",
        ),
        '"Ada Lo" <ADA@out.example>',
    ]
    firm.book("m", guests={1: who("Ada Lo", spelled[0])})
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    for address in spelled:
        firm.meetings["rooms"]["m"]["guests"] = {1: who("Ada Lo", address)}
        assert firm.night().exit_code == 0
        assert (firm.held(), firm.new_mails()) == (held, [])


# -- ids that were taken over ----------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 3])
def test_s26_a_record_whose_id_was_taken_over_for_another_is_set_aside(
    firm: Firm, partitions: int
) -> None:
    firm.sections["scale"] = {"partitions": partitions}
    firm.book("1001", "ada")
    firm.write()
    (firm.folder / "ids.csv").write_text(
        "source,source_event_id,event_id,guest,invitation_id\nrooms,1001,rooms-2,ada,rooms-1001-bob\n"
    )
    adopt_events(firm.config, firm.folder / "ids.csv", write=True)
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    firm.book("2", "eve")
    firm.meetings["rooms"]["1001"]["guests"]["bob"] = "bob@out.example"
    result = firm.night()
    assert sorted(
        (row["part"], row["check"], row["rows"]) for row in result.report["quarantined"]
    ) == [
        ("events", "taken_id", 1),
        ("guests", "taken_id", 1),
    ]
    assert result.report["balance"]["rows_balanced"]
    assert (firm.held(), firm.new_mails()) == (held, [])
    firm.cancel("1001")
    firm.night()
    assert firm.held() == {}  # the taken id is that of 1001 alone


# -- seals -----------------------------------------------------------------------------------------


def test_s26_sealed_ids_are_for_new_invitations_and_nobody_is_mailed_by_the_change(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm.book("old", "ada", guests={"ada": "ada@out.example", "x": who("Bo Ek")})
    firm.book("gone", "eve")
    firm.night()
    held, _ = firm.held(), firm.new_mails()
    firm.sections["essentry"] = {"invitation_ids": "sealed"}
    firm.sections["guards"]["approve_policy_change"] = False
    firm.night()
    assert (firm.held(), firm.new_mails()) == (held, [])
    firm.book("new", "bob")
    firm.meetings["rooms"]["old"]["guests"]["cyd"] = "cyd@out.example"
    # unreadable: keeps what she has
    firm.meetings["rooms"]["gone"]["guests"]["eve"] = {"email": "eve@", "access_profiles": "x"}
    firm.night()
    assert sorted(kind for kind, *_ in firm.new_mails()) == ["invited", "invited"]
    assert firm.held()["rooms-gone"] == held["rooms-gone"]
    (bob,) = firm.held()["rooms-new"]
    (cyd,) = firm.held()["rooms-old"] - held["rooms-old"]
    with open_state(firm.config) as state:
        assert has_seal_of(bob, state.salt())
        assert has_seal_of(cyd, state.salt())
        assert not has_seal_of(bob, "other")
    assert (parse_invitation_id(bob).event, parse_invitation_id(bob).guest) == ("new", "bob")
    monkeypatch.setenv("SEAL", "another secret")
    firm.sections["essentry"] = {"invitation_ids": "sealed", "invitation_secret_env": "SEAL"}
    firm.night()
    assert firm.new_mails() == []
    firm.meetings["rooms"]["old"]["guests"].pop("cyd")
    firm.night()
    assert [mail[2] for mail in firm.new_mails()] == [cyd]
    for policy in ("per-event", "shared"):
        firm.sections["essentry"] = {"invitation_ids": policy}
        with pytest.raises(StateError, match="another invitation_ids policy"):
            firm.night()


# -- shared contacts -------------------------------------------------------------------------------


def test_s26_a_shared_contact_has_the_data_of_its_newest_meeting_to_come(firm: Firm) -> None:
    firm.sections["essentry"] = {"invitation_ids": "shared"}

    def guest(address: str) -> dict:
        return {"g7": {"email": address, "last_name": "Ng"}}

    firm.book("a", guests=guest("old@former.example"), start=NOW - timedelta(days=700))
    firm.book(
        "z",
        guests=guest("off@cancelled.example"),
        start=START + timedelta(days=9),
        status="cancelled",
    )
    firm.book("y", guests=guest("far@beyond.example"), start=START + timedelta(days=900))
    firm.book("b", guests=guest("first@present.example"))
    firm.book("c", guests=guest("new@present.example"), start=START + timedelta(days=5))
    firm.night()
    assert {mail[3] for mail in firm.new_mails()} == {"new@present.example"}
