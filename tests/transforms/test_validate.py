"""Each check costs its own row, with a reason and a remedy, and nothing else."""

from __future__ import annotations

import pandas as pd
import pytest
from literal_rows import event, guest, raw, validate

from schemas.frames import REMEDIES
from transforms.validate.source import Validated

EVENT_CHECKS = {
    "problem": {"problem": "area in period mode"},
    "start": {"starts_at": "0000-00-00 00:00:00"},
    "end": {"ends_at": "soon"},
    "end_after_start": {"ends_at": "2026-03-10 09:00:00"},
    "status": {"status": "maybe"},
    "host": {"host_email": "n/a"},
    "host_address": {"host_email": "host at corp"},
    "host_active": {"host_active": "0"},
    "place": {"site_key": None},
    "location": {"site_key": "moon"},
    "length": {"ends_at": "2099-12-31 00:00:00"},
    "private_flag": {"private": "perhaps"},
    "host_active_flag": {"host_active": "2"},
    "readable_text": {"name": "Caf\ufffd"},
}
GUEST_CHECKS = {
    "guest_address": {"email": "ann@"},
    "guest_identity": {"email": "-", "last_name": None},
    "access_profiles": {"access_profiles": '[{"partitionId": "1", "sourceId": "door"}]'},
    "internal_flag": {"internal": "perhaps"},
}
OTHERS = {
    "key", "guest_event_key", "unique_key", "unique_guest", "zone", "link", "link_cycle",
    "link_strangers", "required", "guest_event_case",
    "taken_id",
}  # fmt: skip


def _checks(validated: Validated) -> list[tuple[str, str]]:
    return sorted(
        validated.rejects[["check", "source_event_id"]]
        .fillna("none")
        .itertuples(index=False, name=None)
    )


def _keys(frame: pd.DataFrame) -> list[str]:
    return frame["source_event_id"].tolist()


def test_every_check_has_a_test() -> None:
    assert set(EVENT_CHECKS) | set(GUEST_CHECKS) | OTHERS == set(REMEDIES)


@pytest.mark.parametrize("check", EVENT_CHECKS)
def test_event_check_costs_its_row_alone(check: str) -> None:
    validated = validate([event("1"), event("2", **EVENT_CHECKS[check]), event("3")], [guest("2")])
    assert _keys(validated.events) == ["1", "3"]
    assert _checks(validated) == [(check, "2")]
    reason, remedy = REMEDIES[check]
    assert validated.rejects.loc[0, "remedy"] == f"{reason}: {remedy}".replace("<name>", "hr")
    assert (validated.rejected_events, validated.event_rows, len(validated.guests)) == (1, 3, 1)


@pytest.mark.parametrize("check", GUEST_CHECKS)
def test_guest_check_costs_its_row_alone_and_holds_the_guest(check: str) -> None:
    validated = validate([event("1")], [guest("1", "g1"), guest("1", "g2", **GUEST_CHECKS[check])])
    assert validated.guests["guest_id"].tolist() == ["g1"]
    assert _checks(validated) == [(check, "1")]
    assert list(validated.held_guests.itertuples(index=False, name=None)) == [("1", "g2")]
    assert validated.rejected_guests == 1
    assert REMEDIES[check][1] in validated.rejects.loc[0, "remedy"]


def test_s03_rejected_guest_without_a_key_freezes_the_list() -> None:
    held = validate([event()], [guest("1", None, email="ann@")]).held_guests
    assert held["source_event_id"].tolist() == ["1"]
    assert held["guest_key"].isna().tolist() == [True]


@pytest.mark.parametrize("key", [None, "", "  "])
def test_s03_unreadable_keys_are_counted(key: str | None) -> None:
    validated = validate([event("1"), event(key)], [guest("1"), guest(key)])
    assert (validated.unreadable_event_keys, validated.unreadable_guest_events) == (1, 1)
    assert _checks(validated) == [("guest_event_key", "none"), ("key", "none")]
    assert (_keys(validated.events), _keys(validated.guests)) == (["1"], ["1"])


@pytest.mark.parametrize("zone", ["Mars/Olympus", None])
def test_zone_of_wall_clock_times(zone: str | None) -> None:
    rows = [event("1", timezone="Europe/Berlin"), event("2", timezone=zone)]
    validated = validate(rows, times="local")
    assert _keys(validated.events) == ["1"]
    assert _checks(validated) == [("zone", "2")]
    assert validated.events.loc[0, "starts_at"] == pd.Timestamp("2026-03-10T08:00:00Z")


def test_zone_of_room_then_site_then_source() -> None:
    places = {
        "sites": {
            "hq": {"location_id": 1, "timezone": "America/New_York"},
            "b": {"location_id": 2},
        },
        "rooms": {"r1": {"location_id": 5, "timezone": "Asia/Tokyo"}},
    }
    rows = [event("1", room_key="r1"), event("2"), event("3", site_key="b")]
    starts = validate(rows, times="local", timezone="Europe/Berlin", **places).events["starts_at"]
    assert starts.dt.hour.tolist() == [0, 13, 8]


@pytest.mark.parametrize(
    "bad",
    [
        {"starts_at": "rubbish"},
        {"host_email": None},
        {"site_key": "moon"},
        {"problem": "x"},
        {"ends_at": "x"},
    ],
)
def test_s05_cancelled_outranks_rejects(bad: dict) -> None:
    validated = validate([event("1", status="Canceled", **bad), event("2")])
    assert validated.events[["source_event_id", "status"]].to_numpy().tolist() == [
        ["1", "cancelled"],
        ["2", "confirmed"],
    ]
    assert validated.rejects.empty


