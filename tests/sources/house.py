"""One system's own tables and whole nights over them: rows in, mails out."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Engine

from flows.night.session import Result
from flows.sandbox.server import SandboxServer
from schemas.config import Config
from tests.flows.test_night import WIDE, sync
from tests.sources.databases import insert_rows
from tests.sources.truth import Tables

NOW = datetime.now(UTC).replace(microsecond=0)
START = (NOW + timedelta(days=30)).replace(hour=9, minute=0, second=0)


class House:
    """`tables`: what the system's database holds; `settings`: of its source; `guards`: wide at
    first; `new_mails` since they were asked for last.
    """

    def __init__(
        self,
        module: ModuleType,
        engine: Engine,
        folder: Path,
        sandbox: SandboxServer,
        **settings: Any,
    ) -> None:
        self.module, self.engine, self.folder, self.sandbox = module, engine, folder, sandbox
        self.settings = {
            **module.CONFIG,
            "url": engine.url.render_as_string(hide_password=False),
            **settings,
        }
        self.tables: Tables = {name: [] for name in module.TABLES}
        self.state = f"sqlite:///{folder}/{uuid.uuid4().hex}.sqlite"
        self.guards: dict[str, Any] = dict(WIDE)
        self._seen = len(sandbox.mails())

    def config(self) -> Config:
        return Config(
            root=self.folder,
            sources={"sys": self.settings},
            guards=self.guards,
            state={"url": self.state},
        )

    def night(self, *, at: datetime = NOW) -> Result:
        """Write the rows and run."""
        insert_rows(self.engine, self.tables)
        return sync(self.config(), at)

    def new_mails(self) -> list[tuple[str, str]]:
        """(kind, address)."""
        mails = self.sandbox.mails()
        new, self._seen = mails[self._seen :], len(mails)
        return sorted((mail["kind"], mail["email"]) for mail in new)

    def held(self) -> dict[str, set[str]]:
        """Guests of each event in essentry, by address or name."""
        return {
            key.removeprefix("sys-"): {
                guest.get("email")
                or f"{guest.get('firstName', '')} {guest.get('lastName', '')}".strip()
                for guest in event["guests"].values()
            }
            for key, event in self.sandbox.state()["events"].items()
        }  # fmt: skip


def quarantined(result: Result) -> list[str]:
    """Keys of the events in quarantine."""
    return sorted(
        str(row["source_event_id"])
        for group in result.report["quarantined"]
        for row in group["samples"]
        if group["part"] == "events"
    )
