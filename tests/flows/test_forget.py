"""A guest is forgotten, and nobody is mailed because of it: whole nights before and after, against
the sandbox.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from flows.night.retention import forget_after
from flows.night.session import open_state
from flows.operations.forget import forget_person
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from flows.state.store import State
from schemas.errors import ConfigurationError
from schemas.report import parse_report
from tests.firm import NOW, Firm
from tests.sources.databases import database

ADA = "ada@out.example"
LOVELACE = {"email": ADA, "first_name": "Ada", "last_name": "Lovelace"}


@pytest.fixture
def firm(tmp_path, monkeypatch):
    with SandboxServer(SandboxSettings()) as sandbox:
        monkeypatch.setenv("ESSENTRY_TOKEN", sandbox.token)
        monkeypatch.setenv("ESSENTRY_AGENT_TOKEN", sandbox.agent_token)
        yield Firm(tmp_path, sandbox)


def traces(firm: Firm, *words: str) -> list[str]:
    """Where words still stand: table.column of the state store, and names of report files."""
    found = []
    engine = sa.create_engine(f"sqlite:///{firm.folder / 'state.sqlite'}")
    described = sa.MetaData()
    described.reflect(engine)
    with engine.connect() as connection:
        for table in described.sorted_tables:
            for column in table.columns:
                text = sa.func.lower(sa.cast(column, sa.Text))
                found += [
                    f"{table.name}.{column.name}"
                    for word in words
                    if connection.execute(table.select().where(text.contains(word))).first()
                ]
    engine.dispose()
    import pandas as pd

    for file in sorted(firm.folder.glob("runs/*/*")):
        content = (
            pd.read_parquet(file).to_csv().lower()
            if file.suffix == ".parquet"
            else file.read_text().lower()
        )
        found += [file.name for word in words if word in content]
    return found


def forget(firm: Firm, address: str = ADA):
    with open_state(firm.config) as state:
        return forget_person(firm.config, state, address)


def settle_a_past_and_a_coming_visit(firm: Firm) -> None:
    """Ada was here yesterday and comes again next month; others come, too. All is confirmed, and
    yesterday is over in the state.
    """
    firm.now = NOW - timedelta(days=3)
    firm.book(
        "past",
        start=NOW - timedelta(days=2),
        name="Interview Ada Lovelace",
        guests={"a": LOVELACE, "b": "ben@out.example"},
    )
    firm.book("coming", guests={"a": LOVELACE, "c": "cleo@out.example"})
    firm.book("other")
    assert firm.night().exit_code == 0
    firm.now = NOW - timedelta(hours=3)
    assert firm.night().exit_code == 0


def test_a_past_guest_leaves_no_trace_and_the_next_nights_mail_nobody(firm):
    settle_a_past_and_a_coming_visit(firm)
    firm.meetings["rooms"]["coming"]["guests"] = {"c": "cleo@out.example"}
    assert firm.night().exit_code == 0
    held, mails = firm.held(), firm.mails()
    assert traces(firm, ADA, "lovelace")
    found = forget(firm)
    assert found.complete
    assert (found.events, found.upcoming) == (1, [])
    assert found.changes >= 3
    assert traces(firm, ADA, "lovelace") == []
    assert traces(firm, "ben@out.example", "cleo@out.example")
    for folder in (path for path in firm.folder.glob("runs/*") if path.is_dir()):
        parse_report((folder / "report.json").read_bytes())
    for _ in range(2):
        assert firm.night().report["verdict"].startswith("nothing to do")
    assert (firm.held(), firm.mails()) == (held, mails)
    assert forget(firm).events == 0


def test_a_coming_visit_keeps_its_guest_and_the_next_nights_mail_nobody(firm):
    settle_a_past_and_a_coming_visit(firm)
    held, mails = firm.held(), firm.mails()
    found = forget(firm)
    assert not found.complete
    assert found.upcoming == ["rooms-coming"]
    assert set(traces(firm, ADA)) == {"snapshot_events.payload"}
    assert firm.night().report["verdict"].startswith("nothing to do")
    assert (firm.held(), firm.mails()) == (held, mails)
    # a change of the meeting is still a difference to what essentry holds: the other guest comes
    # in, nobody else is touched
    firm.meetings["rooms"]["coming"]["guests"]["d"] = "dora@out.example"
    assert firm.night().exit_code == 0
    assert firm.mails() - mails == {"invited": 1}
    # taken out in the source, the invitation is cancelled once, and nothing is left of her
    firm.meetings["rooms"]["coming"]["guests"].pop("a")
    assert firm.night().exit_code == 0
    assert firm.mails() - mails == {"invited": 1, "cancelled": 1}
    assert forget(firm).complete
    assert traces(firm, ADA, "lovelace") == []
    assert firm.night().report["verdict"].startswith("nothing to do")


def test_an_ended_visit_of_a_forgotten_guest_that_is_moved_to_the_future_keeps_its_invitation(firm):
    settle_a_past_and_a_coming_visit(firm)
    firm.cancel("coming")
    firm.night()
    assert forget(firm).complete
    before = firm.held()["rooms-past"]
    firm.meetings["rooms"]["past"]["start"] = NOW + timedelta(days=9)
    assert firm.night().exit_code == 0
    assert firm.held()["rooms-past"] == before
    assert firm.mails()["invited"] == 5


def test_a_plan_that_waits_is_left_as_it_is_and_can_still_be_sent(firm):
    settle_a_past_and_a_coming_visit(firm)
    firm.sections["guards"]["max_new_invitations"] = 0
    firm.book("again", guests={"a": LOVELACE})
    assert firm.night().exit_code == 4
    found = forget(firm)
    assert found.waiting == 1
    firm.approve()
    assert firm.apply().exit_code == 0
    assert firm.held()["rooms-again"] == {"rooms-again-a"}


def test_the_digest_of_an_address_goes_only_when_no_event_needs_its_number(firm):
    firm.now = NOW - timedelta(days=3)
    firm.book("past", start=NOW - timedelta(days=2), guests={"": {"email": ADA}})
    firm.night()
    firm.now = NOW - timedelta(hours=3)
    firm.night()
    found = forget(firm)
    assert (found.numbers, found.keys) == (1, 0)  # the ended event may still be moved to the future
    firm.cancel("past")
    config = firm.config
    with open_state(config) as state:
        state.prune(datetime.now(UTC) + timedelta(days=30), 1, 400)
        found = forget_person(config, state, ADA)
        assert (found.numbers, found.keys) == (0, 1)
        with state.engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM guest_keys").scalar() == 0


def test_people_leave_reports_and_ledger_after_the_days_that_are_set(firm):
    settle_a_past_and_a_coming_visit(firm)
    later = datetime.now(UTC) + timedelta(days=firm.config.report.keep_personal_days + 1)
    held, mails = firm.held(), firm.mails()
    with open_state(firm.config) as state:
        assert forget_after(firm.config, state, now=datetime.now(UTC)) == 0
        assert forget_after(firm.config, state, now=later) == 2
        assert forget_after(firm.config, state, now=later) == 0
    # of the meeting to come
    assert set(traces(firm, ADA, "lovelace", "cleo@out")) == {"snapshot_events.payload"}
    report = parse_report(next(firm.folder.glob("runs/*/report.json")).read_bytes())
    assert report["masked"]
    assert firm.night().report["verdict"].startswith("nothing to do")
    assert (firm.held(), firm.mails()) == (held, mails)


def test_what_is_no_address_is_refused(firm):
    firm.night()
    for text in ("Ada", "", "ada@", "%"):
        with pytest.raises(ConfigurationError, match="no e-mail address"):
            forget(firm, text)


def test_forgetting_on_postgresql(firm, tmp_path, monkeypatch):
    with database("postgresql", tmp_path) as engine:
        monkeypatch.setenv("STATE_URL", engine.url.render_as_string(hide_password=False))
        monkeypatch.setattr(Firm, "config", property(on_postgresql))
        settle_a_past_and_a_coming_visit(firm)
        mails = firm.mails()
        found = forget(firm)
        assert (found.upcoming, found.events) == (["rooms-coming"], 1)
        later = datetime.now(UTC) + timedelta(days=100)
        with open_state(firm.config) as state:
            assert [forget_after(firm.config, state, now=later) for _ in range(2)] == [2, 0]
        assert firm.night().report["verdict"].startswith("nothing to do")
        assert firm.mails() == mails


CONFIGURED = Firm.config.fget


def on_postgresql(firm: Firm):
    """The firm's configuration with its state on PostgreSQL."""
    config = CONFIGURED(firm)
    return config.model_copy(
        update={"state": config.state.model_copy(update={"url_env": "STATE_URL"})}
    )


