"""What a machine reads of a run: JSON records, metrics, and the answer to a monitoring system."""

import json
import subprocess

import pytest

from schemas.errors import ConfigurationError, SourceError
from tests import command


def run(company, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command.run(*arguments, "--config", str(company.path), **environment)


def test_json_records_name_run_and_step_and_nobody(company):
    company.write({"1": ["ada@out.example"], "2": ["bob@out.example"]})
    done = run(company, "plan", ESSENTRY_SYNC_REPORT__LOG="json")
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [record["step"] for record in records] == ["extract", "plan", "end"]
    assert len({record["run_id"] for record in records}) == 1
    assert records[-1]["counts"]["create"] == 2
    assert (records[-1]["level"], records[-1]["exit_code"]) == ("INFO", 0)
    assert all(record["time"] and record["message"] for record in records)
    assert "ada@" not in done.stderr
    plain = run(company, "plan", ESSENTRY_SYNC_REPORT__LOG="text")
    assert " INFO " in plain.stderr
    assert " extract done" in plain.stderr
    assert run(company, "plan").stderr == ""
    (company.folder / "source.sqlite").unlink()
    failed = run(company, "plan", ESSENTRY_SYNC_REPORT__LOG="json")
    assert [(r["step"], r["level"]) for r in map(json.loads, failed.stderr.splitlines()[:-1])] == [
        ("extract", "ERROR"),
        ("end", "ERROR"),
    ]


def test_metrics_are_a_text_file_that_keeps_the_last_success(company, monkeypatch):
    monkeypatch.setenv("ESSENTRY_SYNC_REPORT__METRICS_FILE", "metrics/essentry.prom")
    company.write({"1": ["ada@out.example"], "2": ["bob@out.example"]})
    company.night()
    figures = read_metrics(company)
    assert figures['essentry_sync_outcomes{outcome="confirmed"}'] == 2
    assert figures['essentry_sync_people_mailed{kind="invited"}'] == 2
    assert figures["essentry_sync_requests"] == 1
    success = figures["essentry_sync_last_success_timestamp_seconds"]
    (company.folder / "source.sqlite").unlink()
    with pytest.raises(SourceError):
        company.night()
    later = read_metrics(company)
    assert later["essentry_sync_last_exit_code"] == 5
    assert (
        later["essentry_sync_last_success_timestamp_seconds"]
        == success
        < later["essentry_sync_last_run_timestamp_seconds"]
    )
    monkeypatch.setattr("flows.report.metrics.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"essentry-sync\[metrics\]"):
        company.night()


def read_metrics(company) -> dict[str, float]:
    text = (company.folder / "metrics" / "essentry.prom").read_text()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if not line.startswith("#")
    }


def test_check_answers_a_monitoring_system(company):
    company.write({"1": ["ada@out.example"]})
    assert run(company, "check").returncode == 2  # no state store yet
    run(company, "plan")
    nothing = run(company, "check", "--json")
    assert (nothing.returncode, json.loads(nothing.stdout)["text"]) == (3, "no sync has run yet")
    company.night()
    assert run(company, "check", "--max-age", "1").returncode == 0
    late = run(company, "check", "--max-age", "0")
    assert late.returncode == 3
    assert late.stdout.startswith("LATE: the last run, ")
    company.sandbox.add_faults([{"kind": "status", "status": 401, "times": 9}])
    company.write({"1": ["ada@out.example", "bob@out.example"]})
    company.night()
    assert run(company, "check", "--max-age", "1").returncode == 0  # an earlier one was good
