"""A test of a source's SELECTs: rows of the tables that they read, and the events and guests that
must come of them. One TOML file a test.

source = "rooms"
as_of = 2026-11-24T02:00:00Z

[tables]
bookings = [{ id = 1, title = "Audit", begins = 2026-12-01T09:00:00, room = 7 }]
visitors = [{ booking = 1, mail = "ada@out.example" }]

[[events]]
key = "1"
name = "Audit"
guests = ["ada@out.example"]
"""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigurationError

Value: TypeAlias = bool | int | float | str | datetime | date | time
Kind: TypeAlias = Literal["text", "integer", "number", "flag", "instant", "date", "time"]
Disposition: TypeAlias = Literal[
    "due", "cancelled", "quarantined", "pending", "past", "beyond_window", "guestless", "merged"
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpectedGuest(_Table):
    """A guest of an event; what is left out is not compared. Found by the address, or by the names
    where there is none.
    """

    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    company_name: str | None = None
    language: str | None = None

    @model_validator(mode="after")
    def _has_a_name(self) -> ExpectedGuest:
        if not self.label:
            raise ValueError("a guest has an email, or a name")
        return self

    @property
    def label(self) -> str:
        """What finds the guest: the address in lower case, else the names."""
        return (self.email or "").lower() or " ".join(
            part for part in (self.first_name, self.last_name) if part
        )


class ExpectedEvent(_Table):
    """An event of the SELECT: what becomes of it, and of one that is due what is sent. What is left
    out is not compared, but for the guests.
    """

    key: str = Field(description="its source_event_id")
    becomes: Disposition = "due"
    check_: str | None = Field(
        None, alias="check", description="of a quarantined one: the check that failed"
    )
    guests: list[str | ExpectedGuest] | None = None
    name: str | None = None
    description: str | None = None
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None
    location_id: int | None = None
    entrance_id: int | None = None
    host_email: str | None = None

    @model_validator(mode="after")
    def _guests_of_due_events(self) -> ExpectedEvent:
        if (self.becomes == "due") != (self.guests is not None):
            raise ValueError("an event that is due has guests = [...], and only such a one")
        return self

    def list_guests(self) -> list[ExpectedGuest]:
        """The guests; a plain text is an address, or a name."""
        return [
            guest
            if isinstance(guest, ExpectedGuest)
            else ExpectedGuest(email=guest)
            if "@" in guest
            else _read_name(guest)
            for guest in self.guests or []
        ]


def _read_name(text: str) -> ExpectedGuest:
    first, _, last = text.rpartition(" ")
    return ExpectedGuest(first_name=first or None, last_name=last)


class SelectTest(_Table):
    """One file. `columns`: table → column → what it holds, of those that no row has, and of a table
    without rows.
    """

    source: str
    as_of: AwareDatetime = Field(
        description="the clock: what is past, and what lies beyond the window"
    )
    tables: dict[str, list[dict[str, Value]]] = Field(min_length=1)
    columns: dict[str, dict[str, Kind]] = Field(default_factory=dict)
    events: list[ExpectedEvent]
    rejected_guests: int = Field(0, ge=0, description="guest rows that are set aside")

    @model_validator(mode="after")
    def _names(self) -> SelectTest:
        for table in self.columns:
            if table not in self.tables:
                raise ValueError(
                    f"[columns] names {table!r}, which [tables] does not: write {table} = [] there"
                )
        for table, rows in self.tables.items():
            if not rows and not self.columns.get(table):
                raise ValueError(
                    f"the table {table!r} has no row: name its columns, "
                    f'[columns] {table} = {{ id = "integer" }}'
                )
        keys = [event.key for event in self.events]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"[[events]] names the key {twice!r} twice")
        return self

    def list_columns(self, table: str) -> list[str]:
        """The columns of a table, as they are first named."""
        return list(
            dict.fromkeys(
                [
                    *self.columns.get(table, []),
                    *(name for row in self.tables[table] for name in row),
                ]
            )
        )


def load_select_test(path: Path) -> SelectTest:
    """Read a test. Raises ConfigurationError, naming the key and the remedy."""
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return SelectTest(**values)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"cannot read the test {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    except (ValidationError, TypeError) as error:
        raise ConfigurationError(f"{path}: {_explain(error)}") from None


def _explain(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return f"{error}: write names as keys"
    errors = error.errors()
    # a guest may be a text or a table
    first = next((each for each in errors if each["type"] != "string_type"), errors[0])
    key = ".".join(
        str(part) for part in first["loc"] if part != "str" and "ExpectedGuest" not in str(part)
    )
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}: remove it or correct its spelling"
    if first["type"] == "missing":
        return f"{key} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