class Killed(BaseException):
    """The process ends here, and nothing after it is done."""


@pytest.mark.parametrize("at", ["finish_run", "half a report"])
def test_the_report_of_a_killed_run_is_forgotten_too(firm, monkeypatch, at):
    settle_a_past_and_a_coming_visit(firm)
    firm.book("next", guests={"a": LOVELACE, "b": "ben@out.example"})

    def die(*_arguments, **_options):
        if at == "half a report":
            folder = max(firm.folder.glob("runs/*"), key=lambda path: path.stat().st_mtime_ns)
            (folder / "report.json").rename(folder / "report.json.part")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(State, "finish_run", die)
        patch.setattr(State, "abandon_run", lambda *_, **__: None)
        with pytest.raises(Killed):
            firm.night()
    firm.night()
    left = [
        file for file in traces(firm, ADA, "lovelace") if file.startswith(("report", "changes"))
    ]
    assert left
    forget(firm)
    assert not [
        file for file in traces(firm, ADA, "lovelace") if file.startswith(("report", "changes"))
    ]


def test_the_report_of_a_killed_run_is_masked_after_its_days(firm, monkeypatch):
    settle_a_past_and_a_coming_visit(firm)
    firm.book("next", guests={"a": LOVELACE})
    with monkeypatch.context() as patch:
        patch.setattr(State, "finish_run", lambda *_, **__: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            firm.night()
    firm.night()
    with open_state(firm.config) as state:
        assert forget_after(firm.config, state, now=datetime.now(UTC) + timedelta(days=100)) >= 3
    assert not [
        file for file in traces(firm, ADA, "lovelace") if file.startswith(("report", "changes"))
    ]
