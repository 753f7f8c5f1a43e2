"""The configuration: one typed TOML file, environment variables (ESSENTRY_SYNC_<SECTION>__<KEY>)
over it.

Secrets are not part of it: `[essentry] token_env` and `agent_token_env` name the environment
variables that hold them, and a source's `url_env` names the variable that holds a database URL with
a password. Field descriptions are the documentation: `just docs` writes the tables of
CONFIGURATION.md from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.config_essentry import EssentryConfig
from schemas.config_guards import GuardsConfig, PilotConfig
from schemas.config_source import SourceConfig
from schemas.config_values import (
    MOST_DAYS,
    MOST_LISTED,
    MOST_SECONDS,
    Section,
    Unit,
    Zone,
)

_SOURCE_NAME = r"[a-z][a-z0-9_]{0,31}"
_TABLE_NAME = r"([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}"
PREFIX = "ESSENTRY_SYNC_"


class StateConfig(Section):
    """`[state]`: where essentry-sync remembers what essentry confirmed."""

    url: str = Field(
        "sqlite:///data/state/essentry-sync.sqlite",
        description=(
            "SQLAlchemy URL; SQLite or PostgreSQL; a file's path starts from the folder of the "
            "configuration"
        ),
    )
    url_env: str | None = Field(
        None, description="environment variable with the URL, instead of url"
    )
    url_block: str | None = Field(
        None,
        description="Prefect SQLAlchemy Connector or Secret block with the URL, instead of url",
    )
    keep_inactive_days: int = Field(
        90, ge=1, le=MOST_DAYS, description="days an expired or deleted event leaves a trace"
    )
    keep_runs_days: int = Field(
        400, ge=1, le=MOST_DAYS, description="days the ledger and the run history are kept"
    )
    lease_seconds: int = Field(
        120,
        ge=5,
        le=MOST_SECONDS,
        description="a run that does not renew its lease for so long counts as dead",
    )
    lease_wait_seconds: int = Field(
        0, ge=0, le=MOST_SECONDS, description="how long to wait for another run before giving up"
    )


class WindowConfig(Section):
    """`[window]`: how far ahead events are sent."""

    days_ahead: Annotated[int, Unit("days")] = Field(
        365, ge=1, le=MOST_DAYS, description="events that start later wait"
    )
    longest_hours: int = Field(
        8784,
        ge=1,
        description="a longer event is quarantined: its end is a placeholder such as 2099-12-31",
    )


class AuditConfig(Section):
    """`[audit]`: what `audit` tells and heals of what essentry does not hold as it was
    confirmed.
    """

    seen: Annotated[int, Unit("audits")] = Field(
        2, ge=1, description="audits in a row that must have seen it before it is told"
    )
    heal: bool = Field(
        True,
        description=(
            "an event that is missing whole is sent completely by the next run, through the guards"
        ),
    )
    heal_guests: Annotated[int, Unit("guests")] = Field(
        2,
        ge=1,
        description=(
            "fewest guests of an event healed by itself: of one guest, "
            "the list does not tell a lost event from a removed guest"
        ),
    )
    heal_events: Annotated[int, Unit("events")] = Field(
        20,
        ge=0,
        description="most events healed by one audit; with more, none is, and a person decides",
    )


class CheckInsConfig(Section):
    """`[checkins]`: a table of your own that `checkins` keeps equal to the visits in the state
    store. Without a URL there is none.
    """

    url: str | None = Field(
        None,
        description=(
            "SQLAlchemy URL of a database that may be written to, with an account of its own; "
            "a file's path starts from the folder of the configuration"
        ),
    )
    url_env: str | None = Field(
        None, description="environment variable with the URL, instead of url"
    )
    url_block: str | None = Field(
        None,
        description="Prefect SQLAlchemy Connector or Secret block with the URL, instead of url",
    )
    table: str = Field(
        "essentry_visits",
        description="the table, or schema.table; it is made when it is not there",
    )

    @field_validator("table")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(_TABLE_NAME, value):
            raise ValueError(
                f"{value!r} is no table: write a name, or schema.name, of letters, digits and _, "
                "a letter first, at most 63 characters each"
            )
        return value

    @model_validator(mode="after")
    def _one_address(self) -> CheckInsConfig:
        given = [name for name in ("url", "url_env", "url_block") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are one thing said twice: keep one of them")
        return self

    @property
    def wanted(self) -> bool:
        """Whether there is such a table."""
        return bool(self.url or self.url_env or self.url_block)


class ReportConfig(Section):
    """`[report]`: where reports go and what they show."""

    directory: Path = Field(
        Path("data/runs"), description="folder of the reports, one inside it for each run"
    )
    url: str | None = Field(
        None, description="address under which that folder is served, for links in Prefect"
    )
    timezone: Zone = Field("UTC", description="zone of the days and times in reports")
    personal_data: Literal["full", "masked"] = Field(
        "full",
        description=(
            "names and addresses in report files; report.md, logs and artifacts are always masked"
        ),
    )
    list_changes: Annotated[int, Unit("changes")] = Field(
        20,
        ge=0,
        le=MOST_LISTED,
        description=(
            "changes that `plan` and report.md tell one by one, cancellations first; "
            "people are masked"
        ),
    )
    keep_personal_days: int = Field(
        90,
        ge=1,
        le=MOST_DAYS,
        description=(
            "days until people are taken out of reports, the ledger and ended events; "
            "fingerprints and ids stay"
        ),
    )
    log: Literal["off", "text", "json"] = Field(
        "off",
        description=(
            "a record a step on standard error, with run id and counters; "
            "Prefect's UI has them always"
        ),
    )
    metrics_file: Path | None = Field(
        None,
        description=(
            "figures of the last run for Prometheus' node exporter, a `.prom` file; "
            "needs the extra `metrics`"
        ),
    )


class ScaleConfig(Section):
    """`[scale]`: how a large night is divided. The plan is the same, whatever is set here."""

    partitions: Annotated[int, Unit("parts")] = Field(
        1,
        ge=1,
        le=1024,
        description="parts that are validated and built apart, events with their guests together",
    )
    runner: Literal["threads", "processes", "dask"] = Field(
        "threads",
        description=(
            "where the parts are worked on; dask needs the extra `dask`, "
            "and works in `sync` and deployments"
        ),
    )
    workers: Annotated[int, Unit("parts")] = Field(
        2, ge=1, le=256, description="parts at work at once"
    )
    folder: Path | None = Field(
        None,
        description=(
            "where the parts lie between the steps, for a night that does not fit into memory; "
            "without it they stay in memory"
        ),
    )
    dask_scheduler: str | None = Field(
        None,
        description=(
            "address of a Dask cluster (tcp://…); without one it is started on this machine"
        ),
    )


class Config(BaseSettings):
    """The whole file. `load_config` reads it; `root` is the folder relative paths start from."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    root: Path = Field(default_factory=Path.cwd, exclude=True)
    file: Path | None = Field(None, exclude=True)
    on_source_failure: Literal["stop", "others"] = Field(
        "stop",
        description=(
            "a source that cannot be read; stop: it ends the run; others: "
            "the run goes on with the rest, deletes nothing of it, and ends with 3"
        ),
    )
    failed_source_nights: Annotated[int, Unit("runs")] = Field(
        3,
        ge=1,
        description=(
            'a source that failed under "others" ends a run with 3; so many runs in a row, with 5'
        ),
    )
    essentry: EssentryConfig = Field(default_factory=EssentryConfig)
    state: StateConfig = Field(default_factory=StateConfig)
    sources: dict[str, SourceConfig] = Field(min_length=1)
    window: WindowConfig = Field(default_factory=WindowConfig)
    guards: GuardsConfig = Field(default_factory=GuardsConfig)
    pilot: PilotConfig = Field(default_factory=PilotConfig)
    audit: AuditConfig = Field(default_factory=AuditConfig)
    checkins: CheckInsConfig = Field(default_factory=CheckInsConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    scale: ScaleConfig = Field(default_factory=ScaleConfig)

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        for name in value:
            if not re.fullmatch(_SOURCE_NAME, name):
                raise ValueError(
                    f"source name {name!r}: use a-z, 0-9 and _, at most 32 characters, "
                    "a letter first"
                )
        owners: dict[str, str] = {}
        for name, entry in value.items():
            prefix = entry.id_prefix or name
            if not re.fullmatch(_SOURCE_NAME, prefix):
                raise ValueError(
                    f"sources.{name}.id_prefix {prefix!r}: use a-z, 0-9 and _, "
                    "at most 32 characters, a letter first"
                )
            if prefix in owners:
                raise ValueError(
                    f"the sources {owners[prefix]} and {name} would both build ids that begin with "
                    f"{prefix}-: change one id_prefix"
                )
            owners[prefix] = name
        return value

    @model_validator(mode="after")
    def _pilot_names(self) -> Config:
        for name in self.pilot.sources:
            if name not in self.sources:
                raise ValueError(
                    f"pilot.sources names {name!r}, and there is no such source: "
                    f"the sources are {', '.join(self.sources)}"
                )
        for key in self.pilot.sites:
            if not any(key in entry.sites for entry in self.sources.values()):
                raise ValueError(f"pilot.sites names {key!r}, and no source has such a site")
        return self

    _spell: Callable[[str], str] = PrivateAttr(default=str)

    def spell_by(self, spell: Callable[[str], str]) -> None:
        """Have the commands that reports name written as they are to be typed here."""
        self._spell = spell

    def spell(self, command: str) -> str:
        """A command as it is to be typed here, such as
        `uv run essentry-sync apply X --config other.toml`.
        """
        return self._spell(command)

    @property
    def spill_folder(self) -> Path | None:
        """The folder of the parts, from the configuration's."""
        return None if self.scale.folder is None else self.root / self.scale.folder

    @model_validator(mode="after")
    def _folder_is_for_parts(self) -> Config:
        if self.scale.folder is not None and self.scale.partitions == 1:
            raise ValueError(
                "scale.folder needs scale.partitions over 1: an undivided night has to fit into "
                "memory"
            )
        return self

    @model_validator(mode="after")
    def _shared_contacts_stay_together(self) -> Config:
        """A shared contact has the same data in every event, which no partition sees alone."""
        if self.scale.partitions > 1 and self.essentry.invitation_ids == "shared":
            raise ValueError(
                'scale.partitions needs essentry.invitation_ids = "per-event": '
                "set partitions = 1 for shared contacts"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)
