"""Odd values of rows, and the types of columns that hold them, for each engine of a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Raw:
    """Bytes where the engine expects text; only SQLite keeps them so."""

    value: bytes


NESTED = "[" * 5000 + "]" * 5000
ODD: dict[str, list[Any]] = {
    "nothing": [None, "", " ", "\t\n", "\u00a0", "\u2028"],
    "control characters": ["\x00", "a\x00b", "\x01", "\x1b[31m", "\x7f", "a\rb", "\x85"],
    "format characters": ["\u200b", "Ada\u200bX", "\u202e", "\ufeff", "\u2066a",
        "a\u00adb@out.example"],
    "odd unicode": ["\ufffd", "\ud800", "a\udfffb", "\uffff", "🚪" * 200, "e\u0301", "ﬁ", "١٢", "İ",
        "ß"],
    "bytes": [b"\xe9", b"\x01", b"\x00", b"\xff\xfe", Raw(b"Caf\xe9"), Raw(b"\xed\xa0\x80"),
        Raw(b"a\x00\xff")],
    "numbers": [-1, 0, 1.5, 2**31, 2**63 - 1, -(2**63), 10**40, 1e308, "1e400", "-0", "0x10",
        "1_000", "٣"],
    "infinities": [float("inf"), float("-inf"), float("nan"), "nan", "Infinity", "-infinity",
        "NaT"],
    "sentinels": [
        "0001-01-01 00:00:00", "9999-12-31", "9999-12-31 23:59:59", "2099-12-31 00:00:00",
        "1899-12-30",
        "1970-01-01 00:00:00", "0000-00-00 00:00:00", "0044-03-15 00:00:00 BC", "294276-12-31",
    ],
    "odd times": [
        "{day} 10:00:00+01", "{day}T10:00:00+0100", "{day} 10:00:00+99:99", "{day} 24:00:00",
        "{day} 10:00:60",
        "{day} 10:00:00.123456789123", "{day}T10Z", "{day}", "2026-02-30 10:00:00", "2027-13-01",
        "31.12.2027 10:00",
        "12/31/2027 10:00 PM", "now", "today", "tomorrow", "838:59:59", "99999999999",
        "-99999999999", "P1Y",
    ],
    "formulas and markup": ["=1+1", "+A1", "@SUM(1)", "-1+cmd|' /C calc'!A0", "<b>&amp;</b>",
        "{{ 7*7 }}", "${x}", "| a |"],
    "quotes": ["'", '"', "`", "';--", "\\", "\\'", "%s", ":x", "%(x)s", "O&#039;Brien"],
    "long texts": ["x" * 255, "x" * 256, "x" * 70_000, "ä" * 300, "x" * 250 + "@b.example", NESTED],
    "addresses": [
        "a@b.example; c@d.example", "a@b.example,c@d.example", "Ada <ada@b.example>",
        "'ada@b.example'", "a@b", "@b.example",
        "mailto:a@b.example", "ädä@bücher.example", "a b@c.example", "a@[127.0.0.1]",
        "a@@b.example", "ADA@B.EXAMPLE ",
    ],
    "words": [
        "true", "False", "YES", "ja", "non", "t", "PRIVATE", "perhaps", "null", "None", "N/A", "-",
        "CONFIRMED", "Storniert?",
    ],
    "json": ['[{"partitionId": 1e400, "sourceId": 1}]', "{}", "[]", '[1, null, "x"]',
        '{"a": "\\u0000"}', "[[", '"x"', "1"],
}  # fmt: skip
"""Family → values; `{day}` is the day of the good meetings."""

FREE = {
    "sqlite": ("", "TEXT", "DATETIME", "NUMERIC", "REAL", "BLOB", "BOOLEAN", "DATE",
        "DECIMAL(10,2)"),
    "mariadb": (
        "longtext", "longblob", "varchar(300)", "double", "decimal(65,10)", "bigint", "bit(64)",
        "datetime(6)", "date", "time(6)",
        "year", "json", "timestamp NULL", "tinyint(1)", "varbinary(300)", "inet6", "uuid",
        "text CHARACTER SET latin1",
    ),
    "postgresql": (
        "text", "bytea", "varchar(300)", "double precision", "real", "numeric", "bigint", "boolean",
        "timestamp", "timestamptz", "date",
        "time", "timetz", "interval", "jsonb", "json", "uuid", "inet", "text[]", "integer[]",
        "int4range", "bit varying(64)", "money", "xml",
    ),
}  # fmt: skip
"""Types of columns that a good row leaves empty."""
TEXTS = {
    "sqlite": ("", "TEXT", "VARCHAR(10)"),
    "mariadb": ("longtext", "varchar(400)", "text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
    "postgresql": ("text", "varchar"),
}
KEYS = {
    "sqlite": ("", "TEXT", "INTEGER"),
    "mariadb": ("varchar(400)", "bigint", "decimal(30,0)"),
    "postgresql": ("text", "bigint", "numeric"),
}
FLAGS = {
    "sqlite": ("", "BOOLEAN", "INTEGER"),
    "mariadb": ("longtext", "bit(1)", "tinyint(1)", "double"),
    "postgresql": ("text", "boolean", "smallint", "double precision"),
}
TIMES = {
    "sqlite": ("", "TEXT", "DATETIME", "TIMESTAMP"),
    "mariadb": ("longtext", "datetime(6)", "datetime", "varchar(80)"),
    "postgresql": ("text", "timestamp", "timestamptz"),
}
SECONDS = {
    "sqlite": ("", "INTEGER", "REAL", "TEXT"),
    "mariadb": ("double", "bigint", "decimal(30,6)", "longtext"),
    "postgresql": ("double precision", "bigint", "numeric", "text"),
}


def column_types(column: str, engine: str, *, times: str) -> Sequence[str]:
    """Types that a column of a table may have."""
    if column in ("starts_at", "ends_at"):
        return (SECONDS if times == "epoch" else TIMES)[engine]
    if column in ("source_event_id", "guest_id"):
        return KEYS[engine]
    if column in ("private", "internal"):
        return FLAGS[engine]
    if column in GIVEN:
        return TEXTS[engine]
    return FREE[engine]


GIVEN = {"name", "site_key", "host_email", "status", "email", "first_name", "last_name"}
"""Columns of text in which every good row has a value."""
