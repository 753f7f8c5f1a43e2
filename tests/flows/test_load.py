"""The load against the sandbox: how changes become batches, and batches requests."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loads import NOW, MemoryLedger, make_config, send
from wire import make_item, make_items

from flows.essentry.items import Item
from flows.night.batches import build_batches, read_page
from flows.night.load import LoadResult
from flows.sandbox.server import SandboxServer
from flows.state.store import State

# --- batches ---


def cut(items: Sequence[Item], **options: Any) -> list[list[int]]:
    limits = {"batch_events": 3, "batch_bytes": 10_000, "envelope_bytes": 70} | options
    return [[item.seq for item in batch] for batch in build_batches([items], **limits)]


def test_batches_are_cut_by_number() -> None:
    assert cut(make_items(7)) == [[0, 1, 2], [3, 4, 5], [6]]


def test_batches_are_cut_by_bytes_and_large_events_go_alone() -> None:
    items = [
        make_item(0),
        make_item(1, description="x" * 5000),
        make_item(2, description="x" * 5000),
        make_item(3, description="x" * 20_000),
        make_item(4),
    ]
    assert cut(items) == [[0, 1], [2], [3], [4]]


def test_events_without_an_answer_go_in_batches_a_tenth_as_large_with_each_try() -> None:
    items = [
        replace(item, tries=tries)
        for item, tries in zip(make_items(9), [0, 1, 1, 1, 0, 2, 2, 9, 0], strict=True)
    ]
    assert cut(items, batch_events=20) == [[1, 2], [5], [6], [0, 4, 8], [3], [7]]


def test_batches_never_mix_ignore_missing_but_mix_actions() -> None:
    items = [
        make_item(n, ignore_missing=n % 2 == 1, action="delete" if n == 4 else "update")
        for n in range(8)
    ]
    assert cut(items) == [[0, 2, 4], [1, 3, 5], [6], [7]]


def test_expire_goes_apart_from_what_is_sent() -> None:
    assert cut([make_item(0), make_item(1, action="expire"), make_item(2)]) == [[0, 2], [1]]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3000), st.booleans(), st.sampled_from(["create", "delete", "expire"])
        ),
        max_size=60,
    ),
    st.integers(1, 7),
    st.integers(1000, 5000),
)
def test_batches_lose_nothing_and_keep_limits_and_order(
    rows: list[tuple[int, bool, str]], batch_events: int, batch_bytes: int
) -> None:
    items = [
        Item(seq, str(seq), b"x" * size, action, flag)
        for seq, (size, flag, action) in enumerate(rows)
    ]
    limits = {"batch_events": batch_events, "batch_bytes": batch_bytes, "envelope_bytes": 70}
    batches = list(build_batches([items[:20], items[20:]], **limits))
    assert sorted(item.seq for batch in batches for item in batch) == list(range(len(items)))
    for batch in batches:
        assert len({(item.ignore_missing, item.action == "expire") for item in batch}) == 1
        assert len(batch) <= batch_events
        assert len(batch) == 1 or 70 + sum(len(item.body) + 1 for item in batch) <= batch_bytes
        assert [item.seq for item in batch] == sorted(item.seq for item in batch)


def test_pages_give_the_planned_rows() -> None:
    page = pd.DataFrame(
        {
            "seq": [1, 2, 3],
            "source_id": ["a", "b", "c"],
            "action": ["update", "create", "expire"],
            "body": ['{"sourceId":"ä"}', "{}", None],
            "ignore_missing": [True, False, False],
            "state": ["planned", "confirmed", "planned"],
        }
    ).convert_dtypes(dtype_backend="pyarrow")
    assert list(read_page(page)) == [
        Item(1, "a", '{"sourceId":"ä"}'.encode(), "update", True),
        Item(3, "c", b"", "expire", False),
    ]
    with pytest.raises(ValueError, match="'held'"):
        list(read_page(page.assign(action="held")))


# --- sending ---


def test_everything_is_marked_sent_and_recorded(sandbox: SandboxServer) -> None:
    ledger, seen = MemoryLedger(sandbox), []
    config = make_config(sandbox.base_url)
    result = send(
        config,
        ledger,
        [make_items(95)],
        total=95,
        progress=lambda done, total, last: seen.append((done, total, len(last))),
    )
    assert result == LoadResult(
        {"confirmed": 95}, requests=10, retries=0, error=None, stopped=False
    )
    assert result.complete
    assert ledger.count() == {"confirmed": 95}
    # a write for each intent and each outcome at most; those that wait together share one
    assert ledger.writes <= 20
    assert sorted(seq for marks in ledger.marks for seq in marks) == list(range(95))
    assert len(ledger.threads) == 1
    assert len(seen) == 10
    assert sandbox.state()["events"].keys() == {f"rooms-{n}" for n in range(95)}
    assert seen[-1][:2] == (95, 95)
    assert sum(last for _, _, last in seen) == 95


def test_nothing_to_send_is_no_request(sandbox: SandboxServer) -> None:
    result = send(make_config(sandbox.base_url), MemoryLedger(), [])
    assert result == LoadResult({}, requests=0, retries=0, error=None, stopped=False)
    assert sandbox.requests()["log"] == []


def test_expired_events_are_confirmed_without_a_request(sandbox: SandboxServer) -> None:
    ledger = MemoryLedger()
    result = send(make_config(sandbox.base_url), ledger, [make_items(3, action="expire")])
    assert (result.counts, result.requests, ledger.marks) == ({"confirmed": 3}, 0, [])


def test_pages_are_not_read_far_ahead(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "hang_after", "seconds": 0.1, "times": 1000}])
    ledger = MemoryLedger()
    ahead = []

    def pages() -> Iterator[list[Item]]:
        for first in range(0, 300, 10):
            ahead.append(first - sum(state != "sending" for state in ledger.states.values()))
            yield [make_item(first + n) for n in range(10)]

    result = send(make_config(sandbox.base_url), ledger, pages())
    assert result.counts == {"confirmed": 300}
    assert sandbox.requests()["max_concurrent"] == 3
    # One page more: a batch is closed by the first event that no longer fits.
    assert 30 <= max(ahead) <= (3 + 2 + 1) * 10


def test_outcomes_agree_with_essentry_whatever_goes_wrong(sandbox: SandboxServer) -> None:
    kinds: list[dict[str, Any]] = [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 429, "retry_after": 0},
        {"kind": "drop_before"},
        {"kind": "drop_after"},
        {"kind": "hang_before", "seconds": 1.0},
        {"kind": "hang_after", "seconds": 1.0},
        {"kind": "partial_statuses"},
        {"kind": "shuffle"},
        {"kind": "garbage", "apply": True},
    ]
    faults = [dict(fault) for fault in kinds * 4]
    random.Random(7).shuffle(faults)
    refused = {f"rooms-{n}" for n in range(5, 400, 40)}
    sandbox.add_faults(
        [*faults, *({"kind": "reject_request", "source_id": key} for key in refused)]
    )
    sandbox.add_faults([{"kind": "reject_event", "source_id": "rooms-77", "times": 100}])
    ledger = MemoryLedger()
    result = send(
        make_config(sandbox.base_url, retry_budget_seconds=5, timeout_seconds=0.5),
        ledger,
        [make_items(400)],
    )
    by_state = {
        state: {f"rooms-{s}" for s, x in ledger.states.items() if x == state}
        for state in result.counts
    }
    there = sandbox.state()["events"].keys()
    assert result.error is None
    assert sum(result.counts.values()) == 400
    bad = refused | {"rooms-77"}
    after_loss = by_state["unknown"] & bad  # S8: refused after a try whose answer was lost
    assert by_state["rejected"] | after_loss == bad
    assert by_state["confirmed"] <= there
    assert not by_state["rejected"] & there
    assert by_state["unknown"] - after_loss <= there  # the partial answers: they were applied
    assert result.retries >= 20
    assert sandbox.state()["mails"] == {"invited": len(there), "updated": 0, "cancelled": 0}


def test_state_store_as_the_ledger(sandbox: SandboxServer, tmp_path: Path) -> None:
    sandbox.add_faults([{"kind": "partial_statuses", "source_ids": ["rooms-3"]}])
    sandbox.add_faults([{"kind": "reject_event", "source_id": "rooms-12", "code": "ERROR_X"}])
    items = make_items(25)
    plan = pd.DataFrame([{**asdict(item), "body": item.body.decode()} for item in items]).assign(
        source="rooms", fingerprint="f", fingerprint_version=1
    )
    plan["after"] = plan["body"]
    with State.open(f"sqlite:///{tmp_path}/state.sqlite") as state:
        state.save_changes("plan-1", plan)
        state.save_plan({"plan_id": "plan-1", "status": "applying", "created_at": NOW})
        result = send(make_config(sandbox.base_url), state, [state.read_page("plan-1", 0, 1_000)])
        _, rows = state.load_plan("plan-1")
        assert result.counts == {"confirmed": 23, "unknown": 1, "rejected": 1}
        assert rows.set_index("seq")["state"].drop([3, 12]).eq("confirmed").all()
        assert rows.set_index("seq").loc[[3, 12], ["state", "code"]].to_numpy().tolist() == [
            ["unknown", "NO_STATUS"],
            ["rejected", "ERROR_X"],
        ]
        assert state.open_intents()["source_id"].tolist() == ["rooms-3"]
        assert set(state.read_fingerprints()["source_id"]) == sandbox.state()["events"].keys() - {
            "rooms-3"
        }
        assert state.rejections()["source_id"].tolist() == ["rooms-12"]
        assert (
            send(
                make_config(sandbox.base_url),
                state,
                [rows.merge(state.read_page("plan-1", 0, 1_000)[["seq", "body"]], on="seq")],
            ).requests
            == 0
        )
