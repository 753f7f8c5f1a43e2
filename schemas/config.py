"""The configuration: one typed TOML file, environment variables (ESSENTRY_SYNC_<SECTION>__<KEY>)
over it.

Secrets are not part of it: `[essentry] token_env` and `agent_token_env` name the environment
variables that hold them, and a source's `url_env` names the variable that holds a database URL with
a password. Field descriptions are the documentation: `just docs` writes the tables of
CONFIGURATION.md from them.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from schemas.errors import ConfigurationError

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_SOURCE_NAME = r"[a-z][a-z0-9_]{0,31}"
PRESETS = ("librebooking", "mrbs", "orangehrm", "frappe_hrms", "odoo")
PREFIX = "ESSENTRY_SYNC_"
OTHER_VARIABLES = ("CONFIG", "DEBUG", "REQUIRE_DATABASES", "REQUIRE_BROWSER")
"""What may follow PREFIX in the environment and is no setting: of the command line, and of the
project's own tests.
"""
_OF_KUBERNETES = re.compile(r"(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?)$")
"""What Kubernetes puts into a container beside a Service that is named essentry-sync."""
MOST_DAYS = 36_500
MOST_LISTED = 40_000
MOST_SECONDS = 10_000_000
"""A hundred years and some months: what is longer is a slip of the keyboard, and leaves the
calendar of databases.
"""


def is_loopback(url: str) -> bool:
    """True for a URL whose host is this machine."""
    return (urlsplit(url).hostname or "") in LOOPBACK_HOSTS


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone; use an IANA name such as Europe/Berlin")
    ZoneInfo(name)
    return name


def _dashboard_id(kind: str) -> Any:
    """Accept a number or the dashboard address it stands in
    (…/settings/locations/123/entrances/456).
    """

    def read(value: object) -> object:
        if isinstance(value, str) and (found := re.search(rf"/{kind}/(\d+)", value)):
            return int(found.group(1))
        return value

    return read


@dataclass(frozen=True)
class Unit:
    """What a number counts, where the last word of its key does not say it. The documentation shows
    it; nothing is computed by it.
    """

    name: str


Events = Annotated[int, Unit("events")]
People = Annotated[int, Unit("people")]
Zone = Annotated[str, AfterValidator(_known_zone)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
DashboardId = Annotated[int, Field(ge=0, lt=2**63)]
GuardName = Annotated[
    str,
    Field(pattern=r"^\w[\w \-]{0,59}$", description="words, as reports and `approve` tell them"),
]
Title = Annotated[str, Field(min_length=1, max_length=255)]


class Section(BaseModel):
    """A table of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class EssentryConfig(Section):
    """`[essentry]`: where and how to send."""

    base_url: str = Field(
        "https://app.essentry.com/api/v2",
        description="API address; plain http only for this machine",
    )
    token_env: str = Field(
        "ESSENTRY_TOKEN", description="environment variable with the integration token"
    )
    agent_token_env: str = Field(
        "ESSENTRY_AGENT_TOKEN", description="environment variable with the agent token (a UUID)"
    )
    token_block: str | None = Field(
        None, description="Prefect Secret block with the integration token, instead of token_env"
    )
    agent_token_block: str | None = Field(
        None, description="Prefect Secret block with the agent token"
    )
    batch_events: int = Field(100, ge=1, le=1_000_000, description="most events in one request")
    batch_bytes: int = Field(
        1_000_000, ge=1_000, le=10**10, description="most bytes in one request"
    )
    concurrency: Annotated[int, Unit("requests")] = Field(
        4, ge=1, le=64, description="requests under way at once"
    )
    timeout_seconds: float = Field(30, gt=0, le=MOST_SECONDS, description="time for one request")
    retry_budget_seconds: float = Field(
        300, ge=0, le=MOST_SECONDS, description="time for one batch with all its retries"
    )
    max_rejected_batches: int = Field(
        5, ge=1, description="stop after so many batches rejected whole: the fault is ours"
    )
    guest_list: Literal["additive", "authoritative"] = Field(
        "additive",
        description=(
            "additive: changes only, what reception did by hand stays; authoritative: "
            "our list is the whole list"
        ),
    )
    send_updated_at: bool = Field(
        False, description="send updatedAt; what essentry does with an old one is not documented"
    )
    payload: Literal["full", "partial"] = Field(
        "full", description="full: all fields of a changed event; partial: only the changed ones"
    )
    clearing: Literal["unproven", "empty", "null"] = Field(
        "unproven",
        description=(
            "how a value is taken away, which essentry does not document: unproven: sent empty, "
            "and named as what may still stand; empty, null: that an empty value, or null, "
            "takes it away was tried at your essentry"
        ),
    )
    invitation_ids: Literal["per-event", "shared", "sealed"] = Field(
        "per-event",
        description="per-event: an invitation for each event; shared: one contact for all of them; "
        "sealed: as per-event, and new ones end in a seal that nobody can guess",
    )
    invitation_secret_env: str | None = Field(
        None,
        description=(
            "environment variable with the secret of the seals; without one they rest on the salt "
            "of the state"
        ),
    )
    on_reappear: Literal["hold", "send"] = Field(
        "hold",
        description=(
            "an event that comes back after it was deleted in essentry; hold: it is reported, "
            "and not sent; send: it is sent again"
        ),
    )
    on_reappear_ours: Literal["recreate", "hold"] = Field(
        "recreate",
        description=(
            "an event that comes back after it was deleted here as cancelled, guestless or merged; "
            "recreate: it is made anew; hold: it is reported, and not sent"
        ),
    )
    cancel_under_way: bool = Field(
        False,
        description=(
            "whether guests are cancelled while their visit is under way; otherwise that is held, "
            "told, and ends with the visit"
        ),
    )
    delete_done_codes: list[str] = Field(
        default_factory=lambda: ["ERROR_EVENT_NOT_FOUND", "ERROR_NOT_FOUND", "ERROR_EVENT_DELETED"],
        description="answers to a delete that mean it is done already",
    )

    @field_validator("base_url")
    @classmethod
    def _safe_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http(s) address such as https://app.essentry.com/api/v2")
        if parts.username or parts.password:
            raise ValueError("must not hold a user or password")
        if parts.scheme == "http" and not is_loopback(value):
            raise ValueError("plain http is allowed for this machine only; use https")
        return value.rstrip("/")


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


