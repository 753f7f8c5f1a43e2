"""A process of its own that asks DuckDB one question of a plan, and is killed when it takes too
long. Started by `flows.night.own_guards`.

It is run as a file, with an environment that holds no secret, and imports nothing of this project.

Standard input: a line of JSON, `sql`, `rows` and `tables` (name → bytes), then the tables as Arrow
streams. Standard output: JSON, either `error` with `kind`, or `count`, `columns`, `rows` and
`digest`.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

MEMORY = 1_000_000_000
MOST_ROWS = 100_000
_ROOM = 3_000_000_000
_SAFE: dict[str, Any] = {
    "enable_external_access": "false",  # no file, no other database, no network
    "python_enable_replacements": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "memory_limit": f"{MEMORY // 1_000_000}MB",
    "threads": "1",
}


def limit_self(size: int) -> None:
    """Write no file, take no more memory than the tables need, and be the first to go where memory
    runs out.
    """
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        room = _ROOM + 3 * size
        resource.setrlimit(resource.RLIMIT_AS, (room, room))
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def ask(sql: str, tables: dict[str, Any], rows: int) -> dict[str, Any]:
    """The answer: how many rows (no more than MOST_ROWS are counted), their columns, the first of
    them, and a digest of all in any order.
    """
    import duckdb

    try:
        connection = duckdb.connect(":memory:", config=_SAFE)
        statements = connection.extract_statements(sql)
        kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
        if len(kinds) != 1 or not kinds[0].startswith("SELECT"):
            return {"error": "it must be one SELECT, and nothing else", "kind": "statement"}
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute("SET lock_configuration = true")
        result: Any = connection.execute(statements[0])
        columns = [column[0] for column in result.description]
        # its name before DuckDB 1.4
        read = getattr(result, "to_arrow_reader", None) or result.fetch_record_batch
        found: list[list[Any]] = []
        for batch in read(10_000):  # as Arrow: a zone needs no other library so
            cells = [[_plain(cell) for cell in column.to_pylist()] for column in batch.columns]
            found += [list(row) for row in zip(*cells, strict=True)]
            if len(found) >= MOST_ROWS:
                break
        texts = sorted(json.dumps(row) for row in found)
        digest = sha256("\n".join(texts).encode()).hexdigest()
        return {
            "count": min(len(found), MOST_ROWS),
            "columns": columns,
            "rows": found[:rows],
            "digest": digest,
        }
    except duckdb.Error as error:
        return {"error": str(error), "kind": type(error).__name__}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (datetime, date)):
        return {"plain": value.isoformat()}
    return {"plain": f"{value:f}"} if isinstance(value, Decimal) else str(value)


def main() -> None:
    """Read the question, answer it."""
    head = json.loads(sys.stdin.buffer.readline())
    parts = {name: sys.stdin.buffer.read(size) for name, size in head["tables"].items()}
    limit_self(sum(map(len, parts.values())))
    import pyarrow as pa

    tables = {name: pa.ipc.open_stream(part).read_all() for name, part in parts.items()}
    try:
        answer = ask(head["sql"], tables, head["rows"])
    except MemoryError:
        answer = {"error": "it needs more memory than it may have", "kind": "MemoryError"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
