"""The form of a run's report, `report.json`: what each field means, in which unit. `read_schema` is
its JSON Schema.

`version` names the form: under one version fields are added and never removed or given another
meaning. Instants are ISO 8601 UTC, days are days of the report's zone, durations seconds. What a
run that ended before there was a plan leaves is `FailedReport`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

REPORT_VERSION = 1
MAX_LISTED = 40_000
"""Most changes that report.json and report.html list one by one; changes.csv and changes.parquet
hold all.
"""

Status = Literal["done", "idle", "incomplete", "plan", "stopped", "failed"]
_STRICT = ConfigDict(extra="forbid")


@with_config(_STRICT)
class RunFacts(TypedDict):
    """Which run."""

    run_id: str
    kind: Annotated[
        str,
        Field(
            description=(
                "sync, plan, apply, or part: some events alone; what a person or a schedule started"
            )
        ),
    ]
    as_of: Annotated[str, Field(description="the clock it worked by")]
    started_at: str
    exit_code: NotRequired[int]


@with_config(_STRICT)
class PlanFacts(TypedDict):
    """Which plan, and how it is released when it waits."""

    plan_id: str
    digest: Annotated[
        str, Field(description="SHA-256 over what is sent, on the ground of what, in which order")
    ]
    changes: int
    full: bool
    approval: Annotated[
        dict[str, str] | None,
        Field(description="by, reason, at, plan_id: who released it, if a guard had stopped it"),
    ]
    waiting: Annotated[int, Field(description="changes that are not sent yet, and may be")]
    commands: Annotated[
        list[str], Field(description="what sends it, in order; empty when it does not wait")
    ]


@with_config(_STRICT)
class People(TypedDict):
    """Distinct people by what the mail says. `mails` counts each mail."""

    invited: int
    updated: int
    cancelled: int
    total: int
    mails: int


@with_config(_STRICT)
class Problem(TypedDict):
    """An event that essentry rejected, or of which it is not known whether the request was
    applied.
    """

    source_id: str
    name: str | None
    starts_at: str | None
    action: str
    state: str
    code: str | None
    message: str | None
    tries: Annotated[int | None, Field(description="how often essentry rejected it")]
    next_at: Annotated[
        str | None, Field(description="when it is tried again though nothing changed")
    ]
    meaning: str
    remedy: str


@with_config(_STRICT)
class ProblemGroup(TypedDict):
    """Problems with one code."""

    code: str | None
    state: str
    events: int
    meaning: str
    remedy: str


@with_config(_STRICT)
class Rejects(TypedDict):
    """Quarantined rows of one source, SELECT and reason. `remedy` is "reason: what to do"; up to
    five `samples`, masked.
    """

    source: str
    part: Annotated[str, Field(description="events or guests: which SELECT")]
    check: str
    remedy: str
    rows: int
    samples: list[dict[str, str | None]]


@with_config(ConfigDict(extra="allow"))
class Guard(TypedDict):
    """A guard that tripped: `number` is over `limit` in `scope`."""

    guard: str
    scope: str
    number: float
    limit: float
    message: str
    about_deletes: bool
    causes: list[str]


@with_config(_STRICT)
class Balance(TypedDict):
    """Where every row went. Both sums hold, or a row was lost."""

    rows_read: int
    rows: dict[str, int]
    rows_balanced: bool
    snapshot_before: int
    snapshot: dict[str, int]
    snapshot_balanced: bool


@with_config(_STRICT)
class Load(TypedDict):
    """What the sending took."""

    requests: int
    retries: int
    counts: dict[str, int]


@with_config(_STRICT)
class Usual(TypedDict):
    """One number of this run against the earlier ones: `unusual` lies outside of what most of them
    had.
    """

    measure: str
    value: float
    median: float
    low: float
    high: float
    unusual: bool


@with_config(_STRICT)
class PastRun(TypedDict):
    """A run before this one, or this one. Numbers that an older form did not keep are null."""

    run_id: str
    kind: str
    started_at: str
    status: str
    changes: int | None
    create: int | None
    update: int | None
    delete: int | None
    people: int | None
    quarantined: int | None
    rejected: int | None
    seconds: float | None


@with_config(_STRICT)
class DayVisits(TypedDict):
    """What essentry holds for a day."""

    day: str
    events: int
    guests: int


@with_config(_STRICT)
class Guest(TypedDict):
    """A guest as essentry gets it; names and addresses are shortened in a masked report."""

    sourceId: NotRequired[str]
    email: NotRequired[str]
    firstName: NotRequired[str]
    lastName: NotRequired[str]
    companyName: NotRequired[str]
    language: NotRequired[str]
    customFields: NotRequired[dict[str, Any]]
    accessProfiles: NotRequired[list[dict[str, Any]]]
    deletedAt: NotRequired[str]


@with_config(_STRICT)
class GuestChange(TypedDict):
    """A guest before and after."""

    before: Guest
    after: Guest


@with_config(_STRICT)
class FieldChange(TypedDict):
    """One of essentry's fields before and after; null: it had, or has, no value."""

    field: str
    before: Any
    after: Any


