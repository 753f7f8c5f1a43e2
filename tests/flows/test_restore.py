"""A state store that was restored from an older backup, or lost: nobody is cancelled or invited
again by mistake, and nothing is orphaned unseen.
"""

import json
import shutil
import stat
import subprocess

import pytest

from flows.night.session import open_state
from flows.operations import backup
from schemas.errors import StateError
from tests import command
from tests.sources.databases import database


def run(company, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command.run(*arguments, "--config", str(company.path), **environment)


def back_up(company, name: str):
    with open_state(company.config()) as state:
        backup.back_up(state, company.folder / name)
    return company.folder / name


def lose_state(company) -> None:
    for file in company.folder.glob("state.sqlite*"):
        file.unlink()


def restore(company, file) -> None:
    lose_state(company)
    (company.folder / "state.sqlite").write_bytes(file.read_bytes())


def test_backup_is_whole_private_and_says_what_it_cannot(company):
    company.write({"1": ["ada@out.example"]})
    company.night()
    with open_state(company.config()) as state:  # a run at work does not disturb it
        done = run(company, "backup", str(company.folder / "copy.sqlite"))
        expected = state.read_fingerprints()
    assert done.returncode == 0, done.stderr
    copy = company.folder / "copy.sqlite"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    restore(company, copy)
    with open_state(company.config(), migrate=False) as state:
        assert state.read_fingerprints().equals(expected)
        with pytest.raises(StateError, match="the state store itself"):
            backup.back_up(state, company.folder / "state.sqlite")
        with pytest.raises(StateError, match="cannot be written"):
            backup.back_up(state, company.folder / "nowhere" / "copy.sqlite")


def test_restored_old_backup_cancels_and_invites_nobody_again(company):
    """After the backup: 4 and its guests came, 1 got a guest and lost one, 2 was deleted, 3 was
    renumbered by nobody.
    """
    company.write(
        {
            "1": ["ada@out.example", "bob@out.example"],
            "2": ["cyd@out.example"],
            "3": ["dan@out.example"],
        }
    )
    company.night()
    old = back_up(company, "old.sqlite")
    now = {
        "1": ["ada@out.example", "eve@out.example"],
        "3": ["dan@out.example"],
        "4": ["aaa@out.example", "zoe@out.example"],
    }
    company.write(now)
    assert company.night().exit_code == 0
    assert company.held() == now
    before = company.sandbox.state()["events"]
    mails = company.sandbox.mails()

    restore(company, old)
    result = company.night()
    assert result.exit_code == 0, result.report["problems"]
    # the same ids, the same guests, no second invitation
    assert company.sandbox.state()["events"] == before
    assert company.sandbox.mails() == mails  # and not one mail
    puts = company.sandbox.requests()["puts"]
    assert company.night().exit_code == 0
    assert company.sandbox.requests()["puts"] == puts


@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="no pg_dump on this machine")
def test_postgresql_state_is_dumped_and_restored(company):
    with database("postgresql", company.folder) as engine:
        url = engine.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        company.path.write_text(company.path.read_text().replace("sqlite:///state.sqlite", url))
        company.write({"1": ["ada@out.example"]})
        company.night()
        told = run(company, "backup", "state.dump")
        assert told.returncode == 2
        assert f"pg_dump --format=custom --file=state.dump {engine.url.database}" in told.stderr
        plain = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        file = str(company.folder / "state.dump")
        subprocess.run(["pg_dump", "--format=custom", f"--file={file}", plain], check=True)
        company.write({"1": ["ada@out.example"], "2": ["zoe@out.example"]})
        company.night()
        before, mails = company.sandbox.state()["events"], company.sandbox.mails()
        engine.dispose()
        subprocess.run(
            ["pg_restore", "--clean", "--if-exists", f"--dbname={plain}", file], check=True
        )
        # the journal beside the reports tells of 2
        assert company.night().report["counts"]["update"] == 1
        assert company.sandbox.state()["events"] == before
        assert company.sandbox.mails() == mails


@pytest.mark.parametrize("reports", [True, False])
def test_restored_backup_cancels_or_lists_what_vanished_meanwhile(company, reports):
    """Where the reports of the runs in between are there, it is known and cancelled; where they are
    not, it is listed.
    """
    company.write({"1": ["ada@out.example"]})
    company.night()
    old = back_up(company, "old.sqlite")
    company.write({"1": ["ada@out.example"], "2": ["cyd@out.example"]})
    company.night()
    restore(company, old)
    if not reports:
        for folder in (
            company.folder / "runs"
            if (company.folder / "runs").exists()
            else company.folder / "data" / "runs"
        ).iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)
        assert run(company, "restored", "--yes").returncode == 0
    company.write({"1": ["ada@out.example"]})
    company.night()
    left = json.loads(run(company, "leftovers", "--json").stdout)
    found = [(row["location_id"], row["event"], row["guest"]) for row in left]
    assert found == ([] if reports else [(11, "Meeting 2", "c…@out.example")])
    assert set(company.held()) == ({"1"} if reports else {"1", "2"})


def test_rebuild_sends_all_deletes_nothing_and_lists_what_is_left_over(company):
    company.write({"1": ["ada@out.example"], "2": ["cyd@out.example"], "3": ["dan@out.example"]})
    company.night()
    refused = run(company, "rebuild", "--yes")
    assert refused.returncode == 2
    assert "nothing to rebuild" in refused.stderr

    lose_state(company)
    company.write({"1": ["ada@out.example"], "3": ["dan@out.example"]})
    puts = company.sandbox.requests()["puts"]
    asked = run(company, "rebuild")
    assert asked.returncode == 4
    assert "2 events with 2 invitations of 2 people" in asked.stderr
    assert "2 of these people have no key" in asked.stderr
    assert company.sandbox.requests()["puts"] == puts

    done = run(company, "rebuild", "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    # 2's guest, and the old ids of ada and dan
    assert "3 invitations in essentry that no source row explains" in done.stdout
    assert "cyd@out.example" not in done.stdout
    held = company.sandbox.state()["events"]
    assert set(held) == {"rooms-1", "rooms-2", "rooms-3"}
    assert {mail["kind"] for mail in company.sandbox.mails()} == {"invited"}
    puts = company.sandbox.requests()["puts"]
    assert company.night().report["counts"]["unchanged"] == 2
    company.write({"1": ["ada@out.example"]})
    assert company.night().report["deletes_by_reason"] == {"absent": 1}
    assert company.sandbox.requests()["puts"] == puts + 1


def test_rebuild_takes_nobody_off_an_authoritative_list(company):
    company.path.write_text(
        company.path.read_text().replace(
            "[essentry]\n", '[essentry]\nguest_list = "authoritative"\n'
        )
    )
    company.write({"1": ["ada@out.example", "bob@out.example"]})
    company.night()
    lose_state(company)
    company.write({"1": ["ada@out.example"]})
    assert run(company, "rebuild", "--yes").returncode == 0
    assert {mail["kind"] for mail in company.sandbox.mails()} == {"invited"}
    assert "bob@out.example" in company.held()["1"]
    night = company.night()  # the settings are as they were: nothing to approve, nothing to send
    assert (night.exit_code, night.report["guards"], night.report["counts"]["unchanged"]) == (
        0,
        [],
        1,
    )
