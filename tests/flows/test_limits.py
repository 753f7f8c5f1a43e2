"""S23: which SELECTs leave rows out by their number, in the four dialects."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.sources.limits import limits_rows

PRESETS = sorted((Path(__file__).parents[2] / "data" / "sources").rglob("*.sql"))
ALL = (None, "postgresql", "mysql", "mariadb", "sqlite", "mssql", "oracle")
SERVERS = ("mssql", "oracle")

LIMITED = [
    "SELECT * FROM e LIMIT 500",
    "select * from e limit 500;",
    "SELECT * FROM e ORDER BY at LIMIT 500 OFFSET 0",
    "SELECT * FROM e LIMIT 0, 500",
    "SELECT * FROM e LIMIT 5, 18446744073709551615",
    "SELECT * FROM e\nLIMIT\n\t500",
    "SELECT * FROM e LIMIT/* all of them */500",
    "SELECT * FROM e LIMIT :most",
    "SELECT * FROM e LIMIT (500)",
    "SELECT * FROM e LIMIT ((SELECT count(*) FROM e) / 2)",
    "SELECT * FROM (SELECT * FROM e LIMIT 500) q",
    "SELECT * FROM ((SELECT * FROM e LIMIT 500)) q",
    "SELECT * FROM a, (SELECT * FROM e LIMIT 500) q",
    "SELECT * FROM a JOIN (SELECT * FROM e LIMIT 500) q ON q.id = a.id",
    "SELECT * FROM (a JOIN (SELECT * FROM e LIMIT 500) q ON q.id = a.id)",
    "WITH q AS (SELECT * FROM e ORDER BY at LIMIT 500) SELECT * FROM q",
    "WITH q (id) AS NOT MATERIALIZED (SELECT id FROM e LIMIT 500) SELECT * FROM q",
    "WITH a AS (SELECT 1), q AS (SELECT * FROM e LIMIT 500) SELECT * FROM q",
    "SELECT * FROM e WHERE id IN (SELECT id FROM e ORDER BY at LIMIT 500)",
    "SELECT * FROM e WHERE id = ANY (SELECT id FROM e ORDER BY at LIMIT 500)",
    "SELECT 1 UNION ALL (SELECT * FROM e LIMIT 500)",
    "(SELECT * FROM e LIMIT 500) UNION SELECT 1",
    "SELECT ';' AS x, '--' AS y FROM e LIMIT 5",
    "SELECT 'it''s' FROM e LIMIT 5",
    'SELECT "a -- b" FROM e LIMIT 5',
    "SELECT /* -- */ * FROM e LIMIT 5",
    "-- all\nSELECT * FROM e -- of them\nLIMIT 5 -- five",
    "SELECT * FROM e LIMIT 5;\n-- the end\n",
]
LIMITED_EVERYWHERE = [
    "SELECT * FROM e OFFSET 10",
    "SELECT * FROM e ORDER BY at OFFSET 10 ROWS",
    "SELECT * FROM e OFFSET 0 ROWS FETCH NEXT 500 ROWS ONLY",
    "SELECT * FROM e FETCH FIRST 500 ROWS ONLY",
    "SELECT * FROM e FETCH FIRST ROW ONLY",
    "SELECT * FROM e FETCH FIRST 10 PERCENT ROWS ONLY",
    "SELECT TOP 500 * FROM e",
    "SELECT TOP (500) * FROM e",
    "SELECT DISTINCT TOP 500 id FROM e",
    "SELECT TOP (@most) * FROM e",
    "SELECT TOP 50 PERCENT * FROM e",
    "SELECT * FROM (SELECT TOP 500 * FROM e) q",
    "SELECT FIRST 10 SKIP 5 * FROM e",
    "SELECT * FROM e WHERE ROWNUM <= 500",
    "SELECT * FROM e WHERE a = 1 AND rownum < 500",
    "SELECT * FROM e WHERE (a = 1 AND (ROWNUM <= 500))",
    "SELECT * FROM e WHERE 500 >= ROWNUM",
    "SELECT * FROM (SELECT q.*, ROWNUM rn FROM (SELECT * FROM e) q) WHERE rn BETWEEN 1 AND 500",
    "SELECT * FROM (SELECT e.*, ROW_NUMBER() OVER (ORDER BY at) AS n FROM e) q WHERE n <= 500",
    "SELECT * FROM e SAMPLE (10)",
    "SELECT * FROM e SAMPLE BLOCK (10)",
    "SELECT * FROM e TABLESAMPLE SYSTEM (10)",
    "SELECT * FROM e AS x TABLESAMPLE BERNOULLI (10)",
    "SELECT * FROM e USING SAMPLE 10",
]
WHOLE = [
    "SELECT * FROM e",
    "SELECT * FROM e;\n-- LIMIT 5",
    "SELECT * FROM e /* LIMIT 5 */",
    "SELECT 'LIMIT 5' AS x FROM e WHERE y = ' LIMIT 5 '",
    "SELECT 'it''s LIMIT 5' FROM e",
    'SELECT "LIMIT" , "x ""LIMIT 5" FROM e',
    "SELECT r.limit, r.offset AS custom_offset FROM e r",
    "SELECT capacity AS limit FROM e",
    "SELECT * FROM e WHERE at < :limit AND b > :offset",
    "SELECT (SELECT name FROM h WHERE h.id = e.h ORDER BY 1 LIMIT 1) AS host FROM e",
    "SELECT COALESCE((SELECT name FROM h LIMIT 1), 'x') AS host FROM e",
    "SELECT a, (SELECT name FROM (SELECT name FROM h LIMIT 3) q LIMIT 1) AS host FROM e",
    (
        "SELECT CASE WHEN a = 1 THEN (SELECT n FROM h LIMIT 1) ELSE (SELECT m FROM h LIMIT 1) END "
        "FROM e"
    ),
    "SELECT * FROM e WHERE EXISTS (SELECT 1 FROM g WHERE g.e = e.id LIMIT 1)",
    "SELECT * FROM e WHERE NOT EXISTS (SELECT 1 FROM g WHERE g.e = e.id LIMIT 1)",
    "SELECT * FROM e WHERE at >= (SELECT at FROM runs ORDER BY at DESC LIMIT 1)",
    "SELECT * FROM e LEFT JOIN LATERAL (SELECT * FROM h WHERE h.id = e.h LIMIT 1) h ON true",
    "SELECT * FROM e CROSS JOIN LATERAL (SELECT * FROM h WHERE h.id = e.h LIMIT 1) h",
    "SELECT * FROM e OUTER APPLY (SELECT TOP 1 * FROM h WHERE h.id = e.h) h",
    "SELECT * FROM e CROSS APPLY (SELECT TOP (1) * FROM h WHERE h.id = e.h ORDER BY at) h",
    "SELECT ARRAY(SELECT x FROM h LIMIT 3) FROM e",
    "SELECT GROUP_CONCAT(x ORDER BY y LIMIT 1) FROM e GROUP BY id",
    "SELECT * FROM e LIMIT ALL",
    "SELECT * FROM e LIMIT NULL",
    "SELECT * FROM e LIMIT -1",
    "SELECT * FROM e ORDER BY at OFFSET 0",
    "SELECT * FROM e ORDER BY at OFFSET 0 ROWS",
    "SELECT * FROM e LIMIT 18446744073709551615",
    "SELECT * FROM e LIMIT 0, 18446744073709551615",
    "SELECT TOP 100 PERCENT * FROM e ORDER BY at",
    "SELECT TOP (100) PERCENT * FROM e ORDER BY at",
    "SELECT TOP 2147483647 * FROM e ORDER BY at",
    "SELECT top FROM e",
    "SELECT t.top, first FROM e",
    "SELECT FIRST(x), LAST(x) FROM e",
    (
        "SELECT * FROM (SELECT e.*, ROW_NUMBER() OVER (PARTITION BY id ORDER BY v DESC) AS n FROM "
        "e) q WHERE n = 1"
    ),
    "SELECT id, ROWNUM AS n FROM e",
    (
        "SELECT * FROM (SELECT e.*, ROW_NUMBER() OVER (PARTITION BY id ORDER BY v) AS rownum FROM "
        "e) q WHERE rownum = 1"
    ),
    "SELECT id, ROW_NUMBER() OVER (ORDER BY at) AS n FROM e",
    "SELECT sample(x) FROM e",
    "SELECT limit_per_day, unlimited, delimit FROM e",
    "SELECT * FROM e WHERE a = ':LIMIT 5' AND b = 'x -- y'",
]


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("sql", LIMITED_EVERYWHERE)
def test_s23_a_limit_of_any_kind_is_seen(sql: str, dialect: str | None) -> None:
    assert limits_rows(sql, dialect=dialect)


@pytest.mark.parametrize("dialect", [name for name in ALL if name not in SERVERS])
@pytest.mark.parametrize("sql", LIMITED)
def test_s23_limit_is_seen_where_it_is_a_word_of_the_dialect(sql: str, dialect: str | None) -> None:
    assert limits_rows(sql, dialect=dialect)


@pytest.mark.parametrize("dialect", ALL)
@pytest.mark.parametrize("sql", WHOLE)
def test_s23_what_takes_no_row_away_is_no_limit(sql: str, dialect: str | None) -> None:
    assert limits_rows(sql, dialect=dialect) is None


OWN: list[tuple[str, str, bool]] = [  # what a dialect alone understands so
    ("mysql", r"SELECT 'it\'s LIMIT 5' FROM e", False),
    ("mysql", "SELECT * FROM e # LIMIT 5", False),
    ("mysql", "SELECT * FROM e # all\n LIMIT 5", True),
    ("mysql", 'SELECT "a \\" LIMIT 5 " FROM e', False),
    ("mysql", "SELECT `limit` FROM e", False),
    ("mysql", "SELECT 5--3 FROM e\nLIMIT 5", True),
    ("mysql", "SELECT 5 --3 FROM e LIMIT 5", True),  # two minus signs
    ("mariadb", "SELECT * FROM e /*!50000 LIMIT 5 */", True),
    ("mariadb", "SELECT * FROM e /*! STRAIGHT */", False),
    ("postgresql", r"SELECT 'C:\' AS x, ' LIMIT 5' FROM e", False),
    ("postgresql", r"SELECT E'it\'s LIMIT 5' FROM e", False),
    ("postgresql", "SELECT $$ LIMIT 5 $$ FROM e", False),
    ("postgresql", "SELECT $a$ $$ LIMIT 5 $a$ FROM e LIMIT 5", True),
    ("postgresql", "SELECT data #>> '{a}' FROM e LIMIT 5", True),
    ("postgresql", "SELECT a[1], x::text FROM e WHERE y = $1 LIMIT $2", True),
    ("postgresql", "SELECT * FROM e /* a /* b */ LIMIT 5 */", False),
    ("postgresql", "SELECT * FROM e LIMIT '5'", True),
    ("sqlite", "SELECT [limit 5] FROM e", False),
    ("sqlite", "SELECT * FROM e /* a /* b */ LIMIT 5", True),
    ("mssql", "SELECT [TOP 5], limit FROM e", False),
    ("mssql", "SELECT limit FROM e WHERE limit > 5", False),
    ("mssql", "SELECT TOP 5 * FROM [a]]b]", True),
    ("oracle", "SELECT q'[it's ROWNUM < 5]' FROM e", False),
    ("oracle", "SELECT q'!it's!' FROM e WHERE ROWNUM < 5", True),
    ("oracle", "SELECT /*+ FIRST_ROWS(10) */ * FROM e", False),
    ("oracle", "SELECT * FROM e WHERE ROWNUM > 0", False),
]


@pytest.mark.parametrize(("dialect", "sql", "limited"), OWN)
def test_s23_each_dialect_is_read_in_its_own_way(dialect: str, sql: str, limited: bool) -> None:
    assert bool(limits_rows(sql, dialect=dialect)) is limited


def test_s23_the_words_are_told() -> None:
    assert limits_rows("select * from e limit 500;") == "limit 500"
    assert limits_rows("SELECT TOP (500) * FROM e") == "TOP ( 500 )"
    assert limits_rows("") is None
    assert limits_rows("SELECT 'open LIMIT 5") is None
    assert limits_rows(")))) LIMIT 5") == "LIMIT 5"


@pytest.mark.parametrize("file", PRESETS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_s23_no_preset_leaves_rows_out(file: Path) -> None:
    sql = file.read_text(encoding="utf-8")
    for dialect in ALL:
        assert limits_rows(sql, dialect=dialect) is None
