"""The report as data and words. Expected files: `uv run python -m tests.transforms.test_report`
writes them anew; read the difference.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pandas as pd
import pytest

from schemas.report import parse_report, read_schema
from tests.transforms import literal_report as literal
from transforms.report.changes import choose_listed, count_listed, list_changes, tabulate_changes
from transforms.report.markdown import render_markdown
from transforms.report.report import build_failure
from transforms.report.words import Wording, describe_change, explain_code, show_instant
from transforms.words import plural

EXPECTED = Path(__file__).parent / "expected"
NIGHTS = {
    "normal": lambda: literal.report_of(),
    "stopped": lambda: literal.report_of(
        literal.CHANGES.assign(state="planned", code=None, message=None).astype(
            {"code": "str", "message": "str"}
        ),
        findings=[literal.GUARD],
        load=None,
        plan=literal.report_of()["plan"] | {"status": "waiting"},
    ),
    "empty": lambda: literal.report_of(
        literal.CHANGES.head(0),
        decisions=literal.DECISIONS.tail(2),
        rejects=literal.REJECTS.head(0),
        mails=literal.MAILS.head(0),
        notes={},
    ),
}


def render(night: str) -> dict[str, bytes]:
    report = NIGHTS[night]()
    changes = literal.records_of() if night == "normal" else []
    written = orjson.dumps(report | {"changes": changes}, option=orjson.OPT_INDENT_2)
    return {f"{night}.json": written + b"\n", f"{night}.md": render_markdown(report).encode()}


@pytest.mark.parametrize("night", NIGHTS)
def test_report_is_as_expected(night):
    for name, content in render(night).items():
        path = EXPECTED / name
        assert path.exists(), (
            f"{path} is missing: write it with `uv run python -m tests.transforms.test_report`"
        )
        assert content.decode() == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("night", NIGHTS)
def test_report_has_the_form_of_its_schema(night):
    parse_report(render(night)[f"{night}.json"])
    failed = build_failure(
        run=NIGHTS[night]()["run"],
        error="no source",
        seconds={},
        problems=pd.DataFrame(),
        wording=Wording(),
    )
    parse_report(orjson.dumps(failed))


def test_schema_describes_itself():
    schema = read_schema()
    assert {"Report", "FailedReport", "Change", "Guard"} <= set(schema["$defs"])
    assert schema["$defs"]["Report"]["properties"]["people_mailed"]["description"]


@pytest.mark.parametrize(
    ("night", "status"), [("normal", "incomplete"), ("stopped", "stopped"), ("empty", "idle")]
)
def test_status_and_commands(night, status):
    report = NIGHTS[night]()
    assert report["status"] == status
    waits = night == "stopped"
    assert report["plan"]["waiting"] == (4 if waits else 0)
    assert [command.split()[1] for command in report["plan"]["commands"]] == (
        ["approve", "apply"] if waits else []
    )


def test_a_released_plan_that_failed_half_way_needs_no_second_approval():
    changes = literal.CHANGES.assign(state=["confirmed", "planned", "planned", "planned"])
    approval = {"by": "anna", "reason": "read", "at": "2026-11-24T02:00:00+00:00", "plan_id": "x"}
    plan = literal.report_of()["plan"] | {"status": "partly", "approval": approval}
    report = literal.report_of(
        changes, plan=plan, findings=[literal.GUARD], error="essentry gave no answer"
    )
    assert (report["plan"]["waiting"], len(report["plan"]["commands"])) == (3, 1)


def test_people_mailed_counts_what_was_confirmed():
    report = literal.report_of()
    assert report["people"] == {"invited": 3, "updated": 1, "cancelled": 2, "total": 4, "mails": 6}
    assert report["people_mailed"] == {
        "invited": 3,
        "updated": 0,
        "cancelled": 2,
        "total": 3,
        "mails": 5,
    }


def test_changes_in_words():
    words = {record["source_id"]: record["what"] for record in literal.records_of()}
    assert words == {
        "rooms-a": "new, 1 guest",
        "rooms-b": (
            "moved 14:00 → 15:30; entrance Aalto → Bauhaus; +2 guests (ben@out.example, "
            "Cleo Moor), −1 guest (Ada Lovelace)"
        ),
        "rooms-c": "gone from the source; −1 guest (ben@out.example)",
        "rooms-d": "location Berlin Mitte → Zürich",
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            [("startsAt", "2026-11-25T13:00:00Z", "2026-11-26T08:00:00Z")],
            "moved Wed 25 Nov 14:00 → Thu 26 Nov 09:00; same end",
        ),
        ([("endsAt", "2026-11-25T13:00:00Z", "2026-11-25T14:00:00Z")], "ends 14:00 → 15:00"),
        (
            [("startsAt", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z")],
            "moved 01:30 → 03:30; same end",
        ),
        ([("name", "Old", "New")], "renamed “Old” → “New”"),
        ([("description", None, "text")], "description added"),
        ([("host", literal.HOST, {**literal.HOST, "phoneNumber": "1"})], "host's details changed"),
        ([("host", literal.HOST, literal.BEN)], "host Hana Host → ben@out.example"),
        ([("locationId", 11, 99)], "location Berlin Mitte → 99"),
        ([], "sent again, nothing differs"),
    ],
)
def test_fields_in_words(fields, words):
    told = [{"field": name, "before": before, "after": after} for name, before, after in fields]
    change = {
        "action": "update",
        "reason": None,
        "fields": told,
        "added": [],
        "changed": [],
        "removed": [],
        "guests": 1,
    }
    assert describe_change(change, literal.WORDING) == words


def test_words_of_numbers_and_days():
    assert [plural(1, "event"), plural(12_000, "event"), plural(0, "try", "tries")] == [
        "1 event",
        "12,000 events",
        "0 tries",
    ]
    assert show_instant("2026-11-24T23:30:00Z", "Europe/Berlin") == "Wed 25 Nov 2026 00:30"
    assert show_instant("soon", "UTC") == "soon"


def test_days_are_days_of_the_reports_zone():
    report = literal.report_of()
    assert report["visits"] == [
        {"day": "2026-11-25", "events": 1, "guests": 3},
        {"day": "2026-11-26", "events": 2, "guests": 4},
    ]
    late = literal.frame_changes(
        [
            literal.change(
                1, "x", "create", starts_at="2026-11-24T23:30:00Z", ends_at="2026-11-25T00:30:00Z"
            )
        ]
    )
    assert literal.report_of(late)["by_day"] == {"2026-11-25": {"create": 1}}


def test_masked_report_and_markdown_name_nobody():
    records = literal.records_of(wording=literal.MASKED)
    text = (
        orjson.dumps(records).decode()
        + render_markdown(literal.report_of())
        + tabulate_changes(literal.CHANGES, literal.MASKED).to_csv()
    )
    for word in (
        "Ada",
        "Lovelace",
        "ada@",
        "ben@",
        "Cleo",
        "Moor",
        "hana@",
        "Hana",
        "Engines",
        "Kick-off",
        "Review",
    ):
        assert word not in text
    assert "b…@out.example" in text


def test_every_code_has_a_meaning_and_a_remedy():
    for code, state in (
        ("ERROR_USER_CANNOT_HOST_AT_LOCATION", "rejected"),
        ("ERROR_NEW", "rejected"),
        ("HTTP_418", "rejected"),
        (None, "unknown"),
    ):
        meaning, remedy = explain_code(code, state)
        assert meaning
        assert remedy
    assert (
        "may not receive guests"
        in explain_code("ERROR_USER_CANNOT_HOST_AT_LOCATION", "rejected")[0]
    )


def test_problems_and_deletes_are_listed_first_and_the_rest_is_counted():
    listed = choose_listed(literal.CHANGES, limit=2)
    assert listed["source_id"].tolist() == ["rooms-d", "rooms-c"]
    assert count_listed(literal.CHANGES, listed) == {
        "total": 4,
        "listed": 2,
        "left_out": {"create": 1, "update": 1},
    }


def test_an_unusual_night_is_seen():
    calm = literal.report_of(
        history=[
            literal.past_run(
                n, changes=4, create=1, update=2, delete=1, people=3, quarantined=2, seconds=4
            )
            for n in range(1, 9)
        ]
    )
    assert [item["measure"] for item in calm["usual"] if item["unusual"]] == []
    wild = literal.report_of()
    assert {"changes", "update", "people"} <= {
        item["measure"] for item in wild["usual"] if item["unusual"]
    }
    assert literal.report_of(history=[literal.past_run(1)])["usual"] == []


def test_inputs_stay_as_they_are():
    before = literal.CHANGES.copy(deep=True)
    list_changes(literal.CHANGES, literal.PAYLOADS, literal.MASKED)
    tabulate_changes(literal.CHANGES, literal.WORDING)
    literal.report_of()
    pd.testing.assert_frame_equal(before, literal.CHANGES)


if __name__ == "__main__":
    for night_name in NIGHTS:
        for file_name, file_content in render(night_name).items():
            (EXPECTED / file_name).write_bytes(file_content)
