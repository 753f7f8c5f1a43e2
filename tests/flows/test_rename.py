"""Sources that leave, come under another name, or are taken out of the configuration (S15)."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from flows.night.session import open_state
from flows.operations.history import trace_event
from flows.operations.rename import check_rename
from schemas.errors import ConfigurationError
from tests.firm import Firm

SAME = {"id_prefix": "rooms", "url": "sqlite:///rooms.sqlite"}
"""Of a source that has another name and is the same one."""


def rename(firm: Firm, old: str, new: str) -> int:
    """`rename OLD NEW`."""
    with open_state(firm.config) as state:
        check_rename(firm.config, state, old, new)
        return state.rename_source(old, new)


@pytest.fixture
def moved(firm: Firm) -> Firm:
    """Three meetings sent for `rooms`, one guest of which has no key; then the configuration calls
    the source `buildings`, in the same database.
    """
    firm.book("a", "x", "y")
    firm.book("b", "x")
    firm.book("c", guests={"": {"email": "keyless@out.example"}})
    assert firm.night().exit_code == 0
    firm.meetings["buildings"] = firm.meetings.pop("rooms")
    firm.source_settings["buildings"] = SAME
    return firm


def test_s15_a_source_that_left_the_configuration_stops_the_run(moved: Firm) -> None:
    result = moved.night()
    assert result.exit_code == 2
    assert 'id_prefix = "rooms"' in result.report["verdict"]
    assert "essentry-sync rename rooms NEW" in result.report["verdict"]
    assert "essentry-sync retire rooms" in result.report["verdict"]


def test_s15_after_a_rename_nothing_is_sent(moved: Firm) -> None:
    puts, held = moved.puts(), moved.held()
    assert rename(moved, "rooms", "buildings") == 3
    quiet = moved.night()
    assert (quiet.exit_code, moved.puts(), moved.held()) == (0, puts, held)
    assert quiet.report["counts"]["unchanged"] == 3
    # and life goes on under the new name: changes, deletes with their second look, new events with
    # the old prefix
    moved.meetings["buildings"]["a"]["name"] = "Another title"
    moved.cancel("b", source="buildings")
    moved.book("d", "z", source="buildings")
    result = moved.night()
    assert (result.exit_code, result.report["guards"]) == (0, [])
    assert set(moved.held()) == {"rooms-a", "rooms-c", "rooms-d"}
    assert set(result.report["by_source"]) == {"buildings"}
    with open_state(moved.config) as state:
        assert "source: buildings" in trace_event(state, moved.config, "rooms-a")["standing"][0]


def test_s15_an_event_still_shown_at_the_last_look_is_not_deleted_after_a_rename(
    moved: Firm,
) -> None:
    rename(moved, "rooms", "buildings")
    gone = moved.meetings["buildings"].pop("b")
    assert moved.night(kind="plan").report["counts"]["delete"] == 1
    moved.meetings["buildings"]["b"] = gone
    moved.write()
    moved.apply()
    assert "rooms-b" in moved.held()


def test_s15_a_second_rename_keeps_the_first_prefix(moved: Firm) -> None:
    rename(moved, "rooms", "buildings")
    moved.night()
    moved.meetings["places"] = moved.meetings.pop("buildings")
    moved.source_settings["places"] = SAME | {"id_prefix": "buildings"}
    with pytest.raises(ConfigurationError, match='write id_prefix = "rooms"'):
        rename(moved, "buildings", "places")
    moved.source_settings["places"] = SAME
    rename(moved, "buildings", "places")
    puts = moved.puts()
    assert moved.night().exit_code == 0
    assert moved.puts() == puts


@pytest.mark.parametrize(
    ("settings", "old", "new", "words"),
    [
        (
            {},
            "rooms",
            "buildings",
            (
                'every guest would be cancelled and invited again: write id_prefix = "rooms" under '
                "[sources.buildings]"
            ),
        ),
        ({"id_prefix": "rooms"}, "rooms", "places", "the configuration names no source 'places'"),
        (
            {"id_prefix": "rooms"},
            "nothing",
            "buildings",
            "holds nothing of a source 'nothing': it knows rooms",
        ),
        ({"id_prefix": "rooms"}, "rooms", "rooms", "the configuration names no source 'rooms'"),
    ],
)
def test_s15_rename_is_refused_when_ids_would_change(
    moved: Firm, settings: dict, old: str, new: str, words: str
) -> None:
    moved.source_settings["buildings"] = settings
    with pytest.raises(ConfigurationError) as refused:
        rename(moved, old, new)
    assert words in str(refused.value)


def test_s15_two_sources_never_build_the_same_ids(moved: Firm) -> None:
    moved.meetings["rooms"] = {}
    with pytest.raises(
        ValidationError, match=r"buildings and rooms would both build ids that begin with rooms-"
    ):
        _ = moved.config


def test_s15_links_to_a_renamed_source_find_its_records(firm: Firm) -> None:
    """`hr` points at `rooms`, which is called `buildings` by now and keeps its ids."""
    (firm.folder / "linking.sql").write_text(
        "SELECT source_event_id, name, starts_at, ends_at, site_key, host_email, status, "
        "'buildings' AS linked_source, substr(source_event_id, 2) AS linked_event_id FROM events"
    )
    firm.meetings = {"buildings": {}, "hr": {}}
    firm.source_settings = {
        "buildings": {"id_prefix": "rooms"},
        "hr": {"events_sql": "linking.sql"},
    }
    firm.book("a", "x", source="buildings")
    firm.book("ia", "candidate", source="hr")
    assert firm.night().exit_code == 0
    # one meeting, under the smallest id
    assert firm.held() == {"hr-ia": {"hr-ia-candidate", "rooms-a-x"}}
