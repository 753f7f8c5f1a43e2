"""schemas/CONFIGURATION.md says what the model says: every key with its type, default, unit,
bounds, and an example that loads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from schemas.config_values import Section, Unit, Zone
from schemas.load_config import load_config
from tests.configuration_page import (
    PAGE,
    describe_model,
    find_unit,
    is_number,
    list_keys,
    list_models,
    with_a_source,
    write_page,
)

TEXT = PAGE.read_text(encoding="utf-8")
KEYS = TEXT[: TEXT.index("\n## What a limit")]
PARTS = {
    re.search(r"<!-- keys: (\w+) -->", part)[1]: part  # type: ignore[index]
    for part in KEYS.split("\n### ")[1:]
}


def test_the_page_is_what_the_model_says() -> None:
    assert write_page(TEXT) == TEXT, "the model has changed: run `uv run just docs`"


def test_every_table_stands_there_once() -> None:
    assert sorted(re.findall(r"<!-- keys: (\w+) -->", TEXT)) == sorted(list_models())
    assert TEXT.count("<!-- end -->") == len(list_models())


@pytest.mark.parametrize("name", list_models())
def test_every_key_is_described_and_every_number_has_its_unit(name: str) -> None:
    keys = list_keys(list_models()[name])
    assert [key for key, entry in keys.items() if not entry.description] == []
    if name != "ScopedLimit":  # its numbers count what the guard's do
        assert [
            key for key, entry in keys.items() if is_number(entry) and not find_unit(key, entry)
        ] == []


@pytest.mark.parametrize("name", PARTS)
def test_every_table_has_an_example_that_loads(name: str, tmp_path: Path) -> None:
    examples = re.findall(r"```toml\n(.*?)```", PARTS[name], flags=re.S)
    assert examples
    for example in examples:
        path = tmp_path / "essentry-sync.toml"
        path.write_text(with_a_source(example), encoding="utf-8")
        load_config(path)
        assert any(re.search(rf"\b{key} = ", example) for key in list_keys(list_models()[name]))


class Sample(Section):
    """A table with a key of each kind."""

    words: list[str] = Field(default_factory=lambda: ["a"], description="*all* | some <b>, `<c>`")
    count: Annotated[int, Unit("things")] = Field(2, ge=1, le=5000, description="how many")
    wait_seconds: float = Field(gt=0, description="how long")
    zone: Zone | None = Field(None, description="where")
    kind: Literal["x", "y"] = Field("x", description="which")


def test_how_a_key_is_told() -> None:
    assert describe_model(Sample).splitlines()[2:] == [
        '| `words` | list of texts | `["a"]` | – | \\*all\\* \\| some \\<b>, `<c>` |',
        "| `count` | whole number | `2` | things, ≥ 1, ≤ 5,000 | how many |",
        "| `wait_seconds` | number | required | seconds, > 0 | how long |",
        "| `zone` | IANA time zone | – | – | where |",
        '| `kind` | `"x"`, `"y"` | `"x"` | – | which |',
    ]
