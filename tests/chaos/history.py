"""One history: a company over some nights with faults in between, and what must hold after every
night and at the end.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.night.session import open_state
from flows.sandbox.server import SandboxServer
from flows.state.store import State
from schemas.load_config import load_config
from tests.chaos.company import COLUMNS, Company, Meeting
from tests.chaos.night import STEPS, approve_latest, kill_night, let_lease_run_out, run_night
from tests.chaos.turns import take_turn
from tests.sources.databases import database

CONFIG = """
on_source_failure = "{on_source_failure}"
[essentry]
base_url = "{base_url}"
batch_events = {batch_events}
timeout_seconds = 0.25
retry_budget_seconds = {budget}
concurrency = {concurrency}
max_rejected_batches = 50
guest_list = "{guest_list}"
payload = "{payload}"
invitation_ids = "{invitation_ids}"
on_reappear = "send"
[state]
url = "{state}"
[sources.rooms]
url = "sqlite:///rooms.sqlite"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "utc"
[sources.rooms.sites]
"1" = {{ location_id = 11 }}
"2" = {{ location_id = 12 }}
[sources.hr]
url = "sqlite:///hr.sqlite"
events_sql = "events.sql"
guests_sql = "guests.sql"
times = "utc"
[sources.hr.sites]
"1" = {{ location_id = 11 }}
"2" = {{ location_id = 12 }}
[guards]
approve_first_run = false
max_deletes = 1000
max_delete_share = 1.0
max_guest_removals = 1000
max_new_invitations = 1000
max_people_mailed = 1000
max_mails_per_guest = 1000
max_quarantine_share = 1.0
max_shrink_share = 0.99
max_churn = 1000
[report]
directory = "runs"
{scale}"""
DIVIDED = '[scale]\npartitions = 3\nfolder = "parts"\n'
FAULTS: dict[str, dict] = {
    "429": {"kind": "status", "status": 429},
    "429 Retry-After": {"kind": "status", "status": 429, "retry_after": 0.05},
    "500": {"kind": "status", "status": 500},
    "500 all night": {"kind": "status", "status": 500, "times": 200},
    "timeout before": {"kind": "hang_before", "seconds": 0.4},
    "timeout after": {"kind": "hang_after", "seconds": 0.4},
    "dropped before": {"kind": "drop_before"},
    "dropped after": {"kind": "drop_after"},
    "no answer all night": {"kind": "drop_after", "times": 200},
    "partial statuses": {"kind": "partial_statuses", "times": 2},
    "shuffled statuses": {"kind": "shuffle", "times": 3},
    "event rejected": {"kind": "reject_event", "code": "ERROR_USER_CANNOT_HOST_AT_LOCATION"},
    "event rejected again": {"kind": "reject_event", "code": "ERROR_GUEST_INVALID", "times": 3},
    "request 400": {"kind": "reject_request", "status": 400},
    "200 garbage, not applied": {"kind": "garbage"},
    "200 garbage, applied": {"kind": "garbage", "apply": True},
}
CONDITIONS = ["normal"] * 30 + ["no events", "no guests", "no answer"]
ENDS = {
    0: "done",
    2: "stopped by the state or settings",
    3: "rejected or unknown left",
    4: "stopped by a guard",
    5: "source failed",
}
ENDS |= {6: "essentry did not answer", -9: "killed"}


class Broken(AssertionError):
    """A history that did not hold."""


def expect(holds: object, words: str) -> None:
    """Raise Broken with the words unless it holds."""
    if not holds:
        raise Broken(words)


class History:
    """A company, its configuration, and the nights it lives through."""

    def __init__(
        self,
        seed: int,
        folder: Path,
        sandbox: SandboxServer,
        *,
        state: str = "sqlite:///state.sqlite",
        kills: bool = False,
    ) -> None:
        self.seed, self.folder, self.sandbox, self.kills = seed, folder, sandbox, kills
        self.rng = random.Random(seed)
        self.company = Company(
            self.rng, datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        )  # a seed repeats at any hour
        self.seen: Counter[str] = Counter()
        self.may_ask = False
        """Whether a setting was changed and changed back, which may be asked about whenever it
        shows.
        """
        self.healed: set[str] = set()
        """Events that an audit had sent again."""
        self.config = folder / "essentry-sync.toml"
        pick = self.rng.choice
        self.settings = {
            "on_source_failure": pick(["stop", "others"]),
            "base_url": sandbox.base_url,
            "batch_events": pick([2, 4, 4, 50]),
            "concurrency": pick([1, 1, 2]),
            "budget": pick([0.3, 0.6]),
            "guest_list": pick(["additive", "additive", "authoritative"]),
            "payload": pick(["full", "partial"]),
            "invitation_ids": pick(["per-event", "per-event", "shared"]),
            "state": state,
        }
        # drawn apart, so that what else a seed does stays as it was
        divided = (
            self.settings["invitation_ids"] == "per-event"
            and random.Random(f"divided {seed}").random() < 0.3
        )
        self.settings["scale"] = DIVIDED if divided else ""
        self.config.write_text(CONFIG.format(**self.settings), encoding="utf-8")
        (folder / "events.sql").write_text(f"SELECT {COLUMNS} FROM events", encoding="utf-8")
        (folder / "guests.sql").write_text("SELECT * FROM guests", encoding="utf-8")

    @property
    def per_event(self) -> bool:
        """Whether each event has invitation ids of its own."""
        return bool(self.settings["invitation_ids"] == "per-event")

    # -- nights ------------------------------------------------------------------------------------

    def live(self) -> None:
        """All nights, the clean one at the end; Broken when something does not hold."""
        self.company.grow(self.rng.randint(3, 9))
        for day in range(self.rng.randint(2, 4)):
            self.company.change(self.rng.randint(4, 12))
            conditions = {source: self.rng.choice(CONDITIONS) for source in ("rooms", "hr")}
            self.company.write(self.folder, conditions)
            self.seen.update(f"source: {c}" for c in conditions.values() if c != "normal")
            self.add_faults()
            code = self._night(day)
            self.sandbox.clear_faults()
            self.seen[f"night: {ENDS[code]}"] += 1
            self.check_all()
            if code != -9:
                self._check_report(code, conditions, self.company.now + timedelta(days=day))
            take_turn(self, day)
        self.company.mend()
        self.company.write(self.folder, {})
        as_of = self.company.now + timedelta(days=20)
        code = run_night(self.config, as_of)
        if code == 4 and self.may_ask:
            code = approve_latest(self.config, as_of)
        # an event that moved beyond the window with its outcome unknown stays so, and is told
        unclear = self.company.unclear(as_of)
        told = (
            {problem["source_id"] for problem in self.report()["problems"]} if code == 3 else set()
        )
        clean = code == 0 or (
            code == 3 and {self.company.family(source_id) for source_id in told} <= unclear
        )
        expect(clean, f"the clean run ended with {code}: {self.report()['verdict']}")
        self.check_all()
        self._check_end(as_of)
        self.seen.update({f"company: {kind}": count for kind, count in self.company.done.items()})

    def _night(self, day: int) -> int:
        as_of, seed = self.company.now + timedelta(days=day), f"{self.seed}-{day}"
        # drawn apart, as above
        way = random.Random(f"way {seed}").choice(["sync", "sync", "apply"])
        self.seen[f"night: by {way}"] += 1
        with self._restarted():
            if not (self.kills and self.rng.random() < 0.7):
                return run_night(self.config, as_of, seed=seed, way=way)
            when, step = self.rng.choice(["before", "after"]), self.rng.choice(sorted(STEPS))
            nth = self.rng.randint(1, 25 if step == "commit" else 4)
            code = kill_night(self.config, as_of, f"{when} {step}", nth, seed=seed, way=way)
            if code == -9:
                self.seen["fault: SIGKILL"] += 1
                let_lease_run_out(self.config)
            return code

    @contextmanager
    def _restarted(self) -> Iterator[None]:
        """Sometimes essentry restarts in the middle of the night; what it had answered is in its
        file.
        """
        if self.rng.random() >= 0.08:
            yield
            return
        self.seen["fault: sandbox restart"] += 1
        after = self.sandbox.requests()["puts"] + self.rng.randint(1, 3)
        over = threading.Event()

        def restart() -> None:
            while not over.is_set() and self.sandbox.requests()["puts"] < after:
                time.sleep(0.005)
            self.sandbox.stop()
            self.sandbox.start()

        thread = threading.Thread(target=restart)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def add_faults(self) -> None:
        """Some faults of essentry."""
        for _ in range(self.rng.randint(0, 4)):
            kind = self.rng.choice(sorted(FAULTS))
            if kind.endswith("all night") and self.rng.random() < 0.6:
                continue
            rule = dict(FAULTS[kind])
            if rule["kind"].startswith("reject"):
                rule["source_id"] = self.rng.choice(sorted(self.company.events))
            self.sandbox.add_faults([rule])
            self.seen[f"fault: {kind}"] += 1

    # -- what must hold ----------------------------------------------------------------------------

    def _held(self) -> dict[str, list[Meeting]]:
        found: dict[str, list[Meeting]] = {}
        for source_id, event in self.sandbox.state()["events"].items():
            guests = [
                (g.get("email") or None, g.get("firstName", ""), g.get("lastName", ""))
                for g in event["guests"].values()
            ]
            expect(len(set(guests)) == len(guests), f"{source_id} holds a guest twice")
            meeting = (
                event["name"],
                datetime.fromisoformat(event["startsAt"]),
                event["locationId"],
                frozenset(guests),
            )
            found.setdefault(self.company.family(source_id), []).append(meeting)
        return {family: sorted(meetings, key=repr) for family, meetings in found.items()}

    def _differing(self, as_of: datetime) -> set[str]:
        held, truth, unclear = self._held(), self.company.truth(), self.company.unclear(as_of)
        # what is over in essentry stays there as it was, whatever became of it since
        over = {
            family
            for family, meetings in held.items()
            if all(start + timedelta(hours=1) <= as_of for _, start, *_ in meetings)
        }
        return {
            f
            for f in {*held, *truth} - unclear
            if held.get(f) != truth.get(f) and not (f in over and f not in truth)
        }

    def check_all(self) -> None:
        """What must hold at any moment."""
        self._check_mails()
        self._check_ledger()

    def _check_mails(self) -> None:
        """Nobody is cancelled who is still wanted, nobody invited more often than asked."""
        company = self.company
        # linked since, they are one family
        may_cancel = {(company.family(family), number) for family, number in company.may_cancel}
        counts = Counter(
            (m["kind"], company.family(m["event"]), company.read_number(m["email"]))
            for m in self.sandbox.mails()
        )
        for (kind, family, number), count in counts.items():
            if kind == "cancelled":
                expect(
                    (family, number) in may_cancel,
                    f"{family}: guest {number} was cancelled though wanted",
                )
            alone = family not in company.family_of.values() and family not in company.family_of
            if kind == "invited" and alone:
                most = company.invitations[family, number]
                expect(
                    count <= most,
                    f"{family}: guest {number} was invited {count} times, wanted {most} times",
                )

    def _check_ledger(self) -> None:
        """Nothing is in essentry that neither snapshot nor ledger knows."""
        with self._state() as state:
            known = set(state.read_fingerprints()["source_id"]) | set(
                state.list_unanswered()["source_id"]
            )
        orphans = set(self.sandbox.state()["events"]) - known
        expect(not orphans, f"orphaned in essentry: {sorted(orphans)}")

    def _check_report(self, code: int, conditions: dict[str, str], as_of: datetime) -> None:
        """Whatever differs from the truth is explained in this night's report, and so is every
        failure.
        """
        report = self.report()
        with self._state() as state:
            open_ids = set(state.list_unanswered()["source_id"]) | set(
                state.rejections()["source_id"]
            )
        told = {problem["source_id"] for problem in report["problems"]}
        expect(
            open_ids <= told, f"rejected or unknown, not in the report: {sorted(open_ids - told)}"
        )
        expect(not (told and code == 0), f"exit code 0 with problems: {sorted(told)}")
        if report.get("error"):
            expect(code not in (0, 3), f"exit code {code} with the error {report['error']}")
            return
        balance = report["balance"]
        expect(
            balance["rows_balanced"] and balance["snapshot_balanced"], f"rows are lost: {balance}"
        )
        failed = {source for source, condition in conditions.items() if condition == "no answer"}
        expect(
            failed == set(report["failed_sources"]),
            f"failed sources {failed}, told {report['failed_sources']}",
        )
        rejects: Counter[tuple[str, str]] = Counter()
        for group in report["quarantined"]:
            rejects[group["source"], group["part"]] += group["rows"]
        for (source, part), count in self.company.expected_rejects().items():
            if conditions[source] == "normal":
                expect(
                    rejects[source, part] >= count,
                    (
                        f"{count} {part} of {source} are unreadable, the report tells "
                        f"{rejects[source, part]}"
                    ),
                )
        if report["guards"]:
            expect(code == 4, f"a guard tripped and the exit code is {code}")
            return
        odd = {source for source, condition in conditions.items() if condition != "normal"}
        # its absences or removals may wait for a readable row
        odd |= {source for source, _ in rejects}
        families = {self.company.family(source_id) for source_id in told}
        silent = {f for f in self._differing(as_of) - families if not self.touches(f, odd)}
        expect(not silent, f"not as the source says, and the report is silent: {sorted(silent)}")

    def touches(self, family: str, sources: set[str]) -> bool:
        """Whether a meeting has, or had, a record of these sources."""
        events = {**self.company.gone, **self.company.events}
        members = {
            family,
            *(source_id for source_id in events if self.company.family(source_id) == family),
        }
        return any(source_id.split("-")[0] in sources for source_id in members)

    def _check_end(self, as_of: datetime) -> None:
        held, truth = self._held(), self.company.truth()
        for family in sorted(self._differing(as_of)):
            raise Broken(
                f"{family}: essentry holds {held.get(family)}, the truth is {truth.get(family)}"
            )
        with self._state() as state:
            snapshot = state.read_fingerprints()
            left = {*state.rejections()["source_id"], *state.list_unanswered()["source_id"]}
        left = {
            source_id
            for source_id in left
            if self.company.family(source_id) not in self.company.unclear(as_of)
        }
        expect(not left, f"open after a clean run: {sorted(left)}")
        live = set(self.sandbox.state()["events"])
        active, expired = (
            set(snapshot.loc[snapshot["state"] == s, "source_id"]) for s in ("active", "expired")
        )
        unsure = {
            source_id
            for source_id in live
            if self.company.family(source_id) in self.company.unclear(as_of)
        }
        expect(
            active <= live <= active | expired | unsure,
            f"snapshot and essentry disagree: {sorted(active ^ live)}",
        )

    def _state(self) -> State:
        return open_state(load_config(self.config))

    def report(self) -> dict:
        """The newest report."""
        folders = sorted(
            (self.folder / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns
        )
        report: dict = json.loads((folders[-1] / "report.json").read_text(encoding="utf-8"))
        return report


def run_history(seed: int, sandbox: SandboxServer) -> Counter[str]:
    """Live one history. Every fifth keeps its state in PostgreSQL, every third is killed on the
    way. Returns what happened in it.
    """
    sandbox.reset()
    os.environ["ESSENTRY_TOKEN"], os.environ["ESSENTRY_AGENT_TOKEN"] = (
        sandbox.token,
        sandbox.agent_token,
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        postgres, kills = seed % 5 == 3, seed % 3 == 1
        if not postgres:
            history = History(seed, folder, sandbox, kills=kills)
            history.live()
        else:
            with database("postgresql", folder) as engine:
                url = engine.url.set(drivername="postgresql+psycopg").render_as_string(
                    hide_password=False
                )
                history = History(seed, folder, sandbox, state=url, kills=kills)
                history.live()
        history.seen[f"state on {'PostgreSQL' if postgres else 'SQLite'}"] += 1
        for key in ("guest_list", "payload", "invitation_ids"):
            history.seen[f"{key} = {history.settings[key]}"] += 1
        history.seen["a night in parts" if history.settings["scale"] else "a night in one"] += 1
        return history.seen
