"""S25: a variable of ours that sets nothing is an error, as an unknown key is; a setting out of
range is told, never a crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.config import Config, ReportConfig, ScaleConfig, StateConfig, WindowConfig
from schemas.config_essentry import EssentryConfig
from schemas.config_guards import GuardsConfig
from schemas.config_source import SiteConfig, SourceConfig
from schemas.errors import ConfigurationError
from schemas.load_config import load_config

TEXT = """
[essentry]
token_env = "ESSENTRY_SYNC_TOKEN"
[sources.hr]
url_env = "ESSENTRY_SYNC_HR_URL"
preset = "mrbs"
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import os

    for name in [name for name in os.environ if name.upper().startswith("ESSENTRY_SYNC_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "sync.toml"
    file.write_text(TEXT)
    return file


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ESSENTRY_SYNC_PILOT_PAUSED", "ESSENTRY_SYNC_PILOT__PAUSED"),
        ("ESSENTRY_SYNC_PAUSED", "ESSENTRY_SYNC_PILOT__PAUSED"),
        ("ESSENTRY_SYNC__PILOT__PAUSED", "ESSENTRY_SYNC_PILOT__PAUSED"),
        ("essentry_sync_pilot_paused", "ESSENTRY_SYNC_PILOT__PAUSED"),
        ("ESSENTRY_SYNC_ON_FAILURE", "ESSENTRY_SYNC_ON_SOURCE_FAILURE"),
        ("ESSENTRY_SYNC_ON_SOURCE_FAILURE__HR", "ESSENTRY_SYNC_ON_SOURCE_FAILURE"),
        ("ESSENTRY_SYNC_GUARDS_MAX_DELETES", "ESSENTRY_SYNC_GUARDS__MAX_DELETES"),
        ("ESSENTRY_SYNC_SOURCES_HR_URL", "ESSENTRY_SYNC_SOURCES__HR__URL"),
        ("ESSENTRY_SYNC_CONFG", "ESSENTRY_SYNC_CONFIG"),
        ("ESSENTRY_SYNC_ROOT", ""),
        ("ESSENTRY_SYNC_", ""),
        ("ESSENTRY_SYNC_XYZZY", ""),
    ],
)
def test_s25_an_unknown_variable_of_ours_is_refused_and_the_nearest_named(
    path: Path, name: str, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "true")
    with pytest.raises(ConfigurationError) as refused:
        load_config(path)
    assert f"the environment variable {name} is no setting" in str(refused.value)
    assert near in str(refused.value)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ESSENTRY_SYNC_PILOT__PAUSED", "true"),
        ("essentry_sync_pilot__paused", "true"),
        ("ESSENTRY_SYNC_PILOT", '{"paused": true}'),
        ("ESSENTRY_SYNC_ON_SOURCE_FAILURE", "others"),
        ("ESSENTRY_SYNC_SOURCES__HR__URL_ENV", "OTHER"),
        ("ESSENTRY_SYNC_SOURCES__HR__SITES__1__LOCATION_ID", "11"),
        ("ESSENTRY_SYNC_SOURCES__HR__PARAMS__AREA", "7"),
        ("ESSENTRY_SYNC_GUARDS__MAX_DELETES", "10"),
        ("ESSENTRY_SYNC_GUARDS__MAX_DELETES__RUN", "10"),
        ("ESSENTRY_SYNC_CONFIG", "sync.toml"),
        ("ESSENTRY_SYNC_DEBUG", "1"),
        ("ESSENTRY_SYNC_REQUIRE_DATABASES", "1"),
        ("ESSENTRY_SYNC_TOKEN", "secret"),  # named by token_env
        ("ESSENTRY_SYNC_HR_URL", "sqlite:///x"),  # named by url_env
        ("ESSENTRY_SYNC_SERVICE_HOST", "10.0.0.1"),  # Kubernetes, of a Service of that name
        ("ESSENTRY_SYNC_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("ESSENTRY_TOKEN", "secret"),
    ],
)
def test_s25_every_way_to_name_a_setting_and_what_is_none_of_ours_passes(
    path: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    load_config(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PILOT", "yes"), ("PILOT__SITES", "1"), ("SOURCES", "hr"), ("SOURCES__HR__SITES", "{")],
)
def test_a_list_that_is_no_json_is_one_message(
    path: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"ESSENTRY_SYNC_{name}", value)
    with pytest.raises(ConfigurationError):
        load_config(path)


def test_root_is_no_key(path: Path) -> None:
    path.write_text('root = "/tmp"\n' + TEXT)
    with pytest.raises(ConfigurationError, match="unknown key root"):
        load_config(path)


HUGE: list[Any] = [10**6, 10**9, 2**63, 10**30, float("inf"), float("nan"), -(10**30)]
TABLES: list[tuple[type[BaseModel], dict[str, Any]]] = [
    (EssentryConfig, {}),
    (StateConfig, {}),
    (SiteConfig, {"location_id": 1}),
    (SourceConfig, {"url": "sqlite:///x", "preset": "mrbs"}),
    (WindowConfig, {}),
    (GuardsConfig, {}),
    (ReportConfig, {}),
    (ScaleConfig, {}),
]
DAYS = {"days_ahead", "keep_inactive_days", "keep_runs_days", "keep_personal_days"}
TIMES = {
    "timeout_seconds",
    "retry_budget_seconds",
    "lease_seconds",
    "lease_wait_seconds",
    "plan_max_age_hours",
    "approval_wait_minutes",
}
TIMES |= {"default_duration_minutes", "clock_tolerance_minutes", "max_clock_minutes"}
NUMBERS = {"location_id", "entrance_id"}


@pytest.mark.parametrize(
    ("model", "base"), TABLES, ids=lambda v: v.__name__ if isinstance(v, type) else ""
)
def test_times_and_ids_out_of_range_are_refused(
    model: type[BaseModel], base: dict[str, Any]
) -> None:
    """Every field that becomes a date, a duration or a number of a database; a count of a guard may
    be as large as it likes.
    """
    for name in set(model.model_fields) & (DAYS | TIMES | NUMBERS):
        for value in HUGE:
            if name in NUMBERS and value in (10**6, 10**9):
                continue
            if name in TIMES and value == 10**6:
                continue
            with pytest.raises(ValueError, match=name):
                model(**base | {name: value})


@pytest.mark.parametrize("name", ["untitled", "private_title"])
def test_a_title_that_essentry_cannot_hold_is_refused(name: str) -> None:
    base = {"url": "sqlite:///x", "preset": "mrbs"}
    SourceConfig(**base | {name: "x" * 255})
    with pytest.raises(ValueError, match=name):
        SourceConfig(**base | {name: "x" * 256})


def test_the_longest_settings_still_make_a_calendar() -> None:
    from datetime import UTC, datetime, timedelta

    for days in (36_500, 36_500):
        assert datetime.now(UTC) + timedelta(days=days) > datetime.now(UTC) - timedelta(days=days)
    assert Config.model_fields["failed_source_nights"].default == 3
