"""S25, S28: what a database, essentry, or a row says is masked and harmless wherever it is told;
passwords stand nowhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from tests.command import run
from tests.firm import Firm
from tests.sources.databases import database

PASSWORD = "s3cr3t-pw"
PICTURE = "![x](https://evil.example/p.png)"


def files(firm: Firm) -> dict[str, str]:
    """All that a firm's nights wrote, as text."""
    found = [
        path
        for path in firm.folder.rglob("*")
        if path.is_file() and path.suffix not in (".sql", ".toml")
    ]
    return {path.name: path.read_bytes().decode("utf-8", errors="replace") for path in found}


def write_toml(firm: Firm) -> Path:
    """The firm's configuration as a file, for commands."""
    path = firm.folder / "essentry-sync.toml"
    path.write_text(
        f'[essentry]\nbase_url = "{firm.sandbox.base_url}"\n[guards]\napprove_first_run = '
        'false\n[state]\nurl = "sqlite:///state.sqlite"\n'
        '[report]\ndirectory = "runs"\n[sources.rooms]\nurl = "sqlite:///rooms.sqlite"\nevents_sql '
        '= "events.sql"\nguests_sql = "guests.sql"\n'
        'times = "utc"\n[sources.rooms.sites]\n1 = { location_id = 11 }\n'
    )
    return path


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me@127.0.0.1:1/x?password={}",
        "mysql+pymysql://me:{}@127.0.0.1:1/x",
        "postgresql://u:a@{}@127.0.0.1:1/x",
    ],
)
def test_s28_a_password_stands_nowhere(
    firm: Firm, url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    firm.source_settings["rooms"] = {"url": url.format(PASSWORD)}
    monkeypatch.setattr(firm, "write", lambda: None)
    result = firm.night()
    assert result.exit_code == (2 if url.count("@") > 1 else 5)
    assert not [name for name, text in files(firm).items() if PASSWORD in text]
    assert PASSWORD not in caplog.text + str(result.report)


def test_s28_a_databases_words_are_masked_and_escaped(
    firm: Firm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A cast that fails repeats the value, which is a person and Markdown."""
    firm.sections["report"] = {"directory": "runs", "personal_data": "masked"}
    with database("postgresql", tmp_path) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE ev (id int, starts text)")
            connection.exec_driver_sql("CREATE TABLE gu (id int, badge text)")
            connection.exec_driver_sql("INSERT INTO ev VALUES (1, '2027-01-01 10:00')")
            connection.execute(
                sa.text("INSERT INTO gu VALUES (1, :badge)"),
                {"badge": f"ada@secret.example {PICTURE} <b>x</b>"},
            )
        (firm.folder / "e.sql").write_text(
            "SELECT id AS source_event_id, starts AS starts_at, '1' AS site_key, "
            "'h@corp.example' AS host_email FROM ev"
        )
        (firm.folder / "g.sql").write_text(
            "SELECT id AS source_event_id, CAST(badge AS int) AS custom_badge FROM gu"
        )
        url = engine.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        firm.source_settings["rooms"] = {"url": url, "events_sql": "e.sql", "guests_sql": "g.sql"}
        monkeypatch.setattr(firm, "write", lambda: None)
        result = firm.night()
    assert result.exit_code == 5
    told = files(firm)
    assert not [name for name, text in told.items() if "ada@secret.example" in text]
    assert "ada@secret.example" not in caplog.text
    assert PICTURE not in told["report.md"]
    assert "<b>x</b>" not in told["report.html"]


def test_s28_essentrys_words_are_masked_and_escaped(firm: Firm) -> None:
    firm.sections["report"] = {"directory": "runs", "personal_data": "masked"}
    firm.book("good", "bob")
    firm.book(
        "m",
        guests={
            "a": {"email": "ada@secret.example", "first_name": PICTURE, "last_name": "Lovelace"}
        },
    )
    body = {"message": f"guest {PICTURE} Lovelace <ada@secret.example> is on the block list"}
    firm.sandbox.add_faults(
        [{"kind": "reject_request", "source_id": "rooms-m", "status": 422, "body": body}]
    )
    result = firm.night()
    assert result.exit_code == 3
    folder = result.folder
    texts = {
        path.name: path.read_text()
        for path in folder.iterdir()
        if path.suffix in (".md", ".json", ".html", ".csv")
    }
    assert not [
        name for name, text in texts.items() if "ada@secret.example" in text or "Lovelace" in text
    ]
    assert PICTURE not in texts["report.md"]


def test_s28_a_row_does_not_steer_the_terminal(firm: Firm) -> None:
    firm.book("m", "ada")
    firm.book("k\x1b[2J\x1b]0;owned\x07\x1b[31m", "x", host="nobody\x1b[31m", name="t\x1b[2J")
    firm.write()
    config = str(write_toml(firm))
    for command in ("plan", "quarantine", "report", "doctor", "runs"):
        done = run(command, "--config", config)
        assert done.returncode in (0, 2, 3), done.stderr
        assert "\x1b[2J" not in done.stdout + done.stderr
        assert "\x1b]0" not in done.stdout + done.stderr
        assert "\x07" not in done.stdout + done.stderr


def test_s28_what_the_sandbox_keeps_is_its_owners_alone(tmp_path: Path) -> None:
    keep = tmp_path / "sandbox.sqlite"
    with SandboxServer(SandboxSettings(persist_path=keep)):
        pass
    assert keep.stat().st_mode & 0o077 == 0


def test_s03_an_unreadable_guest_stays_on_an_authoritative_list(firm: Firm) -> None:
    firm.sections["essentry"] = {"guest_list": "authoritative"}
    firm.book("a", "ada", "bob")
    firm.night()
    firm.new_mails()
    firm.meetings["rooms"]["a"]["guests"]["ada"] = "no address"
    firm.meetings["rooms"]["a"]["name"] = "N"
    firm.night()
    assert firm.held() == {"rooms-a": {"rooms-a-ada", "rooms-a-bob"}}
    assert {kind for kind, *_ in firm.new_mails()} == {"updated"}


def test_s09_a_shared_contact_leaves_one_meeting_and_stays_in_the_other(firm: Firm) -> None:
    firm.sections["essentry"] = {"invitation_ids": "shared"}
    firm.book("a", "ada", "bob")
    firm.book("b", "ada")
    firm.night()
    firm.new_mails()
    del firm.meetings["rooms"]["a"]["guests"]["ada"]
    assert firm.night().exit_code == 0
    assert firm.held() == {"rooms-a": {"rooms-bob"}, "rooms-b": {"rooms-ada"}}
    assert [(kind, event) for kind, event, _, _ in firm.new_mails()] == [("cancelled", "rooms-a")]