@with_config(_STRICT)
class Change(TypedDict):
    """One event: what was done about it, what became of that, and before and after."""

    source_id: str
    source: str
    source_key: NotRequired[
        Annotated[
            str | None,
            Field(
                description="the event's key as its source has it; null where it holds an address"
            ),
        ]
    ]
    location_id: int | None
    action: Annotated[str, Field(description="create, update, delete, expire")]
    reason: str | None
    state: Annotated[
        str, Field(description="planned, sending, confirmed, rejected, unknown, held, superseded")
    ]
    code: str | None
    message: str | None
    name: str | None
    starts_at: str | None
    ends_at: str | None
    guests: int | None
    what: Annotated[str, Field(description="the change in words, times in the report's zone")]
    fields: list[FieldChange]
    added: list[Guest]
    changed: list[GuestChange]
    removed: list[Guest]


@with_config(_STRICT)
class Uncleared(TypedDict):
    """A value that was taken away in the source and may still stand in essentry. invitation_id:
    null for the event's own.
    """

    source_id: str
    invitation_id: str | None
    field: str
    grave: bool
    meaning: str


@with_config(_STRICT)
class AuditFinding(TypedDict):
    """What essentry did not hold as it was confirmed, seen by so many audits in a row."""

    kind: Literal["missing event", "missing invitation", "different"]
    source_id: str
    invitation_id: Annotated[
        str | None, Field(description="of a missing invitation, or of the guest that differs")
    ]
    location_id: int
    starts_at: str
    differs: Annotated[str, Field(description="what differs, in words")]
    audits: int


@with_config(_STRICT)
class LastAudit(TypedDict):
    """The last audit before this run."""

    run_id: str
    at: str
    verdict: str
    findings_total: Annotated[int, Field(description="what it told: seen often enough")]
    findings: Annotated[list[AuditFinding], Field(description="the first 100")]
    unknown: Annotated[
        dict[str, int], Field(description="location id → invitations that are not ours")
    ]


@with_config(_STRICT)
class LocationAttendance(TypedDict):
    """Guests of a location on a day."""

    location_id: int
    expected: int
    arrived: int
    no_shows: Annotated[int, Field(description="of events that were over")]
    walk_ins: Annotated[int, Field(description="came without an invitation")]
    others: Annotated[int, Field(description="came by an invitation of no event here")]


@with_config(_STRICT)
class Attendance(TypedDict):
    """Who came on the day before this run, as far as check-ins were read back."""

    day: str
    read_until: Annotated[str, Field(description="up to here every location was read")]
    locations: list[LocationAttendance]


class Listing(TypedDict):
    """How many of the changes are listed one by one."""

    total: int
    listed: int
    left_out: Annotated[
        dict[str, int],
        Field(description="action → how many are only in changes.csv and changes.parquet"),
    ]


