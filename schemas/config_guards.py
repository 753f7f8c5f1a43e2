"""`[guards]` and `[pilot]`: how much a run may do without asking, and of whom alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
)

from schemas.config_values import (
    MOST_DAYS,
    MOST_SECONDS,
    Count,
    Events,
    GuardName,
    People,
    Section,
    Share,
    Unit,
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
