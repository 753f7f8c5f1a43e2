"""Guards of one's own: a SELECT each over the views of a plan, which trips when it returns a row.

A question is asked in a process of its own (`flows.night.ask_plan`): it sees the plan and nothing
else, neither files nor the environment with its tokens, and it is killed when it takes too long.
One that fails trips: nothing passes because it could not be asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa

from flows.night import ask_plan
from flows.state.store import State
from schemas.config import Config
from schemas.config_guards import GuardsConfig
from schemas.errors import ConfigurationError
from schemas.plan_view import PLAIN_TEXTS
from transforms.guards.findings import CAUSES, Finding
from transforms.guards.plan_view import ASKED, PlanViews, build_views, empty_views
from transforms.masking import mask_address, mask_name, mask_text
from transforms.words import plural

OWN = "sql."
"""What the name of such a guard begins with, as the configuration writes it: `[guards.sql]`."""
_PAGE = 10_000
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "SYSTEMROOT",
    "TMPDIR",
)
"""What the process may know of the environment: where Python and its libraries are."""
_SHOWN = 80


@dataclass(frozen=True)
class Answer:
    """What a question returned: `count` rows, `causes` the first of them in words without a person;
    `failed`: why it could not be asked.

    `digest`: of all rows, in whatever order they came.
    """

    count: int = 0
    causes: tuple[str, ...] = ()
    digest: str = ""
    failed: str = ""


def check_own_guards(guards: GuardsConfig) -> None:
    """Ask every guard about an empty plan before a run begins.

    Raises ConfigurationError for one that cannot be asked, that is no single SELECT, or that trips
    where nothing would be sent.
    """
    if not guards.sql:
        return
    if find_spec("duckdb") is None:
        raise ConfigurationError(
            "guards.sql needs DuckDB: add the package essentry-sync[files] here, "
            "or leave [guards.sql] out"
        )
    nothing = _dump(empty_views())
    for name, sql in guards.sql.items():
        answer = _ask(sql, nothing, seconds=guards.sql_seconds)
        if "error" in answer:
            told = mask_text(str(answer["error"]).strip().splitlines()[0])
            raise ConfigurationError(
                f'guards.sql."{name}": {told}: correct its SELECT; the views are `plan` and `mails`'
            )
        if answer["count"]:
            raise ConfigurationError(
                f'guards.sql."{name}" returns a row for a plan without a change, '
                "so it would trip every night: "
                "return rows of what must not go, and with a count write HAVING, "
                "as in HAVING count(*) > 10"
            )


def read_views(
    state: State,
    plan_id: str,
    seqs: Sequence[int] | int,
    mails: pd.DataFrame,
    *,
    as_of: pd.Timestamp,
) -> PlanViews:
    """The views of a stored plan: of the changes numbered `seqs`, or of the first so many. mails:
    MAIL_COLUMNS of them.
    """

    def read_pages() -> Iterator[tuple[pd.DataFrame, Mapping[str, str]]]:
        wanted = range(1, seqs + 1) if isinstance(seqs, int) else seqs
        for start in range(0, len(wanted), _PAGE):
            changes = state.read_changes(plan_id, wanted[start : start + _PAGE], columns=ASKED)
            held = changes.loc[changes["action"] != "create", "source_id"].tolist()
            yield changes, state.read_payloads(held)

    return build_views(read_pages(), mails, as_of=as_of)


def ask_own_guards(guards: GuardsConfig, views: PlanViews) -> dict[str, Answer]:
    """What each guard answers about a plan, by its name; nothing is asked about a plan that sends
    nothing.
    """
    if not guards.sql or not views.plan.num_rows:
        return {}
    tables = _dump(views)
    return {
        name: _read_answer(_ask(sql, tables, seconds=guards.sql_seconds))
        for name, sql in guards.sql.items()
    }


def find_own(config: Config, views: PlanViews) -> list[Finding]:
    """The guards of one's own that trip on a plan."""
    guards, found = config.guards, ask_own_guards(config.guards, views)
    tripped = {name: answer for name, answer in found.items() if answer.count or answer.failed}
    if not tripped:
        return []
    without: dict[str, Answer] = {}
    if guards.on_trip == "hold-deletes" and "delete" in views.plan["action"].to_pylist():
        some = guards.model_copy(update={"sql": {name: guards.sql[name] for name in tripped}})
        without = ask_own_guards(some, views.without_deletes()) or dict.fromkeys(tripped, Answer())
    return [_tell(name, answer, without.get(name)) for name, answer in tripped.items()]


