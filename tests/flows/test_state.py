"""The state store on SQLite and PostgreSQL: what is written when, and what survives."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pandas as pd
import pytest
import sqlalchemy as sa
import time_machine
from states import IDENTITY, NOW, changes, hold, ledger, plan, settle, snapshot

from flows.state import tables as t
from flows.state.store import State
from schemas.errors import LeaseHeld, StateError
from schemas.ledger import Outcome
from transforms.naming.guest_numbers import digest_guest_keys


def test_plan_comes_back_with_its_types(state):
    given = changes(
        {"source_id": "lb-1"},
        {
            "source_id": "lb-2",
            "ends_at": None,
            "location_id": None,
            "ignore_missing": None,
            "guests": None,
        },
    )
    plan(state, "p1", *given.drop(columns="seq").to_dict("records"))
    head, back = state.load_plan("latest")
    assert head["plan_id"] == "p1"
    assert head["created_at"] == NOW
    assert head["full"] is False
    assert back["source_id"].tolist() == ["lb-1", "lb-2"]
    assert back["seq"].tolist() == [1, 2]
    assert back["state"].tolist() == ["planned", "planned"]
    assert str(back["starts_at"].dtype) == str(back["ends_at"].dtype) == "datetime64[us, UTC]"
    assert back["starts_at"].tolist() == [pd.Timestamp(NOW)] * 2
    assert back["ends_at"].isna().tolist() == [False, True]
    assert (
        str(back["location_id"].dtype),
        str(back["ignore_missing"].dtype),
        str(back["name"].dtype),
    ) == ("Int64", "boolean", "str")
    assert (
        back["location_id"].isna().tolist()
        == back["ignore_missing"].isna().tolist()
        == back["guests"].isna().tolist()
        == [False, True]
    )
    assert back["name"].iloc[0] == "Besuch – 訪問 % ? 'x'"
    assert back["base_fingerprint"].isna().all()


def test_empty_plan_keeps_its_types(state):
    state.save_changes("p1", changes({"source_id": "x"}).iloc[:0])
    state.save_plan({"plan_id": "p1", "created_at": NOW, "status": "empty"})
    _, back = state.load_plan("p1")
    assert back.empty
    assert str(back["starts_at"].dtype) == "datetime64[us, UTC]"
    assert str(back["location_id"].dtype) == "Int64"


def test_plan_larger_than_a_chunk_keeps_its_order(state):
    plan(state, "p1", *({"source_id": f"lb-{n:05}"} for n in range(10_501)))
    back = state.load_plan("p1")[1]
    assert back["seq"].tolist() == list(range(1, 10_502))
    assert back["source_id"].iloc[-1] == "lb-10500"


def test_new_plan_supersedes_waiting_ones_and_no_others(state):
    plan(state, "p1", {"source_id": "lb-1"})
    state.set_plan_status("p1", "applied")
    plan(state, "p2", {"source_id": "lb-1"})
    state.approve_plan("p2", by="anna", reason="read", now=NOW)
    plan(state, "p3", {"source_id": "lb-1"})
    assert [state.load_plan(p)[0]["status"] for p in ("p1", "p2", "p3")] == [
        "applied",
        "superseded",
        "waiting",
    ]
    assert state.load_plan("p2")[0]["approved_by"] == "anna"
    with pytest.raises(StateError, match="several plans"):
        state.load_plan("p")
    with pytest.raises(StateError, match="there is no plan"):
        state.load_plan("p%")


def test_intent_is_committed_before_write_down_returns(state, url):
    plan(state, "p1", {"source_id": "lb-1"}, {"source_id": "lb-2"})
    state.write_down("p1", [2], [], run_id="r1", now=NOW)
    other = sa.create_engine(url)
    with other.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT source_id, state, run_id, sent_at FROM plan_changes ORDER BY seq"
        ).all()
    other.dispose()
    assert [tuple(row) for row in rows] == [
        ("lb-1", "planned", None, None),
        ("lb-2", "sending", "r1", int(NOW.timestamp()) * 1_000_000 + 123456),
    ]
    assert state.open_intents()["source_id"].tolist() == ["lb-2"]


def test_confirmed_changes_are_what_essentry_has(state):
    hold(state, "p1", {"source_id": "lb-1"}, {"source_id": "lb-2"}, {"source_id": "lb-3"})
    held = snapshot(state)
    assert {row["state"] for row in held.values()} == {"active"}
    assert held["lb-1"]["confirmed_run"] == "p1"
    assert held["lb-1"]["starts_at"] == pd.Timestamp(NOW)
    assert held["lb-1"]["absent_runs"] == 0
    later = NOW + timedelta(days=1)
    hold(
        state, "p2",
        {"source_id": "lb-1", "action": "update", "fingerprint": "f2", "after": '{"name":"B"}',
            "guests": 5, "starts_at": later},
        {"source_id": "lb-2", "action": "delete", "after": None, "fingerprint": None},
        {"source_id": "lb-3", "action": "expire", "after": None, "fingerprint": None},
        now=later,
    )  # fmt: skip
    held = snapshot(state)
    assert {name: row["state"] for name, row in held.items()} == {
        "lb-1": "active",
        "lb-2": "deleted",
        "lb-3": "expired",
    }
    assert (held["lb-1"]["fingerprint"], held["lb-1"]["guests"], held["lb-1"]["confirmed_run"]) == (
        "f2",
        5,
        "p2",
    )
    assert held["lb-1"]["starts_at"] == pd.Timestamp(later)
    assert held["lb-2"]["fingerprint"] == "f1"  # what it was, should it come back
    assert state.read_payloads(["lb-1", "lb-2", "nobody"]) == {
        "lb-1": '{"name":"B"}',
        "lb-2": '{"name":"Besuch"}',
    }


@pytest.mark.parametrize("outcome", ["rejected", "unknown", "planned", "held", "stale"])
def test_what_is_not_confirmed_proves_nothing(state, outcome):
    plan(state, "p1", {"source_id": "lb-1"})
    settle(state, "p1", Outcome(1, "lb-1", outcome, "E", "why"))
    assert snapshot(state) == {}
    assert (ledger(state, "p1")["lb-1"]["state"], ledger(state, "p1")["lb-1"]["code"]) == (
        outcome,
        "E",
    )
    assert len(state.open_intents()) == (outcome == "unknown")


@pytest.mark.parametrize("table", ["snapshot_events", "rejections"])
def test_outcomes_are_recorded_whole_or_not_at_all(state, url, table):
    plan(state, "p1", {"source_id": "lb-1"}, {"source_id": "lb-2"})
    state.write_down("p1", [1, 2], [], run_id="p1", now=NOW)
    with state.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO elsewhere")
    with pytest.raises(StateError, match=table):
        state.write_down(
            "p1",
            [],
            [Outcome(1, "lb-1", "confirmed"), Outcome(2, "lb-2", "rejected", "E")],
            run_id="p1",
            now=NOW,
        )
    with state.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE elsewhere RENAME TO {table}")
    assert [row["state"] for row in ledger(state, "p1").values()] == ["sending", "sending"]
    assert snapshot(state) == {}
    assert state.rejections().empty


def test_intents_and_outcomes_of_one_write_are_committed_together_or_not_at_all(state, url):
    plan(state, "p1", *({"source_id": f"lb-{n}"} for n in range(1, 7)))
    state.write_down("p1", [1, 2, 3], [], run_id="p1", now=NOW)
    outcomes = [Outcome(1, "lb-1", "confirmed"), Outcome(3, "lb-3", "unknown", "E")]
    with state.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE snapshot_events RENAME TO elsewhere")
    with pytest.raises(StateError, match="snapshot_events"):
        state.write_down("p1", [4, 5], outcomes, run_id="p1", now=NOW)
    with state.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO snapshot_events")
    assert [row["state"] for row in ledger(state, "p1").values()] == ["sending"] * 3 + [
        "planned"
    ] * 3
    state.write_down("p1", [4, 5], outcomes, run_id="p1", now=NOW)
    assert [row["state"] for row in ledger(state, "p1").values()] == [
        "confirmed",
        "sending",
        "unknown",
        "sending",
        "sending",
        "planned",
    ]
    assert snapshot(state).keys() == {"lb-1"}


@pytest.mark.parametrize("sending", [[], [2]])
def test_write_of_a_run_that_lost_its_lease_leaves_nothing(state, sending):
    plan(state, "p1", {"source_id": "lb-1"}, {"source_id": "lb-2"})
    assert state.acquire_lease("here:1:p1", "p1", now=NOW, seconds=60)
    state.write_down("p1", [1], [], run_id="p1", now=NOW)
    with state.engine.begin() as connection:
        connection.execute(t.lease.update().values(holder="there:2:p2"))
    with pytest.raises(LeaseHeld):
        state.write_down("p1", sending, [Outcome(1, "lb-1", "confirmed")], run_id="p1", now=NOW)
    assert [row["state"] for row in ledger(state, "p1").values()] == ["sending", "planned"]
    assert snapshot(state) == {}


def test_rejection_keeps_why_and_waits_longer_each_time_until_confirmed(state):
    waits = []
    for night in range(6):
        now = NOW + timedelta(days=10 * night)
        plan(state, f"p{night}", {"source_id": "lb-1", "fingerprint": f"f{night}"}, created_at=now)
        settle(
            state, f"p{night}", Outcome(1, "lb-1", "rejected", "ERROR_X", f"no {night}"), now=now
        )
        row = state.rejections().iloc[0]
        assert (row["code"], row["message"], row["tries"], row["first_run"], row["last_run"]) == (
            "ERROR_X", f"no {night}", night + 1, "p0", f"p{night}",
        )  # fmt: skip
        assert (row["fingerprint"], row["source"]) == (f"f{night}", "lb")
        waits.append((row["next_at"] - row["last_at"]) / pd.Timedelta(days=1))
    assert waits == sorted(waits)
    assert waits[0] == 0
    assert 1 < waits[1] < 2 < waits[2] < 4 < waits[3] == waits[5] < 7
    hold(state, "p9", {"source_id": "lb-1"}, now=NOW + timedelta(days=99))
    assert state.rejections().empty


def test_only_a_confirmation_ends_older_open_intents(state):
    for plan_id, outcome in (("p1", "unknown"), ("p2", "rejected"), ("p3", "unknown")):
        plan(state, plan_id, {"source_id": "lb-1"}, {"source_id": "lb-2"})
        settle(state, plan_id, Outcome(1, "lb-1", outcome), now=NOW)
    assert state.open_intents()["plan_id"].tolist() == ["p1", "p3"]
    plan(state, "p4", {"source_id": "lb-2"})
    settle(state, "p4", Outcome(1, "lb-2", "confirmed"))
    assert state.open_intents()["plan_id"].tolist() == ["p1", "p3"]
    hold(state, "p5", {"source_id": "lb-1"})
    assert state.open_intents().empty
    assert [ledger(state, p)["lb-1"]["state"] for p in ("p1", "p2", "p3", "p5")] == [
        "superseded",
        "rejected",
        "superseded",
        "confirmed",
    ]


def test_requests_of_a_killed_run_become_unknown(state):
    state.start_run("p1", kind="sync", started_at=NOW, as_of=NOW)
    plan(state, "p1", {"source_id": "lb-1"}, {"source_id": "lb-2"})
    state.write_down("p1", [1], [], run_id="p1", now=NOW)
    state.start_run("p2", kind="sync", started_at=NOW + timedelta(hours=1), as_of=NOW)
    assert state.settle_lost(now=NOW, run_id="p2") == 1
    assert state.settle_lost(now=NOW, run_id="p2") == 0
    assert {name: row["state"] for name, row in ledger(state, "p1").items()} == {
        "lb-1": "unknown",
        "lb-2": "planned",
    }
    assert state.open_intents()["source_id"].tolist() == ["lb-1"]
    assert state.runs()["status"].tolist() == ["failed", "running"]


def test_guest_numbers_rest_on_the_digest_and_stay(state, url):
    """Whatever was asked for before: so a state restored from an old backup gives everybody the
    number that essentry knows.
    """
    assert state.guest_numbers("hr", ["b" * 32, "a" * 32]) == {
        "b" * 32: 0xBBBBBBBBBBBBB,
        "a" * 32: 0xAAAAAAAAAAAAA,
    }
    assert state.guest_numbers("lb", ["a" * 32]) == {"a" * 32: 0xAAAAAAAAAAAAA}
    near = "a" * 13 + "0" * 19  # another guest whose digest asks for the same number
    with State.open(url) as again:
        assert again.guest_numbers("hr", [near, "a" * 32]) == {
            near: 0xAAAAAAAAAAAAB,
            "a" * 32: 0xAAAAAAAAAAAAA,
        }
        assert again.guest_numbers("hr", []) == {}


def test_digests_of_guests_depend_on_the_salt_of_the_store(state):
    state.check_identity(*IDENTITY)
    assert state.salt() == state.salt()
    assert len(state.salt()) == 32
    one, two = digest_guest_keys(["a@x.example", "b@x.example"], state.salt())
    assert one != two
    assert "example" not in one
    assert digest_guest_keys(["a@x.example"], "0" * 32) != [one]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (("https://other.example/api/v2", "a" * 64, "per-event"), "another essentry"),
        (("http://127.0.0.1:8765/api/v2", "a" * 64, "per-event"), "another essentry"),
        ((IDENTITY[0], "b" * 64, "per-event"), "another agent token"),
        ((IDENTITY[0], "a" * 64, "shared"), "another invitation_ids policy"),
    ],
)
def test_s13_state_of_another_identity_is_refused(state, other, words):
    state.check_identity(*IDENTITY)
    state.check_identity(*IDENTITY)
    with pytest.raises(StateError, match=words) as caught:
        state.check_identity(*other)
    assert "b" * 64 not in str(caught.value)
    state.check_identity(*IDENTITY)


def test_s13_demo_may_change_its_port_but_never_meets_production(state):
    state.check_identity("http://127.0.0.1:8765/api/v2", "a" * 64, "per-event")
    state.check_identity("http://localhost:9999/api/v2", "a" * 64, "per-event")
    with pytest.raises(StateError, match="another essentry"):
        state.check_identity(*IDENTITY)


def test_prune_forgets_old_traces_never_what_is_active_or_unanswered(state):
    old, ends = NOW - timedelta(days=500), NOW - timedelta(days=499)
    rows = [
        {"source_id": f"lb-{name}", "starts_at": old, "ends_at": ends}
        for name in ("active", "gone", "over", "asked")
    ]
    hold(state, "p1", *rows, now=old)
    hold(state, "p2", *({**row, "action": "delete"} for row in rows[1:]), now=old)
    plan(state, "p3", rows[3], {"source_id": "lb-no"}, created_at=old)
    settle(state, "p3", Outcome(1, "lb-asked", "unknown"), Outcome(2, "lb-no", "rejected"), now=old)
    hold(state, "p4", {"source_id": "lb-new"}, now=NOW)
    hold(state, "p5", {"source_id": "lb-new", "action": "delete"}, now=NOW)
    state.start_run("p1", kind="sync", started_at=old, as_of=old)
    state.save_quarantine(
        "p1", pd.DataFrame({"source": ["lb"], "part": ["events"], "check": ["x"]})
    )
    state.start_run("p5", kind="sync", started_at=NOW, as_of=NOW)
    state.save_quarantine(
        "p5", pd.DataFrame({"source": ["lb", "lb"], "part": ["events", None], "check": ["x", "y"]})
    )
    state.save_changes("headless", changes({"source_id": "lb-never"}))
    assert len(state.quarantine("p1")) == 1
    state.finish_run("p1", status="done", finished_at=old, report_dir="runs/p1")
    healthy = {"lb": SimpleNamespace(events=True, guests=True)}
    with time_machine.travel(old, tick=False):
        state.save_source_reads("p1", {"lb": {"events": 9}}, healthy)
        state.save_source_reads(
            "p2", {"lb": {"events": 8}}, {"lb": SimpleNamespace(events=False, guests=True)}
        )
    assert state.prune(NOW, keep_inactive_days=90, keep_runs_days=400) == ["runs/p1"]
    assert state.runs()["run_id"].tolist() == ["p5"]
    assert state.last_good_reads()["lb"]["events"] == 9
    with state._read() as connection:
        assert connection.exec_driver_sql("SELECT run_id FROM source_reads").scalars().all() == [
            "p1"
        ]
        assert connection.exec_driver_sql(
            "SELECT plan_id FROM plans ORDER BY plan_id"
        ).scalars().all() == ["p3", "p4", "p5"]
        assert set(connection.exec_driver_sql("SELECT plan_id FROM plan_changes").scalars()) == {
            "p3",
            "p4",
            "p5",
        }
    assert set(snapshot(state)) == {"lb-active", "lb-asked", "lb-new"}
    assert state.open_intents()["source_id"].tolist() == ["lb-asked"]
    assert list(ledger(state, "p3")) == ["lb-asked"]
    assert len(ledger(state, "p5")) == 1
    assert state.quarantine("p1").empty
    assert state.quarantine("p5")["check"].tolist() == ["x", "y"]


def test_absence_counts_complete_runs_in_a_row(state):
    hold(state, "p1", *({"source_id": f"lb-{n}"} for n in range(1_203)))

    def counts() -> dict[str, int]:
        return {
            name: int(row["absent_runs"])
            for name, row in snapshot(state).items()
            if row["absent_runs"]
        }

    gone = [f"lb-{n}" for n in range(1_201)]
    state.count_absent(gone)
    state.count_absent([*gone[1:], "lb-1202", "lb-1"])
    assert counts() == dict.fromkeys(gone[1:], 2) | {"lb-1202": 1}
    state.count_absent([f"other-{n}" for n in range(40_000)] + ["lb-7"])
    assert counts() == {"lb-7": 3}
    state.count_absent([])
    assert counts() == {}


def test_retired_source_is_forgotten_and_no_plan_that_names_it_is_left(state):
    hold(state, "p1", {"source_id": "lb-1"}, {"source_id": "hr-1", "source": "hr"})
    plan(
        state,
        "p2",
        {"source_id": "lb-2"},
        {"source_id": "hr-2", "source": "hr"},
        {"source_id": "hr-3", "source": "hr"},
    )
    settle(
        state,
        "p2",
        Outcome(1, "lb-2", "unknown"),
        Outcome(2, "hr-2", "unknown"),
        Outcome(3, "hr-3", "rejected"),
    )
    numbers = state.guest_numbers("hr", ["a"])
    assert state.retire_source("hr") == 1
    assert set(snapshot(state)) == {"lb-1"}
    assert state.open_intents()["source_id"].tolist() == ["lb-2"]
    assert state.rejections().empty
    assert state.load_plan("p2")[0]["status"] == "superseded"
    assert state.guest_numbers("hr", ["a"]) == numbers
    assert state.retire_source("hr") == 0


def test_measure_of_the_next_night_is_the_newest_healthy_read(state):
    from transforms.diff.changes import SourceHealth

    counts = {"events": 5, "guests": 6, "outside_guests": 0, "quarantined": 1}
    state.save_source_reads("r1", {"lb": counts}, {"lb": SourceHealth(events=True, guests=True)})
    state.save_source_reads(
        "r2", {"lb": counts | {"events": 0}}, {"lb": SourceHealth(events=False, guests=True)}
    )
    assert state.last_good_reads()["lb"]["events"] == 5


@pytest.mark.parametrize("many", [0, 10_000])
def test_bases_of_few_and_of_many_events(state, monkeypatch, many):
    """A plan is held against the rows of its events alone; a plan of very many against the whole
    snapshot.
    """
    monkeypatch.setattr("flows.state.store.MANY", many)
    hold(
        state,
        "p1",
        *({"source_id": f"lb-{number}", "fingerprint": f"f{number}"} for number in range(1_203)),
    )
    found = state.read_bases(pd.Series(["nobody-1"], dtype="str"))
    assert list(found.columns) == ["source_id", "fingerprint", "confirmed_run", "state"]
    assert "nobody-1" not in set(found["source_id"])
    known = state.read_fingerprints()
    assert len(known) == 1_203
    asked = state.read_bases(known["source_id"])
    pd.testing.assert_frame_equal(asked, known[list(asked.columns)])
