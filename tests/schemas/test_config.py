"""Every mistake in the file is one message that names the key, and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.config import Config
from schemas.config_values import is_loopback
from schemas.errors import ConfigurationError
from schemas.load_config import load_config, read_secret

SOURCE = '[sources.hr]\nurl = "sqlite:///hr.sqlite"\npreset = "mrbs"\n'


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("ESSENTRY_SYNC_")]:
        monkeypatch.delenv(name)


def _load(folder: Path, text: str) -> Config:
    path = folder / "sync.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


def _error(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        _load(folder, text)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_smallest_file_and_its_defaults(tmp_path: Path) -> None:
    config = _load(tmp_path, SOURCE)
    assert config.root == tmp_path
    assert config.essentry.guest_list == "additive"
    assert config.essentry.on_reappear == "hold"
    assert config.guards.approve_first_run
    assert config.window.days_ahead == 365


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (SOURCE + "[essentry]\nbase_ur = 1\n", ["essentry.base_ur", "unknown key"]),
        (SOURCE + "colour = 1\n", ["sources.hr.colour", "unknown key"]),
        ("colour = 1\n" + SOURCE, ["colour", "unknown key"]),
        (SOURCE + '[essentry]\nconcurrency = "many"\n', ["essentry.concurrency", "many"]),
        (SOURCE + "[essentry]\nconcurrency = 0\n", ["essentry.concurrency", "0"]),
        (SOURCE + '[essentry]\npayload = "half"\n', ["essentry.payload", "half"]),
        (SOURCE + '[essentry]\nbase_url = "ftp://x"\n', ["essentry.base_url", "http"]),
        (SOURCE + '[essentry]\nbase_url = "http://app.example/api"\n',
            ["essentry.base_url", "https"]),
        (SOURCE + '[report]\ntimezone = "Berlin"\n', ["report.timezone", "Europe/Berlin"]),
        (SOURCE + 'timezone = "CEST-5"\n', ["sources.hr.timezone", "CEST-5"]),
        (SOURCE + "[guards]\nmax_shrink_share = 2\n", ["guards.max_shrink_share"]),
        (SOURCE + "[guards]\nmax_deletes = -1\n", ["guards.max_deletes"]) ,
        ('[sources.hr]\npreset = "mrbs"\n', ["sources.hr", "url_env"]),
        ('[sources.hr]\nurl = "sqlite://"\nurl_env = "X"\npreset = "mrbs"\n',
            ["sources.hr", "exactly one"]),
        ('[sources.hr]\nurl = "sqlite://"\n', ["sources.hr", "preset"]),
        ('[sources.hr]\nurl = "sqlite://"\npreset = "mrbs"\nevents_sql = "e.sql"\n',
            ["sources.hr", "preset"]),
        ('[sources.hr]\nurl = "sqlite://"\nevents_sql = "e.sql"\n', ["sources.hr", "guests_sql"]),
        ('[sources.hr]\nurl = "sqlite://"\nevents_sql = "e.sql"\nguests_sql = "g.sql"\n',
            ["sources.hr", "times"]),
        ('[sources.HR-1]\nurl = "sqlite://"\npreset = "mrbs"\n', ["sources", "HR-1"]),
        ("[sources]\n", ["sources"]),
        ("", ["sources", "missing"]),
        (SOURCE + "[sources.hr.sites.hq]\n", ["sources.hr.sites.hq.location_id", "missing"]),
        ("[sources.hr\n", ["not valid TOML"]),
    ],
)  # fmt: skip
def test_mistakes_name_their_key(tmp_path: Path, text: str, parts: list[str]) -> None:
    message = _error(tmp_path, text)
    for part in ["sync.toml", *parts]:
        assert part in message


def test_shared_contacts_are_not_divided(tmp_path: Path) -> None:
    shared = (
        SOURCE.replace("sqlite:///hr.sqlite", "postgresql://u:geheim9@h/d")
        + '[essentry]\ninvitation_ids = "shared"\n'
    )
    message = _error(tmp_path, shared + "[scale]\npartitions = 2\n")
    assert "set partitions = 1 for shared contacts" in message
    assert "geheim9" not in message
    assert _load(tmp_path, shared + "[scale]\npartitions = 1\n").scale.partitions == 1


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = _error(tmp_path, SOURCE + "[window]\ndays_ahead = 0\n[pilot]\npause = true\n")
    assert "window.days_ahead" in message
    assert "pilot.pause" in message


@pytest.mark.parametrize(
    "text",
    [
        SOURCE + '[essentry]\nbase_url = "https://user:hunter2@app.example"\n',
        SOURCE + '[essentry]\ntoken = "hunter2"\n',
        SOURCE + '[state]\nurl = ["postgresql://me:hunter2@db/x"]\n',
        '[sources.hr]\nurl = "mysql://me:hunter2@db/x"\n',
        '[sources.hr]\nurl = "mysql://me:hunter2@db/x"\nurl_env = "X"\npreset = "mrbs"\n',
        '[sources.hr]\nurl = 5\npreset = "mrbs"\npassword = "hunter2"\n',
    ],
)
def test_messages_hold_no_secret(tmp_path: Path, text: str) -> None:
    assert "hunter2" not in _error(tmp_path, text)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no configuration at .*nowhere\.toml.*init"):
        load_config(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xfc'")
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_config(tmp_path / "latin.toml")


def test_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SOURCE + "[window]\ndays_ahead = 30\n[guards]\nmax_churn = 3\n"
    assert _load(tmp_path, text).window.days_ahead == 30
    monkeypatch.setenv("ESSENTRY_SYNC_WINDOW__DAYS_AHEAD", "7")
    config = _load(tmp_path, text)
    assert config.window.days_ahead == 7
    assert config.guards.max_churn == 3


def test_mistake_in_the_environment_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESSENTRY_SYNC_WINDOW__DAYS_AHEAD", "soon")
    assert "window.days_ahead" in _error(tmp_path, SOURCE)


def test_dashboard_addresses_stand_for_their_numbers(tmp_path: Path) -> None:
    address = "https://app.example/settings/locations/123/entrances/456"
    text = (
        f'{SOURCE}[sources.hr.sites]\na = {{ location_id = "{address}" }}\nb = {{ location_id = 7, '
        f'entrance_id = "{address}" }}\n'
    )
    text += '[sources.hr.rooms]\nc = { location_id = "https://app.example/settings/locations/9" }\n'
    text += '[sources.hr.custom_fields]\nbadge = "https://app.example/settings/custom-fields/12"\n'
    source = _load(tmp_path, text).sources["hr"]
    assert (source.sites["a"].location_id, source.sites["a"].entrance_id) == (123, 456)
    assert (source.sites["b"].location_id, source.sites["b"].entrance_id) == (7, 456)
    assert (source.rooms["c"].location_id, source.rooms["c"].entrance_id) == (9, None)
    assert source.custom_fields == {"badge": 12}


def test_addresses_and_domains_are_made_plain(tmp_path: Path) -> None:
    text = SOURCE + (
        'internal_domains = ["@Corp.Example "]\n[essentry]\nbase_url = '
        '"http://127.0.0.1:8000/api/"\n'
    )
    config = _load(tmp_path, text)
    assert config.sources["hr"].internal_domains == ["corp.example"]
    assert config.essentry.base_url == "http://127.0.0.1:8000/api"


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:1", True),
        ("http://[::1]/x", True),
        ("http://127.0.0.1.evil.example", False),
        ("https://app.essentry.com", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback


def test_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", " abc ")
    assert read_secret("MY_TOKEN", purpose="the token") == "abc"
    monkeypatch.setenv("MY_TOKEN", " ")
    with pytest.raises(ConfigurationError, match="MY_TOKEN is not set: it must hold the token"):
        read_secret("MY_TOKEN", purpose="the token")
