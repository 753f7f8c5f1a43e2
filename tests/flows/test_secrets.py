"""What must never be seen outside: tokens, database passwords, addresses and names, in everything
that a night writes at the most talkative level.
"""

from __future__ import annotations

import json
import logging
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.sync import run_sync
from schemas.config import Config
from schemas.errors import SyncError
from tests.firm import Firm
from tests.sources.databases import database

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("prefect_server")]

TOKEN, AGENT, PASSWORD = "tok-5ecret", "5a4db0c5-0000-4000-8000-00005ec4e700", "pa55word-5ecret"
PEOPLE = ("Geheimrat", "geheim.gast", "Hostilia", "hostilia.wirt", "verdorben")
KEEPS_PEOPLE = {  # what essentry holds and what is sent; the state file is its owner's alone
    ("snapshot_events", "payload"), ("plan_changes", "after"), ("plan_changes", "body"),
    ("plan_changes", "fields_json"),
    ("plan_changes", "guests_json"),
}  # fmt: skip


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxServer]:
    with SandboxServer(SandboxSettings(token=TOKEN, agent_token=AGENT)) as server:
        monkeypatch.setenv("ESSENTRY_TOKEN", TOKEN)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", AGENT)
        yield server


@pytest.fixture
def told(
    tmp_path: Path,
    sandbox: SandboxServer,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> dict[str, Any]:
    """Four nights with everything that can go wrong, from a PostgreSQL with a password: what was
    logged, raised, stored and reported.
    """
    for name in ("sqlalchemy", "httpx", "httpcore", "prefect", "alembic", "asyncio"):
        logging.getLogger(name).propagate = True
    caplog.set_level(logging.DEBUG)
    firm = Firm(tmp_path, sandbox, max_mails_per_guest=0)
    guest = {"email": "geheim.gast@out.example", "first_name": "Karl", "last_name": "Geheimrat"}
    firm.book("a", guests={"x": guest}, host="hostilia.wirt@corp.example")
    firm.book(
        "b",
        guests={
            "x": {"email": "geheim.gast@out", "last_name": "Geheimrat"},
            "y": "verdorben@@out.example",
        },
    )
    firm.book("c", guests={"y": {**guest, "email": None}}, host="hostilia.wirt at corp")
    raised: list[str] = []

    def run(config: Config) -> None:
        try:
            run_sync(config, as_of=firm.now)
        except SyncError as error:
            raised.extend([str(error), repr(error), repr(error.__cause__), repr(error.__context__)])

    with database("postgresql", tmp_path) as engine:
        firm.write()
        with (
            sa.create_engine(f"sqlite:///{tmp_path / 'rooms.sqlite'}").connect() as source,
            engine.begin() as target,
        ):
            for table in ("events", "guests"):
                rows = [
                    dict(row) for row in source.exec_driver_sql(f"SELECT * FROM {table}").mappings()
                ]
                columns = ", ".join(f"{name} TEXT" for name in rows[0])
                target.exec_driver_sql(f"CREATE TABLE {table} ({columns})")
                target.execute(
                    sa.text(
                        f"INSERT INTO {table} VALUES ({', '.join(':' + name for name in rows[0])})"
                    ),
                    rows,
                )
        url = engine.url.set(password=PASSWORD).render_as_string(hide_password=False)
        firm.source_settings["rooms"] = {"url": url}
        run(firm.config)  # stopped by max_mails_per_guest, whose causes are people
        firm.sections["guards"] |= {"max_mails_per_guest": 10}
        sandbox.add_faults(
            [
                {
                    "kind": "reject_event",
                    "source_id": "rooms-a",
                    "code": "ERROR_USER_CANNOT_HOST_AT_LOCATION",
                }
            ]
        )
        run(firm.config)
        sandbox.clear_faults()
        firm.sections["essentry"] = {"retry_budget_seconds": 0, "timeout_seconds": 1}
        sandbox.add_faults([{"kind": "status", "status": 401}])
        run(firm.config)
        sandbox.clear_faults()
        firm.sections["report"] = {"directory": "masked", "personal_data": "masked"}
        run(firm.config)
        firm.source_settings["rooms"] = {"url": re.sub(r":\d+/", ":1/", url)}
        run(firm.config)  # nobody listens there
    out, err = capfd.readouterr()
    logs = "\n".join(
        f"{record.name} {record.getMessage()} {record.exc_info or ''}" for record in caplog.records
    )
    return {
        "logs": logs + out + err,
        "raised": "\n".join(raised),
        "folder": tmp_path,
        "records": caplog.records,
    }


def read_engine() -> str:
    """All that the Prefect server was told: parameters, inputs, states, artifacts, names."""
    with get_client(sync_client=True) as client:
        runs = [run.model_dump(mode="json") for run in client.read_flow_runs()]
        tasks = [run.model_dump(mode="json") for run in client.read_task_runs()]
        artifacts = [artifact.model_dump(mode="json") for artifact in client.read_artifacts()]
    return json.dumps([runs, tasks, artifacts])


def test_no_secret_and_no_person_leaves_a_night(told: dict[str, Any]) -> None:
    # what is looked at is not empty
    assert "ERROR_USER_CANNOT_HOST" in told["logs"] + read_engine()
    assert len(told["records"]) > 50
    assert "source rooms" in told["raised"]
    seen = {"logs": told["logs"], "exceptions": told["raised"], "Prefect": read_engine()}
    for where, text in seen.items():
        for secret in (TOKEN, AGENT, PASSWORD, *PEOPLE):
            place = text.lower().find(secret.lower())
            assert place < 0, f"{secret} in {where}: …{text[max(0, place - 300) : place + 100]}…"

    # the state store: no secret anywhere, people only where what essentry holds is kept
    state = told["folder"] / "state.sqlite"
    content = state.read_bytes() + b"".join(
        path.read_bytes() for path in told["folder"].glob("state.sqlite-*")
    )
    assert not [secret for secret in (TOKEN, AGENT, PASSWORD) if secret.encode() in content]
    engine = sa.create_engine(f"sqlite:///{state}")
    described = sa.MetaData()
    described.reflect(engine)
    with engine.connect() as connection:
        for table in described.sorted_tables:
            for row in connection.execute(sa.select(table)).mappings():
                for column, value in row.items():
                    if (table.name, column) not in KEEPS_PEOPLE:
                        assert not [who for who in PEOPLE if who.lower() in str(value).lower()], (
                            table.name,
                            column,
                            value,
                        )

    # reports: no secret; masked ones name nobody
    files = [
        path
        for name in ("runs", "masked")
        for path in (told["folder"] / name).rglob("*")
        if path.is_file()
    ]
    assert {path.name for path in files} >= {"report.json", "report.md", "changes.csv"}
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in (TOKEN, AGENT, PASSWORD) if secret.encode() in content], (
            path
        )
        if "masked" in path.parts:
            assert not [who for who in PEOPLE if who.lower().encode() in content.lower()], path

    # what a night leaves is its owner's alone
    for path in [state, *files]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    for folder in {path.parent for path in files}:
        assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0, folder