@with_config(_STRICT)
class Report(TypedDict):
    """A run's report."""

    version: Literal[1]
    run: RunFacts
    plan: PlanFacts
    status: Annotated[
        Status,
        Field(
            description=(
                "done: all sent; idle: nothing to do; incomplete: rejected or unknown events remain"
            )
        ),
    ]
    verdict: Annotated[str, Field(description="the outcome in words")]
    timezone: Annotated[str, Field(description="zone of days and of the words")]
    masked: Annotated[bool, Field(description="names and addresses of people are shortened")]
    places: Annotated[
        dict[str, str], Field(description="location id → name, where the configuration names it")
    ]
    counts: Annotated[
        dict[str, int], Field(description="events of sources and snapshot by what was decided")
    ]
    outcomes: Annotated[dict[str, int], Field(description="changes by what became of them")]
    by_source: dict[str, dict[str, int]]
    by_location: dict[str, dict[str, int]]
    by_day: Annotated[
        dict[str, dict[str, int]], Field(description="day of the visit → action → changes")
    ]
    deletes_by_reason: dict[str, int]
    held_by_reason: dict[str, int]
    people: Annotated[People, Field(description="who is mailed when all of the plan is sent")]
    people_mailed: Annotated[
        People, Field(description="who was mailed by what essentry confirmed in this run")
    ]
    quarantined: list[Rejects]
    problems: Annotated[list[Problem], Field(description="the first 500")]
    problems_total: int
    problem_groups: list[ProblemGroup]
    guards: list[Guard]
    balance: Balance
    notes: Annotated[
        dict[str, int], Field(description="what was put right on the way, and how often")
    ]
    uncleared: NotRequired[
        Annotated[
            list[Uncleared],
            Field(
                description=(
                    "what may still stand in essentry though the source has it no more; "
                    "the first 500"
                )
            ),
        ]
    ]
    uncleared_total: NotRequired[int]
    odd_times: Annotated[
        list[dict[str, str | None]],
        Field(description="rows whose clock time happened twice or not at all; the first 50"),
    ]
    failed_sources: dict[str, str]
    load: Load | None
    error: str | None
    seconds: dict[str, float]
    usual: list[Usual]
    history: Annotated[list[PastRun], Field(description="up to 30 runs, this one last")]
    visits: Annotated[list[DayVisits], Field(description="the coming 28 days")]
    listing: Listing
    kept_ids: NotRequired[
        Annotated[
            dict[str, str],
            Field(
                description=(
                    "id that an event's key makes → id that essentry has of it, of events that "
                    "came back under another key: an older copy of the state learns them here"
                )
            ),
        ]
    ]
    audit: NotRequired[LastAudit]
    attendance: NotRequired[Attendance]
    explained: NotRequired[
        Annotated[
            list[dict[str, str]],
            Field(
                description="printed by `sync --event --json` alone: an event, step by step; masked"
            ),
        ]
    ]
    along: NotRequired[
        Annotated[
            str,
            Field(description="beside it: which events came along, because they belong together"),
        ]
    ]
    changes: NotRequired[
        Annotated[
            list[Change], Field(description="in the file alone; `sync --json` prints the rest")
        ]
    ]


@with_config(_STRICT)
class FailedReport(TypedDict):
    """The report of a run that ended before there was a plan."""

    version: Literal[1]
    run: RunFacts
    status: Literal["failed"]
    verdict: str
    error: str
    seconds: dict[str, float]
    problems: Annotated[
        list[Problem], Field(description="what earlier runs left open; the first 500")
    ]
    problems_total: int
    problem_groups: list[ProblemGroup]
    load: None


_REPORT: TypeAdapter[Report | FailedReport] = TypeAdapter(Report | FailedReport)


def parse_report(text: bytes) -> Report | FailedReport:
    """A report.json, checked against its form. Raises pydantic's ValidationError."""
    return _REPORT.validate_json(text)


def read_schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "essentry-sync report",
        **_REPORT.json_schema(),
    }
