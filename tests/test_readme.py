"""The README names every command and every key of the configuration, and nothing that does not exist."""

import re
from pathlib import Path

import pytest

from flows.commands.main import app
from flows.sources.presets import complete_source
from schemas import config

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    "`[essentry]`": config.EssentryConfig,
    "`[state]`": config.StateConfig,
    "`[sources.<name>]`": config.SourceConfig,
    "`[sources.<name>.sites]`": config.SiteConfig,
    "`[window]`": config.WindowConfig,
    "`[guards]`": config.GuardsConfig,
    "`[pilot]`": config.PilotConfig,
    "`[report]`": config.ReportConfig,
    "`[scale]`": config.ScaleConfig,
}


def table_after(title: str) -> dict[str, str]:
    rest = README[README.index("\n" + title) :]
    table = rest[rest.index("|---") :].split("\n\n")[0]
    return dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", table, flags=re.M))


@pytest.mark.parametrize("title", SECTIONS)
def test_readme_documents_every_key(title):
    documented = table_after(title)
    assert set(documented) == set(SECTIONS[title].model_fields)
    undescribed = [key for key, text in documented.items() if not text.rpartition("|")[2].strip()]
    assert [key for key in undescribed if key not in ("location_id",)] == []


def test_readme_documents_every_command():
    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    section = README[README.index("## Commands") : README.index("| exit code")]
    assert {name.split()[0] for name in re.findall(r"^\| `([a-z][^`]*)` \|", section, flags=re.M)} == names


def test_readme_examples_are_valid_configurations(tmp_path):
    examples = re.findall(r"```toml\n(.*?)```", README, flags=re.S)
    assert len(examples) >= 4
    for example in examples:
        path = tmp_path / "essentry-sync.toml"
        path.write_text(example, encoding="utf-8")
        for source in config.load_config(path).sources.values():
            assert complete_source(source).times in ("utc", "epoch", "local")
