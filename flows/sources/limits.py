"""Whether a SELECT leaves rows out by their number: then a row that is not there may only have been
cut off (S23).

Not a parser of SQL: it reads words, strings, comments and brackets, as the four databases write
them, and takes the safe side where it is not sure. A limit in a scalar subquery, in EXISTS, or
beside each row (LATERAL, APPLY) takes no row away.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.connections.urls import source_url
from flows.sources.selects import load_selects
from schemas.config_source import SourceConfig

_MYSQL = ("mysql", "mariadb")
_NESTED = ("postgresql", "mssql")
"""Dialects whose comments nest."""
_HUGE = 2**31 - 1
"""From here on a number is the idiom for no limit."""
_TOKEN = re.compile(
    r"""(?P<skip>\s+)
    |(?P<word>[@:]?[^\W\d][\w$\#]*|@@\w+|:\w+|\$\d+)
    |(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<sign>::|<=|>=|<>|!=|[(),;.]|.)""",
    re.VERBOSE | re.DOTALL,
)
_DOLLAR = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_CLAUSES = {"SELECT", "FROM", "WHERE", "ON", "HAVING", "GROUP", "ORDER", "WINDOW"}
_ROWS_FOLLOW = {
    "FROM", "JOIN", "STRAIGHT_JOIN", "IN", "ANY", "SOME", "ALL", "AS", "MATERIALIZED", "UNION",
    "EXCEPT", "INTERSECT", "MINUS", "WITH", ";",
}  # fmt: skip
"""A subquery after one of these gives, or chooses, rows of the result."""
_NO_OPERAND = {
    ",", ")", ".", ";", "=", "<", ">", "<=", ">=", "<>", "!=", "+", "*", "/", "||", "|", "AS",
    "FROM", "IS", "AND", "OR", "NOT", "IN", "BETWEEN",
    "LIKE", "ASC", "DESC", "THEN", "ELSE", "END", "WHERE", "ORDER", "GROUP", "UNION", "",
}  # fmt: skip
"""What follows a column called `limit` or `offset`, and never the keyword."""
_COMPARED = {"=", "<", ">", "<=", ">=", "<>", "!=", "BETWEEN", "IN"}


_GROUPS = {"WHERE", "AND", "OR", "NOT", "ON", "HAVING"}
"""A bracket after one of these is part of the condition around it."""


@dataclass(slots=True)
class _Bracket:
    """A bracket that is open, or the whole SELECT. query: words in it are a query's own. rows: its
    rows are rows of the result.

    gives: a subquery that stands right in it would give rows of the result. clause: the last word
    of _CLAUSES in it.
    """

    query: bool
    rows: bool
    gives: bool
    clause: str = ""


def find_limits(name: str, config: SourceConfig, *, root: Path) -> dict[str, str]:
    """`events`, `guests` → the words in a completed source's SELECT that leave rows out. Raises as
    `load_selects` does.
    """
    url = source_url(name, config, root=root)
    dialect = url.get_backend_name()
    selects = load_selects(name, config, root=root, dialect=dialect)
    found = {
        "events": limits_rows(selects.events, dialect=dialect),
        "guests": limits_rows(selects.guests, dialect=dialect),
    }
    return {part: words for part, words in found.items() if words}


def limits_rows(sql: str, *, dialect: str | None = None) -> str | None:
    """The words that limit a SELECT's rows by number (`LIMIT 500`), or None. dialect: SQLAlchemy's
    name, where it is known.
    """
    tokens = _read_tokens(sql, dialect)
    upper = [token.upper() for token in tokens]
    aliases = {upper[n + 1] for n in range(len(upper) - 1) if upper[n] == "AS"}
    brackets = [_Bracket(query=True, rows=True, gives=True)]

    def at(place: int) -> str:
        return upper[place] if 0 <= place < len(upper) else ""

    for place, word in enumerate(upper):
        inner = brackets[-1]
        if word == "(":
            brackets.append(_open_bracket(at, place, inner))
        elif word == ")":
            if len(brackets) > 1:
                brackets.pop()
        elif word in _CLAUSES and at(place - 1) != ".":
            inner.clause = word
        elif (
            inner.query
            and all(bracket.rows for bracket in brackets)
            and at(place - 1) not in (".", "AS")
        ):
            end = _find_limit(at, place, inner.clause, aliases, dialect)
            if end:
                return " ".join(tokens[place:end])
    return _find_numbered(at, len(upper))


def _open_bracket(at: Callable[[int], str], place: int, inner: _Bracket) -> _Bracket:
    gives = _gives_rows(at, place, inner)
    if at(place + 1) in ("SELECT", "WITH", "VALUES", "TABLE"):
        return _Bracket(query=True, rows=gives, gives=gives)
    if at(place - 1) in _GROUPS or (at(place - 1) == "(" and inner.query and not inner.gives):
        return _Bracket(query=True, rows=inner.rows, gives=False, clause=inner.clause)
    return _Bracket(query=False, rows=gives, gives=gives)


def _gives_rows(at: Callable[[int], str], place: int, inner: _Bracket) -> bool:
    """Whether a subquery in the bracket at `place` gives, or chooses, rows of the result."""
    before = at(place - 1)
    if before == "":
        return True
    if before == "(":
        return inner.gives
    if before == ",":
        return inner.clause == "FROM" if inner.query else inner.gives
    if before == "DISTINCT":
        return at(place - 2) in ("UNION", "EXCEPT", "INTERSECT")
    return before in _ROWS_FOLLOW


def _find_numbered(at: Callable[[int], str], count: int) -> str | None:
    """Rows that are numbered one after the other, and chosen by the number, as pages are. Numbers
    of a partition choose no rows of the whole.
    """
    for place in range(count):
        end = place + 1
        if at(place) == "ROW_NUMBER" and at(place + 3) == "OVER" and at(place + 4) == "(":
            depth, end = 1, place + 5
            while depth and end < count:
                depth += (at(end) == "(") - (at(end) == ")")
                end += 1
            if "PARTITION" in [at(n) for n in range(place, end)]:
                continue
        elif at(place) != "ROWNUM":
            continue
        name = at(end + 1) if at(end) == "AS" else at(end)
        if not re.fullmatch(r"[^\W\d]\w*", name) or name in _CLAUSES:
            continue
        for n in range(count):
            if at(n) == name and at(n + 1) in ("<", "<=", "=", "BETWEEN"):
                return f"{at(place)} … {at(n)} {at(n + 1)} {at(n + 2)}"
    return None


def _find_limit(
    at: Callable[[int], str], place: int, clause: str, aliases: set[str], dialect: str | None
) -> int:
    """Where the words of a limit that begin at `place` end; 0 when none begin there."""
    word, after = at(place), at(place + 1)
    if word in ("LIMIT", "OFFSET") and dialect not in (
        ("mssql", "oracle") if word == "LIMIT" else ()
    ):
        if after in _NO_OPERAND or after in ("ALL", "NULL", "BY"):
            return 0
        if after == "-":
            return 0  # SQLite: no limit
        if word == "OFFSET":
            return 0 if _is_zero(after) else place + 2
        comma = at(place + 2) == ","
        if _is_huge(at(place + 3) if comma else after) and (not comma or _is_zero(after)):
            return 0
        return place + (4 if comma else 2)
    if word == "TOP" and at(place - 1) in ("SELECT", "DISTINCT", "ALL"):
        number = at(place + 2) if after == "(" else after
        if not (after == "(" or after[:1].isdigit() or after[:1] in (":", "@", "?")):
            return 0
        end = place + (4 if after == "(" else 2)
        return 0 if _is_huge(number) or (at(end) == "PERCENT" and _is_all(number)) else end
    if (
        word in ("FIRST", "SKIP")
        and at(place - 1) in ("SELECT", "DISTINCT", "ALL")
        and after[:1].isdigit()
    ):
        return place + 2
    if word == "FETCH" and after in ("FIRST", "NEXT"):
        number = at(place + 2)
        percent = at(place + 3) == "PERCENT"
        return 0 if _is_huge(number) or (percent and _is_all(number)) else place + 3
    if word == "ROWNUM" and "ROWNUM" not in aliases and clause in ("WHERE", "ON", "HAVING"):
        compared = after in _COMPARED and after not in (">", ">=")
        return (
            place + 3 if compared else place + 1 if at(place - 1) in _COMPARED - {"<", "<="} else 0
        )
    if word == "SAMPLE" and at(place - 1) == "USING":
        return place + 2
    if word == "TABLESAMPLE" or (
        word == "SAMPLE" and clause == "FROM" and (after == "(" or at(place + 1) == "BLOCK")
    ):
        return place + 2 if at(place - 1) not in ("", ",", "FROM", "JOIN", "(") else 0
    return 0


def _is_zero(number: str) -> bool:
    return number.isdigit() and int(number) == 0


def _is_huge(number: str) -> bool:
    return number.isdigit() and int(number) >= _HUGE


def _is_all(percent: str) -> bool:
    return percent.replace(".", "", 1).isdigit() and float(percent) >= 100


def _read_tokens(sql: str, dialect: str | None) -> list[str]:
    """The words, numbers and signs of a SELECT; comments are left out, strings and quoted names are
    ''.
    """
    tokens: list[str] = []
    place = 0
    while place < len(sql):
        end = _skip_quoted(sql, place, dialect, tokens)
        if end > place:
            place = end
            continue
        hit = _TOKEN.match(sql, place)
        if hit is None:
            break
        if hit.lastgroup != "skip":
            tokens.append(hit[0])
        place = hit.end()
    return tokens


def _skip_quoted(sql: str, place: int, dialect: str | None, tokens: list[str]) -> int:
    """Where the comment, string or quoted name that begins here ends; `place` when none does. What
    is quoted becomes a token ''.
    """
    char, pair = sql[place], sql[place : place + 2]
    if pair == "--" and (dialect not in _MYSQL or not sql[place + 2 : place + 3].strip()):
        return _after(sql, "\n", place)
    if char == "#" and dialect in _MYSQL:
        return _after(sql, "\n", place)
    if pair == "/*":
        # MySQL runs what stands in it
        if sql[place + 2 : place + 3] == "!" and dialect not in _NESTED:
            end = _after(sql, "*/", place)
            tokens += [
                t
                for t in _read_tokens(re.sub(r"^!\d*", " ", sql[place + 2 : end - 2]), dialect)
                if t
            ]
            return end
        return _after_comment(sql, place, nested=dialect in _NESTED)
    if char == "$" and dialect not in _MYSQL and (tag := _DOLLAR.match(sql, place)):
        tokens.append("''")
        return _after(sql, tag[0], tag.end())
    if char in "qQ" and sql[place + 1 : place + 2] == "'" and dialect in ("oracle", None):
        closing = {"[": "]", "{": "}", "(": ")", "<": ">"}.get(
            sql[place + 2 : place + 3], sql[place + 2 : place + 3]
        )
        tokens.append("''")
        return _after(sql, f"{closing}'", place + 3)
    if char in "\"'`" or (char == "[" and dialect != "postgresql"):
        escapes = (dialect in _MYSQL and char in "\"'") or (
            char == "'" and tokens[-1:] in (["E"], ["e"]) and sql[place - 1] in "eE"
        )
        if escapes and dialect not in _MYSQL:
            tokens.pop()
        tokens.append("''")
        return _after_quote(sql, place + 1, "]" if char == "[" else char, escapes=escapes)
    return place


def _after(sql: str, closing: str, place: int) -> int:
    end = sql.find(closing, place + 1 if closing == "\n" else place)
    return len(sql) if end < 0 else end + len(closing)


def _after_comment(sql: str, place: int, *, nested: bool) -> int:
    depth = 0
    for hit in re.finditer(r"/\*|\*/", sql[place:]):
        depth += 1 if hit[0] == "/*" and (nested or depth == 0) else -1 if hit[0] == "*/" else 0
        if depth == 0:
            return place + hit.end()
    return len(sql)


def _after_quote(sql: str, place: int, closing: str, *, escapes: bool) -> int:
    while place < len(sql):
        if escapes and sql[place] == "\\":
            place += 2
        elif sql[place] != closing:
            place += 1
        elif sql[place + 1 : place + 2] == closing:
            place += 2
        else:
            return place + 1
    return len(sql)
