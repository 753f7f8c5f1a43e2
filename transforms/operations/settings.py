"""Which settings of two configurations differ, and one configuration with a single setting of the
other. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.config import Config
from schemas.config_source import SourceConfig
from transforms.guards.policy import Question, name_questions, read_policy
from transforms.masking import mask_text

_SECTIONS = ("essentry", "window", "guards", "pilot")
_BESIDES = (
    "guards.min_count",
    "guards.max_quarantine_share",
    "guards.max_shrink_share",
    "pilot.paused",
)
"""What is no policy, and decides all the same what is held: of a source that counts as unhealthy,
and by the kill switch.
"""
_ADDRESS = ("url", "url_env", "url_block")
_READ = ("preset", "events_sql", "guests_sql", "params", "times", "unescape")
"""What goes with a preset."""
_WHOLE = ""


@dataclass(frozen=True)
class Setting:
    """A setting that differs.

    `owner`: its section, or `sources.` and the first part of a source's ids; `field`: empty of a
    source that only one has.
    """

    owner: str
    field: str
    words: str


def list_settings(this: Config, other: Config) -> list[Setting]:
    """What differs, in words `other's → this one's` without a person or a secret; of sources that
    know what they lead to.

    The order is that of the names.
    """
    mine, others = read_policy(this), read_policy(other)
    questions: dict[tuple[str, str], list[Question]] = {}
    for prefix in sorted({*mine.sources, *others.sources}):
        if prefix not in mine.sources or prefix not in others.sources:
            questions[f"sources.{prefix}", _WHOLE] = []
            continue
        now, before = mine.sources[prefix], others.sources[prefix]
        for key in sorted({*now, *before}):
            if now.get(key) == before.get(key):
                continue
            section, _, field = key.partition(".")
            shared = section in _SECTIONS and field
            if not shared and section in _READ and now.get("preset") != before.get("preset"):
                section = "preset"
            place = (section, field.partition(".")[0]) if shared else (f"sources.{prefix}", section)
            questions.setdefault(place, []).append(
                Question(prefix, key, before.get(key), now.get(key))
            )
    found = []
    for (owner, field), asked in questions.items():
        if field == _WHOLE:
            words = (
                f"{owner}: {'new' if owner.removeprefix('sources.') in mine.sources else 'gone'}"
            )
        else:
            words = "; ".join(name_questions(asked, list(mine.sources)))
        found.append(Setting(owner, field, _shorten(mask_text(words))))
    for key in _BESIDES:
        section, field = key.split(".")
        now, before = (getattr(getattr(config, section), field) for config in (this, other))
        if now != before:
            found.append(Setting(section, field, f"{key}: {before} → {now}"))
    return sorted(found, key=lambda setting: (setting.owner, setting.field))


def _shorten(words: str, most: int = 300) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def take_over(config: Config, setting: Setting, giver: Config) -> Config:
    """A configuration with one setting of another, unchecked."""
    if setting.owner in _SECTIONS:
        section = getattr(config, setting.owner)
        given = getattr(getattr(giver, setting.owner), setting.field)
        return config.model_copy(
            update={setting.owner: section.model_copy(update={setting.field: given})}
        )
    prefix = setting.owner.removeprefix("sources.")
    name, entry = _find(config, prefix)
    name_there, there = _find(giver, prefix)
    sources = dict(config.sources)
    if there is None:
        del sources[name]
    elif entry is None:
        sources[name_there] = there
    else:
        fields = (
            _ADDRESS
            if setting.field in _ADDRESS
            else _READ
            if setting.field == "preset"
            else (setting.field,)
        )
        changed = entry.model_copy(update={field: getattr(there, field) for field in fields})
        sources[name] = changed.with_found(
            {**entry.found, **{k: v for k, v in there.found.items() if k in fields}}
        )
    return config.model_copy(update={"sources": sources})


def _find(config: Config, prefix: str) -> tuple[str, SourceConfig | Any]:
    return next(
        (
            (name, entry)
            for name, entry in config.sources.items()
            if (entry.id_prefix or name) == prefix
        ),
        (prefix, None),
    )