def test_s05_a_key_that_is_cancelled_in_one_row_alone_is_no_cancellation() -> None:
    validated = validate([event("1", status="cancelled"), event("1"), event("2")])
    assert _keys(validated.events) == ["2"]
    assert {check for check, _ in _checks(validated)} == {"unique_key"}


def test_s05_a_key_that_all_rows_cancel_is_one_cancellation() -> None:
    validated = validate(
        [event("1", status="cancelled"), event("1", status="cancelled", name="Other")]
    )
    assert validated.events["status"].tolist() == ["cancelled"]
    assert validated.notes == {"copies_dropped": 1}  # no row is lost from the balance


def test_copies_are_dropped_and_different_rows_with_one_key_are_rejected() -> None:
    validated = validate(
        [event("1"), event("1"), event("2"), event("2", name="Other")], [guest("1"), guest("1")]
    )
    assert _keys(validated.events) == ["1"]
    assert validated.notes["copies_dropped"] == 1
    assert _checks(validated) == [("unique_key", "2"), ("unique_key", "2")]
    assert len(validated.guests) == 1
    assert validated.held_guests.empty


def test_different_guests_with_one_key_are_rejected_and_held() -> None:
    validated = validate(
        [event()],
        [
            guest("1", "g", email="a@x.example"),
            guest("1", "g", email="b@x.example"),
            guest("2", "g"),
        ],
    )
    assert _checks(validated) == [("unique_guest", "1"), ("unique_guest", "1")]
    assert _keys(validated.guests) == ["2"]
    assert set(validated.held_guests["guest_key"]) == {"g"}


@pytest.mark.parametrize("address", ["n/a", "N/A", "-", "", "unknown", "keine", "."])
def test_guest_with_a_name_and_no_address_passes(address: str) -> None:
    validated = validate([event()], [guest("1", "g1", email=address)])
    assert validated.rejects.empty
    assert validated.guests["email"].isna().all()
    assert validated.guests["identity"].tolist() == ["name:guest"]


def test_values_in_rejects_show_no_address() -> None:
    validated = validate(
        [event("1", host_email="secret.person@@corp")], [guest("1", "g", email="ann.smith@")]
    )
    shown = " ".join(validated.rejects["value"].fillna(""))
    assert "secret" not in shown
    assert "ann.smith" not in shown


def test_missing_optional_columns_and_end() -> None:
    rows = raw([event("1")]).drop(columns=["ends_at", "name"]).to_dict("records")
    validated = validate(rows, default_duration_minutes=45)
    assert (validated.events["ends_at"] - validated.events["starts_at"]).tolist() == [
        pd.Timedelta(minutes=45)
    ]
    assert validated.notes["default_ends"] == 1


def test_malformed_creator_is_left_out_and_costs_nothing() -> None:
    validated = validate([event("1", creator_email="broken@", creator_first_name="Bo")])
    assert validated.events[["creator_email", "creator_first_name"]].isna().all(axis=None)


def test_full_name_is_split_and_profiles_are_canonical() -> None:
    profiles = ' [ {"sourceId":"b","partitionId":2}, {"partitionId":1,"sourceId":"a"} ] '
    row = validate(
        [event()],
        [guest("1", "g", last_name=None, full_name="Ann  van Dyk", access_profiles=profiles)],
    ).guests.iloc[0]
    assert (row["first_name"], row["last_name"]) == ("Ann van", "Dyk")
    assert (
        row["access_profiles"]
        == '[{"partitionId":1,"sourceId":"a"},{"partitionId":2,"sourceId":"b"}]'
    )


def test_no_rows() -> None:
    validated = validate([])
    assert (
        validated.event_rows,
        len(validated.events),
        len(validated.guests),
        len(validated.rejects),
    ) == (0, 0, 0, 0)


def test_no_row_is_lost() -> None:
    rows = [
        event("1"),
        event(None),
        event("2", status="x"),
        event("3", host_email=None, site_key=None),
        event("4", status="cancelled"),
    ]
    validated = validate(rows)
    assert len(validated.events) + validated.rejected_events == len(rows)


def test_rows_with_an_ambiguous_clock_time_are_named_and_kept() -> None:
    rows = [
        event(
            "twice",
            starts_at="2026-10-25 02:30:00",
            ends_at="2026-10-25 05:00:00",
            timezone="Europe/Berlin",
        ),
        event(
            "never",
            starts_at="2026-03-29 01:00:00",
            ends_at="2026-03-29 02:30:00",
            timezone="Europe/Berlin",
        ),
        event(
            "plain",
            starts_at="2026-03-30 01:00:00",
            ends_at="2026-03-30 02:30:00",
            timezone="Europe/Berlin",
        ),
    ]
    validated = validate(rows, [], times="local")
    assert validated.odd_times == [
        {
            "source_event_id": "twice",
            "value": "2026-10-25 02:30:00",
            "what": "happened twice, read as the first",
        },
        {
            "source_event_id": "never",
            "value": "2026-03-29 02:30:00",
            "what": "was skipped, read an hour later",
        },
    ]
    assert _keys(validated.events) == ["never", "plain", "twice"]