def find_own_beyond(
    config: Config, views: PlanViews, findings: Sequence[Finding], new_ids: Sequence[str]
) -> list[Finding]:
    """Of what tripped, what an approval of the other changes does not answer.

    new_ids: events whose change was not approved. A guard is answered when it does not trip on
    those alone, and when they add nothing to what it returns: a count that has grown is one row as
    before, and not the row that was approved.
    """
    own = {
        finding.guard.removeprefix(OWN): finding
        for finding in findings
        if finding.guard.startswith(OWN)
    }
    if not own or not len(new_ids):
        return []
    some = config.guards.model_copy(update={"sql": {name: config.guards.sql[name] for name in own}})
    new = set(new_ids)
    old = [source_id for source_id in views.plan["source_id"].to_pylist() if source_id not in new]
    whole, alone, before = (
        ask_own_guards(some, part) for part in (views, views.only(new_ids), views.only(old))
    )

    def is_answered(name: str) -> bool:
        mine, rest, approved = (answers.get(name, Answer()) for answers in (whole, alone, before))
        same = mine.digest == approved.digest and mine.count < ask_plan.MOST_ROWS
        return not (mine.failed or rest.failed or approved.failed) and not rest.count and same

    return [finding for name, finding in own.items() if not is_answered(name)]


def _tell(name: str, answer: Answer, without: Answer | None) -> Finding:
    about_deletes = without is not None and not without.count and not without.failed
    if answer.failed:
        text = f'the guard "{name}" could not be asked, so it trips: {answer.failed}'
        return Finding(OWN + name, "run", 1, 0, text, about_deletes)
    many = "or more " if answer.count >= ask_plan.MOST_ROWS else ""
    text = f'the guard "{name}" returns {plural(answer.count, f"{many}row", f"{many}rows")} (run)'
    return Finding(OWN + name, "run", answer.count, 0, text, about_deletes, answer.causes)


def _dump(views: PlanViews) -> dict[str, bytes]:
    return {"plan": _to_stream(views.plan), "mails": _to_stream(views.mails)}


def _to_stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _ask(sql: str, tables: Mapping[str, bytes], *, seconds: float) -> dict[str, Any]:
    """The answer of the process, or `error` and `kind` of one that gave none."""
    head = {
        "sql": sql,
        "rows": CAUSES,
        "tables": {name: len(content) for name, content in tables.items()},
    }
    try:
        done = subprocess.run(  # noqa: S603 our own file
            [sys.executable, "-P", str(Path(ask_plan.__file__))],
            input=b"".join([orjson.dumps(head), b"\n", *tables.values()]),
            capture_output=True,
            timeout=seconds,
            check=False,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        )
    except subprocess.TimeoutExpired:
        return {
            "error": f"it takes longer than guards.sql_seconds = {seconds:g}",
            "kind": "timeout",
        }
    except OSError as error:
        return {"error": f"its process does not start ({error.strerror})", "kind": "process"}
    try:
        answer: dict[str, Any] = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        return {
            "error": "its process ended without an answer, as where memory runs out",
            "kind": "process",
        }
    return answer


def _read_answer(answer: Mapping[str, Any]) -> Answer:
    if "error" in answer:
        own_words = answer["kind"] in ("timeout", "process", "statement", "MemoryError")
        # what DuckDB says of a row may name the person in it
        return Answer(failed=str(answer["error"] if own_words else answer["kind"]))
    columns = answer["columns"]
    causes = tuple(_describe_row(columns, row) for row in answer["rows"])
    return Answer(answer["count"], causes, answer["digest"])


def _describe_row(columns: Sequence[str], row: Sequence[Any]) -> str:
    """A row in words: `source_id rooms-17, guests 12`; a text that may name a person is masked."""
    told = (f"{name} {_show(name, value)}" for name, value in zip(columns, row, strict=True))
    line = ", ".join(told)
    return "".join(letter if letter.isprintable() else " " for letter in line)


def _show(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict):
        return str(value["plain"])
    if not isinstance(value, str):
        return f"{value:g}" if isinstance(value, float) else str(value)
    short = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    if name in PLAIN_TEXTS:
        return mask_text(short)
    return mask_address(short) if "@" in short else mask_name(short)
