"""What the documents and the messages tell somebody to type is there: commands, options, keys of
the configuration.
"""

from __future__ import annotations

import re

import pytest

from schemas.source import EVENT_COLUMNS, GUEST_COLUMNS
from tests.named import (
    ROOT,
    UNKNOWN,
    all_keys,
    check_call,
    commands,
    is_key,
    list_calls,
    list_messages,
)

PAGES = [
    "README.md",
    "flows/OPERATING.md",
    "schemas/CONFIGURATION.md",
    "tests/bench/README.md",
    "prefect.yaml",
    "data/demo/essentry-sync.toml",
]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "data" / "sources").rglob("*.md"))
OPERATING = (ROOT / "flows" / "OPERATING.md").read_text(encoding="utf-8")
FILES = {"json", "md", "html", "html.j", "js", "css", "sqlite", "com", "name", "message"}
"""What follows `report.`, `state.` or `essentry.` and is no key: files, a host, and what Prefect
knows of a run's state.
"""
EXTRAS = {"metrics", "dask", "files"}
OF_OTHERS = (
    "prefect ",
    "pg_dump ",
    "async with",
    ".prom",
    "&#039;",
    "([^",
    "open_session",
    "events",
    "mails",
    "plan",
)
"""Between backticks, and of nobody's but others: their commands, ends of files, code."""
COLUMNS_OF_ADOPT = {"event_id", "invitation_id", "guest_id", "source_event_id"}
SECTION = r"essentry|state|window|guards|pilot|report|scale|sources"


@pytest.mark.parametrize("page", PAGES)
def test_every_call_of_a_document_can_be_made(page: str) -> None:
    calls = list(list_calls((ROOT / page).read_text(encoding="utf-8")))
    assert [wrong for wrong in map(check_call, calls) if wrong] == []
    if page == "flows/OPERATING.md":
        assert len(calls) >= 40
        assert {call.split()[0] for call in calls} > {
            "adopt",
            "approve",
            "check",
            "compare",
            "forget",
            "qr",
            "serve",
            "sync",
            "test",
        }


def test_every_option_that_operating_names_is_of_some_command() -> None:
    known = {
        name
        for command in commands().values()
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
    }
    text = re.sub(
        r"`(prefect|uv|pg_|gh|curl)[^`]*`|^ *(uv|prefect|- run: gh|- 'curl).*$",
        "",
        OPERATING,
        flags=re.M,
    )
    others = {
        "--clean",
        "--if-exists",
        "--dbname",
        "--format",
        "--extra",
        "--fail",
        "--header",
        "--form",
        "--body-file",
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - others - known == set()


@pytest.mark.parametrize(
    ("call", "wrong"),
    [
        ("aply PLAN", "there is no command aply"),
        ("approve", "plan_id is missing"),
        ("approve PLAN --reson x", "No such option: --reson"),
        ("apply PLAN OTHER", "what is OTHER?"),
        ("check --max-age soon", "Input should be a valid number"),
        ("demo --nights 9", "less than or equal to 3"),
        ("qr a --form jpg", "is not one of"),
        ("sync --full  # all of it", None),
        ("approve latest && uv run essentry-sync apply latest", None),
        ('serve --cron nightly="0 2 * * *" --timezone Europe/Berlin', None),
    ],
)
def test_how_a_call_is_read(call: str, wrong: str | None) -> None:
    found = check_call(call)
    assert (found is None) if wrong is None else (found is not None and wrong in found)


def test_every_command_that_a_message_names_can_be_called() -> None:
    wrong = []
    for place, text in list_messages():
        for call in re.findall(r"`essentry-sync ([^`]+)`", text):
            wrong += [f"{place}: {found}" for found in [check_call(call, alone=True)] if found]
    template = (ROOT / "flows/report/templates/report.html.j2").read_text(encoding="utf-8")
    for call in re.findall(r"<code>essentry-sync (.*?)</code>", template):
        wrong += [found for found in [check_call(re.sub(r"\{\{.*?\}\}", UNKNOWN, call))] if found]
    assert wrong == []


def test_whatever_a_message_quotes_is_there() -> None:
    """Between backticks stands a command, a key, a column, an extra, or something of another
    program.
    """
    known = {*commands(), *all_keys(), *EVENT_COLUMNS, *GUEST_COLUMNS, *EXTRAS, UNKNOWN}
    unknown = []
    for place, text in list_messages():
        for quoted in re.findall(r"`([^`]+)`", text):
            if quoted in known or quoted.startswith((*OF_OTHERS, "essentry-sync ", f"{UNKNOWN} ")):
                continue
            first, *options = quoted.split()
            if first not in commands() or not options or check_call(quoted):
                unknown.append(f"{place}: {quoted}")
    assert unknown == []


def test_every_key_that_a_message_names_is_one() -> None:
    wrong = []
    for place, text in list_messages():
        named = re.findall(rf"(?<![\w./@-])((?:{SECTION})\.[A-Za-z_]+(?:\.[A-Za-z_]+)*)", text)
        named = [name for name in named if name.partition(".")[2] not in FILES]
        for section, key in re.findall(
            rf"\[((?:{SECTION})(?:\.[\w<>]+)*)\](?: ([a-z]+_[a-z_]+|paused)\b)?", text
        ):
            named.append(re.sub(r"<\w+>", UNKNOWN, section) + (f".{key}" if key else ""))
        wrong += [f"{place}: {name}" for name in named if not is_key(name)]
    assert wrong == []


def test_every_word_of_an_error_that_looks_like_a_key_is_one() -> None:
    known = all_keys() | set(EVENT_COLUMNS) | set(GUEST_COLUMNS) | COLUMNS_OF_ADOPT
    # DuckDB's, PostgreSQL's, and what the sandbox knows
    of_others = {"all_varchar", "pg_dump", "source_id", "edit_after"}
    wrong = [
        f"{place}: {word}"
        for place, text in list_messages(raised=True)
        for word in re.findall(r"(?<![\w./%:<`-])[a-z]+(?:_[a-z]+)+(?![\w(.])", text)
        if " " in text and word not in known | of_others
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("guards.max_deletes", True),
        ("guards.max_deletes.run", True),
        ("guards.max_delete", False),
        ("sources.X.params", True),
        ("sources.X.sites.X.location_id", True),
        ("sources.X.param", False),
        ("sources.X.X", True),
        ("report.dir", False),
    ],
)
def test_how_a_key_is_found(name: str, there: bool) -> None:
    assert is_key(name) is there