class SiteConfig(Section):
    """A site or room of the source: the essentry location and entrance it stands for.

    `"ignore"` in its place leaves its events out on purpose: `location_id` is None then.
    """

    location_id: DashboardId | None = Field(
        description="essentry location, a number or its dashboard address"
    )
    entrance_id: DashboardId | None = Field(
        None, description="essentry entrance, a number or its dashboard address"
    )
    timezone: Zone | None = Field(None, description="zone of wall-clock times of this site")
    # no part of what is sent, so no part of the policy that a dump of this table is
    name: str | None = Field(
        None, exclude=True, description="what reports call this location; of a room: its entrance"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_address(cls, value: object) -> object:
        if value == "ignore":
            return {"location_id": None}
        if isinstance(value, str):
            raise ValueError(
                'must be a table with a location_id, or "ignore" for what is not for visitors'
            )
        if isinstance(value, dict):
            if value.get("location_id", 0) is None:
                raise ValueError('needs a location_id, or "ignore" in place of the table')
            value = dict(value)
            address = value.get("location_id")
            if "entrance_id" not in value and isinstance(address, str) and "/entrances/" in address:
                value["entrance_id"] = address
            for key, kind in (("location_id", "locations"), ("entrance_id", "entrances")):
                if key in value:
                    value[key] = _dashboard_id(kind)(value[key])
        return value


class SourceConfig(Section):
    """`[sources.<name>]`: one database to read."""

    url: str | None = Field(None, description="SQLAlchemy URL of the database")
    url_env: str | None = Field(
        None, description="environment variable with the URL (for URLs with a password)"
    )
    url_block: str | None = Field(
        None, description="Prefect SQLAlchemy Connector or Secret block with the URL"
    )
    preset: Literal["librebooking", "mrbs", "orangehrm", "frappe_hrms", "odoo"] | None = Field(
        None,
        description="the shipped SELECTs for that system, instead of events_sql and guests_sql",
    )
    events_sql: Path | None = Field(
        None, description="file with the SELECT of events, instead of a preset's"
    )
    guests_sql: Path | None = Field(
        None, description="file with the SELECT of guests, instead of a preset's"
    )
    params: dict[str, str | int | None] = Field(
        default_factory=dict, description="values for :named parameters of the SELECTs"
    )
    times: Literal["utc", "epoch", "local"] | None = Field(
        None,
        description=(
            "what the SELECT's times are: instants in UTC, seconds since 1970, "
            "or wall-clock times of a zone; compulsory without a preset, which knows its own"
        ),
    )
    timezone: Zone | None = Field(
        None,
        description=(
            "zone of wall-clock times in rows whose room, site and `timezone` column name none"
        ),
    )
    default_duration_minutes: int = Field(
        60, ge=1, le=1440 * MOST_DAYS, description="length of an event without an end"
    )
    unescape: Literal["html", "none"] | None = Field(
        None,
        description=(
            "html: names, titles and addresses are stored as HTML (`&#039;` for an apostrophe); "
            "a preset knows its own"
        ),
    )
    guests: Literal["external", "all"] = Field(
        "external", description="external: employees are no guests; all: everybody is invited"
    )
    internal_domains: list[str] = Field(
        default_factory=list, description="e-mail domains of employees"
    )
    internal_subdomains: bool = Field(
        False,
        description="employees also have addresses below internal_domains, as @mail.corp.example",
    )
    exclude_guests: list[str] = Field(
        default_factory=list,
        description=(
            "addresses that are never guests, as rooms that are invited: *@resource.example; "
            "* and ? stand for any"
        ),
    )
    events_without_guests: Literal["skip", "send"] = Field(
        "skip",
        description=(
            "meetings without an outside guest; skip: they are no events of essentry; send: "
            "events without guests"
        ),
    )
    pending: Literal["hold", "send"] = Field(
        "hold",
        description=(
            "bookings that wait for approval in the source; hold: nothing is sent of them, "
            "and what was sent stays; send: they count as confirmed"
        ),
    )
    untitled: Title = Field("Meeting", description="name of an event without a title")
    private_title: Title = Field("Private meeting", description="name of an event marked private")
    on_failure: Literal["stop", "others"] | None = Field(
        None, description="overrides on_source_failure for this source"
    )
    sites: dict[str, SiteConfig] = Field(
        default_factory=dict,
        description='site_key → its place in essentry, or "ignore": not for visitors',
    )
    rooms: dict[str, SiteConfig] = Field(
        default_factory=dict,
        description='room_key → its place in essentry, or "ignore"; tried before `sites`',
    )
    custom_fields: dict[str, DashboardId] = Field(
        default_factory=dict, description="column custom_<name> → essentry custom field id"
    )
    id_prefix: str | None = Field(
        None,
        description=(
            "first part of the ids instead of the name: after `rename`, the source's first name"
        ),
    )
    _found: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def found(self) -> dict[str, str]:
        """Digests of what `url`, `events_sql` and `guests_sql` lead to; of a source of a run at
        work.
        """
        return self._found

    def with_found(self, found: dict[str, str]) -> SourceConfig:
        """The same source with those digests."""
        same = self.model_copy()
        same._found = dict(found)
        return same

    @field_validator("internal_domains")
    @classmethod
    def _lower(cls, value: list[str]) -> list[str]:
        return [domain.strip().lower().lstrip("@") for domain in value]

    @field_validator("exclude_guests")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            if "@" not in pattern or not pattern.strip("*?@ "):
                raise ValueError(
                    f"{pattern!r} matches no address or all of them: write the @, "
                    "as in *@resource.example"
                )
        return [pattern.strip().lower() for pattern in value]

    @field_validator("custom_fields", mode="before")
    @classmethod
    def _field_ids(cls, value: object) -> object:
        return (
            {k: _dashboard_id("custom-fields")(v) for k, v in value.items()}
            if isinstance(value, dict)
            else value
        )

    @model_validator(mode="after")
    def _one_of(self) -> SourceConfig:
        if sum(x is not None for x in (self.url, self.url_env, self.url_block)) != 1:
            raise ValueError("needs exactly one of url, url_env and url_block")
        if (self.preset is None) == (self.events_sql is None and self.guests_sql is None):
            raise ValueError("needs either preset or both events_sql and guests_sql")
        if self.preset is None and (self.events_sql is None or self.guests_sql is None):
            raise ValueError("needs both events_sql and guests_sql")
        if self.preset is None and self.times is None:
            raise ValueError("needs times: utc, epoch or local")
        return self


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


class ScopedLimit(Section):
    """A limit by scope; a scope left out has the default of that guard."""

    run: float | None = Field(None, ge=0, description="of the whole run")
    source: float | None = Field(None, ge=0, description="of each source by itself")
    location: float | None = Field(None, ge=0, description="of each essentry location by itself")


class PeopleLimit(Section):
    """A limit on people mailed, by what the mail says; `total` counts each person once and has its
    default when left out.
    """

    total: People | None = Field(None, ge=0, description="people mailed at all, each counted once")
    invited: People | None = Field(
        None,
        ge=0,
        description="people who are invited; without it this kind has no limit of its own",
    )
    updated: People | None = Field(
        None, ge=0, description="people who are told of a change; likewise"
    )
    cancelled: People | None = Field(
        None, ge=0, description="people whose visit is called off; likewise"
    )


class GuardsConfig(Section):
    """`[guards]`: how much a run may do without asking. 0 means none at all."""

    max_deletes: Annotated[Count | ScopedLimit, Unit("events")] = Field(
        default_factory=lambda: ScopedLimit(run=50, source=50, location=25),
        description="cancellations of upcoming events; a plain number is of every scope",
    )
    max_delete_share: Share | ScopedLimit = Field(
        default_factory=lambda: ScopedLimit(run=0.1, source=0.1, location=0.25),
        description=(
            "cancellations as a share of that scope's upcoming events, from min_count of them on"
        ),
    )
    max_guest_removals: People = Field(
        100, ge=0, description="guests removed from meetings that stay"
    )
    max_new_invitations: int = Field(500, ge=0, description="new invitations")
    max_people_mailed: Annotated[Count | PeopleLimit, Unit("people")] = Field(
        default_factory=lambda: PeopleLimit(total=1000),
        description="people mailed; a plain number is the total",
    )
    max_mails_per_guest: Annotated[int, Unit("mails")] = Field(
        10, ge=0, description="mails to one guest"
    )
    max_quarantine_share: Share = Field(
        0.2,
        description=(
            "quarantined rows of a SELECT; over it the source deletes nothing and the run stops"
        ),
    )
    max_shrink_share: Share = Field(
        0.3,
        description=(
            "rows of meetings to come, or outside guests a meeting, lost since the last good read; "
            "over it the source deletes nothing and the run stops"
        ),
    )
    max_update_share: Share | ScopedLimit = Field(
        default_factory=lambda: ScopedLimit(run=0.5, source=0.5, location=0.75),
        description="upcoming events whose guests are mailed a change, from min_count of them on",
    )
    max_churn: Annotated[int, Unit("events or guests")] = Field(
        0,
        ge=0,
        description=(
            "created events with the content of deleted or held ones, and guests under another "
            "invitation id: ids have changed"
        ),
    )
    max_outside_hosts: Events = Field(
        0,
        ge=0,
        description=(
            "events of hosts outside internal_domains, of domains that never had one before"
        ),
    )
    max_host_domain_guests: People = Field(
        5, ge=0, description="people invited who are of a host's domain; not with guests = all"
    )
    max_new_domain_guests: People = Field(
        50,
        ge=0,
        description="people invited of one domain of which hardly anybody was invited before",
    )
    max_full_resend: People = Field(
        0, ge=0, description="people a --full run may mail without approval"
    )
    min_count: Annotated[int, Unit("deletes, updates or rows")] = Field(
        5, ge=0, description="a share below so many does not fire, unless its limit is 0"
    )
    limit_hours: float = Field(
        24,
        gt=0,
        description=(
            "limits count what was sent without a person's word in so many hours before, too"
        ),
    )
    delete_after_runs: int = Field(
        1, ge=1, description="complete runs in which an event must be absent before it is deleted"
    )
    approve_first_run: bool = Field(
        True, description="an empty state asks once before it invites everybody"
    )
    approve_policy_change: bool = Field(
        True, description="changed settings that decide who is mailed, or what, ask once"
    )
    on_trip: Literal["stop", "hold-deletes"] = Field(
        "stop",
        description=(
            "stop: nothing is sent; hold-deletes: when holding the deletes back answers every "
            "guard, the rest goes and they wait"
        ),
    )
    plan_max_age_hours: float = Field(
        24, gt=0, le=24 * MOST_DAYS, description="an older plan is refused, and an approval ends"
    )
    approval_wait_minutes: float = Field(
        0,
        ge=0,
        le=MOST_SECONDS / 60,
        description=(
            "how long a run waits for the approval of its plan, in its own process; 0: it ends"
        ),
    )
    clock_tolerance_minutes: float = Field(
        10,
        ge=0,
        le=1440,
        description="told from here on: this machine's clock against essentry's and the databases'",
    )
    max_clock_minutes: float = Field(
        60, gt=0, le=1440, description="so far apart, nothing is planned, expired or sent"
    )
    sql: dict[GuardName, str] = Field(
        default_factory=dict,
        description=(
            "guards of one's own: name → a SELECT over the views `plan` and `mails`; "
            "a row that it returns trips"
        ),
    )
    sql_seconds: float = Field(
        30, gt=0, le=3600, description="time for one SELECT of `sql`; over it the guard trips"
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


class PilotConfig(Section):
    """`[pilot]`: send a part only; what it leaves out is counted, not lost. Empty lists mean
    everything.
    """

    paused: bool = Field(False, description="kill switch: plan and report, send nothing")
    sources: list[str] = Field(
        default_factory=list, description="send only events of these sources"
    )
    sites: list[str] = Field(
        default_factory=list,
        description="send only events of these keys of `sites`, whichever source has them",
    )
    recipient_domains: list[str] = Field(
        default_factory=list, description="send events whose guests all are of these domains"
    )

    @field_validator("recipient_domains")
    @classmethod
    def _lower(cls, value: list[str]) -> list[str]:
        return [domain.strip().lower().lstrip("@") for domain in value]


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


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises ConfigurationError, naming the key and the remedy, for a missing file, broken TOML,
    unknown keys and wrong values.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"no configuration at {path}: write one with `essentry-sync init`, "
            "or name yours with --config"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    if inner := {"root", "file"} & set(values):
        raise ConfigurationError(
            f"{path}: unknown key {min(inner)}: remove it; paths start from the folder of this file"
        )
    try:
        config = Config(**values, root=path.resolve().parent, file=path.resolve())
    except ValidationError as error:
        raise ConfigurationError(
            f"{path}: " + "; ".join(_explain(item) for item in error.errors())
        ) from None
    except SettingsError as error:
        raise ConfigurationError(
            f"the environment: {error}: lists and tables are written as JSON, for example '[\"1\"]'"
        ) from None
    check_environment(config, os.environ)
    return config


def check_environment(config: Config, names: Iterable[str]) -> None:
    """Raise ConfigurationError for a variable of ours that sets nothing: a mistyped kill switch
    must not look like one.

    names: of the environment. A name that the configuration itself gives (`token_env`, `url_env` …)
    is no setting, and fine.
    """
    secrets = {config.essentry.token_env, config.essentry.agent_token_env, config.state.url_env}
    secrets |= {entry.url_env for entry in config.sources.values()}
    known = [PREFIX + name for name in (*_list_settings(Config), *OTHER_VARIABLES)]
    of_sources = [
        f"{PREFIX}SOURCES__{source.upper()}__{name}"
        for source in config.sources
        for name in _list_settings(SourceConfig)
    ]
    for name in sorted(names):
        rest = name[len(PREFIX) :]
        if name in secrets or name[: len(PREFIX)].upper() != PREFIX or _OF_KUBERNETES.match(rest):
            continue
        if rest in OTHER_VARIABLES or _sets_something(Config, rest.lower().split("__")):
            continue
        # the table left out
        of_that_name = [full for full in known if full.endswith(f"__{rest.upper()}")]
        near = of_that_name or get_close_matches(name.upper(), known + of_sources, n=1, cutoff=0.5)
        hint = (
            f"do you mean {near[0]}?"
            if near
            else f"settings are {PREFIX}<SECTION>__<KEY>, as {PREFIX}PILOT__PAUSED."
        )
        raise ConfigurationError(
            f"the environment variable {name} is no setting: {hint} Correct its name, or unset it"
        )


def _sets_something(kind: Any, parts: Sequence[str]) -> bool:
    """Whether the rest of a variable's name, cut at its double underscores, leads to a value of
    this type.
    """
    if not parts:
        return True
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        entry = kind.model_fields.get(parts[0])
        return (
            entry is not None
            and not (kind is Config and parts[0] in ("root", "file"))
            and _sets_something(entry.annotation, parts[1:])
        )
    if get_origin(kind) is dict:
        return _sets_something(get_args(kind)[1], parts[1:])
    return get_origin(kind) is not Literal and any(
        _sets_something(inner, parts) for inner in get_args(kind) if inner is not kind
    )


def _list_settings(model: type[BaseModel]) -> Iterator[str]:
    """The keys of a table as the environment names them, those of its tables with them."""
    for name, entry in model.model_fields.items():
        if model is not Config or name not in ("root", "file"):
            yield name.upper()
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, Section):
            yield from (f"{name.upper()}__{inner}" for inner in _list_settings(entry.annotation))


def reload_config(config: Config) -> Config:
    """The configuration as its file and the environment say now; one that was not read from a file
    as it is.
    """
    if config.file is None:
        return config
    again = load_config(config.file)
    again.spell_by(config.spell)
    return again


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "the file"
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}: remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{key} is missing"
    message = item["msg"].removeprefix("Value error, ")
    secret = any(word in key for word in ("url", "token"))
    shown = (
        "" if secret or isinstance(item.get("input"), dict) else f" (it is {item.get('input')!r})"
    )
    return f"{key}: {message}{shown}"


def read_secret(variable: str, *, purpose: str) -> str:
    """The value of an environment variable; raises ConfigurationError naming the variable when it
    is not set.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(
            f"the environment variable {variable} is not set: it must hold {purpose}"
        )
    return value
