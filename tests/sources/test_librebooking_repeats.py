"""A repeat rule that is changed in LibreBooking: the occurrences that stay are deleted and written
anew, with other numbers.

As `ExistingReservationSeries::Repeats` does it: the occurrence that was edited keeps its row, every
later one gets a new row and a new reference number, guests and invited users with it, and the title
is written once for the series.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.flows.test_night import sandbox  # noqa: F401
from tests.sources import librebooking
from tests.sources.databases import database
from tests.sources.house import START, House

GUESTS = ("ann@out.example", "bob@out.example")


class Series(House):
    """One booking every week in one room, with a guest by address and a user who is invited."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, params={}, **settings)
        self.guards["max_churn"] = 0  # ids that changed would be asked about
        people = {1: "host@corp.example", 2: "bob@out.example"}
        self.tables |= {
            "layouts": [{"layout_id": 1, "timezone": "Europe/Berlin"}],
            "schedules": [{"schedule_id": 1, "name": "Haus", "layout_id": 1}],
            "resources": [{"resource_id": 10, "name": "Raum", "schedule_id": 1}],
            "users": [
                {
                    "user_id": n, "fname": f"V{n}", "lname": f"N{n}", "email": email,
                    "organization": None, "phone": None, "timezone": "UTC",
                    "language": "de_de", "status_id": 1,
                }
                for n, email in people.items()
            ],
            "reservation_series": [
                {
                    "series_id": 1, "date_created": f"{START:%Y-%m-%d} 00:00:00",
                    "title": "Werksführung", "type_id": 1, "status_id": 1,
                    "owner_id": 1,
                }
            ],
            "reservation_resources": [{"series_id": 1, "resource_id": 10, "resource_level_id": 1}],
        }  # fmt: skip

    def occur(self, number: int, week: int, reference: str) -> None:
        """An occurrence with its people; invited users start anew at level 3."""
        start = START + timedelta(weeks=week)
        self.tables["reservation_instances"].append(
            {
                "reservation_instance_id": number,
                "start_date": f"{start:%Y-%m-%d %H:%M:%S}",
                "end_date": f"{start + timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
                "reference_number": reference,
                "series_id": 1,
            }
        )
        self.tables["reservation_users"] += [
            {"reservation_instance_id": number, "user_id": user, "reservation_user_level": level}
            for user, level in ((1, 1), (2, 3))
        ]
        self.tables["reservation_guests"].append(
            {"reservation_instance_id": number, "email": GUESTS[0], "reservation_user_level": 3}
        )

    def repeat(self, weeks: list[int], *, first: int, prefix: str) -> None:
        """The rule is changed in the first occurrence: it stays, the others are written anew."""
        for table in ("reservation_instances", "reservation_users", "reservation_guests"):
            self.tables[table] = [
                row for row in self.tables[table] if row["reservation_instance_id"] == 1
            ]
        for n, week in enumerate(weeks):
            self.occur(first + n, week, f"{prefix}{week}")


@pytest.fixture
def series(tmp_path, sandbox):  # noqa: F811
    """Occurrences in weeks 0 to 3, confirmed in essentry."""
    with database("mariadb", tmp_path, charset="utf8mb4") as engine:
        librebooking.create_schema(engine)
        house = Series(librebooking, engine, tmp_path, sandbox)
        for week in range(4):
            house.occur(1 + week, week, f"old{week}")
        assert house.night().exit_code == 0
        assert house.new_mails() == sorted(("invited", guest) for guest in GUESTS for _ in range(4))
        yield house


def invitations(house: House) -> dict[str, set[str]]:
    return {key: set(event["guests"]) for key, event in house.sandbox.state()["events"].items()}


def test_occurrences_that_stay_keep_their_ids_and_nobody_is_mailed(series) -> None:
    before = invitations(series)
    series.repeat([1, 2, 3], first=101, prefix="new")
    for _ in range(2):
        assert (series.night().exit_code, series.new_mails(), invitations(series)) == (
            0,
            [],
            before,
        )
    series.repeat([1, 2, 3], first=201, prefix="newer")  # and once more
    assert (series.night().exit_code, series.new_mails(), invitations(series)) == (0, [], before)


def test_what_the_new_rule_drops_is_cancelled_and_what_it_adds_is_invited(series) -> None:
    before = invitations(series)
    series.repeat([1, 3, 5], first=101, prefix="new")
    assert series.night().exit_code == 0
    assert series.new_mails() == sorted(
        (kind, guest) for kind in ("cancelled", "invited") for guest in GUESTS
    )
    after = invitations(series)
    assert set(after) == {"sys-old0", "sys-old1", "sys-old3", "sys-new5"}
    assert {key: after[key] for key in before if key in after} == {
        key: ids for key, ids in before.items() if key != "sys-old2"
    }


def test_a_later_change_of_a_re_created_occurrence_is_an_update_of_the_one_event(series) -> None:
    series.repeat([1, 2, 3], first=101, prefix="new")
    series.night()
    before = invitations(series)
    row = series.tables["reservation_instances"][2]
    for column, hour in (("start_date", "14:00:00"), ("end_date", "15:00:00")):
        row[column] = f"{row[column][:10]} {hour}"
    assert series.night().exit_code == 0
    assert series.new_mails() == sorted(("updated", guest) for guest in GUESTS)
    assert invitations(series) == before
    series.tables["reservation_series"][0]["status_id"] = 2
    assert series.night().exit_code == 0
    assert series.new_mails() == sorted(("cancelled", guest) for guest in GUESTS for _ in range(4))


def test_the_rule_and_the_title_in_one_edit(series) -> None:
    before = invitations(series)
    series.repeat([1, 2, 3], first=101, prefix="new")
    series.tables["reservation_series"][0]["title"] = "Rundgang"
    assert series.night().exit_code == 0
    assert {kind for kind, _ in series.new_mails()} <= {"updated"}
    assert invitations(series) == before
    assert {event["name"] for event in series.sandbox.state()["events"].values()} == {"Rundgang"}
