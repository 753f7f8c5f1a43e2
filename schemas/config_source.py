"""`[sources.<name>]` and its sites: a database to read, and which place of it is which there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from schemas.config_values import (
    MOST_DAYS,
    DashboardId,
    Section,
    Title,
    Zone,
    dashboard_id,
)

PRESETS = ("librebooking", "mrbs", "orangehrm", "frappe_hrms", "odoo")


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
                    value[key] = dashboard_id(kind)(value[key])
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
            {k: dashboard_id("custom-fields")(v) for k, v in value.items()}
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
