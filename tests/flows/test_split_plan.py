"""A plan in the state store becomes two: every row is in one of them, numbered from 1, with its
conditions and the looks of the sources.
"""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest
from states import IDENTITY, NOW, plan

from flows.night.pages import digest_stored
from flows.state.store import State
from schemas.errors import StateError


def test_a_plan_is_parted_in_the_order_it_had(state: State) -> None:
    state.check_identity(*IDENTITY)
    plan(
        state,
        "20261124-001805-aaaa",
        *({"source_id": f"lb-{n}", "action": "delete" if n % 2 else "create"} for n in range(7)),
    )
    state.save_conditions(
        "20261124-001805-aaaa", [("lb-1", "after", "lb-3"), ("lb-2", "after", "lb-4")]
    )
    state.save_looks("20261124-001805-aaaa", {"lb": (7, ["lb-1"])})
    head, whole = state.load_plan("20261124-001805-aaaa")
    name = head["plan_id"]
    odd = [seq for seq in whole["seq"].tolist() if seq % 2 == 0]  # lb-1, lb-3, lb-5
    rest = {
        "plan_id": f"{name}-rest",
        "created_at": NOW - timedelta(microseconds=1),
        "changes": 3,
        "digest": "r",
    }
    part = {
        "status": "approved",
        "approved_at": NOW,
        "approval_of": name,
        "changes": 4,
        "digest": "p",
    }
    assert not state.split_plan({**head, "digest": "another"}, odd, part=part, rest=rest)
    assert state.split_plan(head, odd, part=part, rest=rest)
    assert not state.split_plan(head, odd, part=part, rest=rest)

    (first, some), (second, others) = state.load_plan(name), state.load_plan(f"{name}-rest")
    assert (first["status"], second["status"], second["run_id"]) == (
        "approved",
        "waiting",
        head["run_id"],
    )
    assert some["source_id"].tolist() == ["lb-0", "lb-2", "lb-4", "lb-6"]
    assert others["source_id"].tolist() == ["lb-1", "lb-3", "lb-5"]
    assert (some["seq"].tolist(), others["seq"].tolist()) == ([1, 2, 3, 4], [1, 2, 3])
    both = (
        pd.concat([some, others])
        .sort_values("source_id")
        .drop(columns=["seq", "plan_id"], errors="ignore")
        .reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(both, whole.drop(columns=["seq", "plan_id"], errors="ignore"))
    assert state.read_conditions(name) == [("lb-2", "after", "lb-4")]
    assert state.read_conditions(f"{name}-rest") == [("lb-1", "after", "lb-3")]
    assert state.read_looks(name) == state.read_looks(f"{name}-rest") == {"lb": (7, ["lb-1"])}
    assert digest_stored(state, name, 4) != digest_stored(state, f"{name}-rest", 3)
    assert state.load_plan("latest")[0]["plan_id"] == name

    left = state.list_left_out()
    assert sorted(left.itertuples(index=False, name=None)) == [
        ("lb-1", "delete"),
        ("lb-3", "delete"),
        ("lb-5", "delete"),
    ]
    assert state.approve_plan(f"{name}-rest", by="a", reason="", now=NOW)
    assert state.list_left_out().empty


def test_a_beginning_of_an_id_is_still_asked_to_be_the_only_one(state: State) -> None:
    state.check_identity(*IDENTITY)
    plan(state, "20261124-001805-aaaa", {"source_id": "lb-1"})
    plan(state, "20261124-001805-aabb", {"source_id": "lb-1"}, created_at=NOW + timedelta(hours=1))
    with pytest.raises(StateError, match="write more of it"):
        state.load_plan("20261124")
    assert state.load_plan("20261124-001805-aab")[0]["plan_id"] == "20261124-001805-aabb"
