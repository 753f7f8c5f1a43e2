"""The README and what it leads to name every command and every key of the configuration, and
nothing that does not exist.
"""

import inspect
import re
from pathlib import Path

import pytest

from flows.commands.called import WITHOUT_CONFIG
from flows.commands.main import app
from flows.sources.presets import complete_source
from schemas.config import (
    AuditConfig,
    CheckInsConfig,
    Config,
    ReportConfig,
    ScaleConfig,
    StateConfig,
    WindowConfig,
)
from schemas.config_essentry import EssentryConfig
from schemas.config_guards import GuardsConfig, PeopleLimit, PilotConfig, ScopedLimit
from schemas.config_source import SiteConfig, SourceConfig
from schemas.load_config import load_config
from tests.configuration_page import list_keys, list_models, with_a_source

ROOT = Path(__file__).parent.parent
README, OPERATING, CONFIGURATION = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "flows/OPERATING.md", "schemas/CONFIGURATION.md")
)
SECTIONS = {
    "### Top level": Config,
    "### `[essentry]`": EssentryConfig,
    "### `[state]`": StateConfig,
    "### `[sources.<name>]`": SourceConfig,
    "### `[sources.<name>.sites]`": SiteConfig,
    "### `[window]`": WindowConfig,
    "### `[guards]`": GuardsConfig,
    "### A limit by scope": ScopedLimit,
    "### A limit by kind of mail": PeopleLimit,
    "### `[pilot]`": PilotConfig,
    "### `[audit]`": AuditConfig,
    "### `[checkins]`": CheckInsConfig,
    "### `[report]`": ReportConfig,
    "### `[scale]`": ScaleConfig,
}


def table_after(title: str) -> dict[str, str]:
    rest = CONFIGURATION[CONFIGURATION.index("\n" + title) :]
    table = rest[rest.index("|---") :].split("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", table, flags=re.M))


@pytest.mark.parametrize("title", SECTIONS)
def test_readme_documents_every_key(title):
    documented = table_after(title)
    assert set(documented) == set(list_keys(SECTIONS[title]))
    undescribed = [
        key for key, text in documented.items() if text.rpartition("|")[2].strip() in ("", "–")
    ]
    assert undescribed == []


def test_every_table_of_the_file_is_among_the_sections():
    assert set(SECTIONS.values()) == set(list_models().values())


def test_readme_documents_every_command():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    section = OPERATING[OPERATING.index("## Commands") : OPERATING.index("| exit code")]
    assert {
        name.split()[0] for name in re.findall(r"^\| `([a-z][^`]*)` \|", section, flags=re.M)
    } == names


def test_which_commands_take_no_config_is_said():
    """The sentence under the table, and the list by which commands are spelled, are those of the
    commands themselves.
    """
    without = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if "config" not in inspect.signature(command.callback).parameters
    }
    assert without == WITHOUT_CONFIG
    sentence = OPERATING[OPERATING.index("All but `") : OPERATING.index(" take `--config`")]
    assert set(re.findall(r"`([a-z]+)`", sentence)) == without


def test_readme_examples_are_valid_configurations(tmp_path):
    examples = re.findall(r"```toml\n(.*?)```", README, flags=re.S)
    examples += [
        with_a_source(example)
        for example in re.findall(r"```toml\n(.*?)```", CONFIGURATION, flags=re.S)
    ]
    assert len(examples) >= 4
    for example in examples:
        path = tmp_path / "essentry-sync.toml"
        path.write_text(example, encoding="utf-8")
        for source in load_config(path).sources.values():
            assert complete_source(source).times in ("utc", "epoch", "local")


def test_readme_is_a_front_page():
    assert len(README.splitlines()) <= 150


PAGES = [
    *("README.md", "flows/OPERATING.md", "schemas/CONFIGURATION.md", "tests/bench/README.md"),
    *("data/sources/README.md", "data/sources/COOKBOOK.md", "flows/README.md"),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_chapter_leads_to_one(page):
    """As GitHub names chapters: small letters, blanks as hyphens, no other signs."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for file, chapter in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        there = ((ROOT / page).parent / file).read_text(encoding="utf-8") if file else text
        titles = re.findall(
            r"^#+ (.*)$", re.sub(r"^```.*?^```", "", there, flags=re.S | re.M), flags=re.M
        )
        assert chapter in [
            re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles
        ], f"{file}#{chapter}"
