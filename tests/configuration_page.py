"""The tables of schemas/CONFIGURATION.md, written from the model:
`python -m tests.configuration_page`, which is `just docs`.

The page itself is written by hand; between `<!-- keys: Model -->` and `<!-- end -->` stands what
this file writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from schemas.config import Config
from schemas.config_values import DashboardId, Section, Unit

PAGE = Path(__file__).parents[1] / "schemas" / "CONFIGURATION.md"
HEAD = "| key | type | default | unit, bounds | what it does |\n|---|---|---|---|---|\n"
_REGION = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)
_WORDS = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", Path: "path"}
_UNITS = (
    "seconds",
    "minutes",
    "hours",
    "days",
    "bytes",
    "events",
    "runs",
    "batches",
    "invitations",
    "share",
)
A_SOURCE = """
[sources.some]
url_env = "SOME_DATABASE_URL"
preset = "librebooking"
[sources.some.sites]
"1" = { location_id = 1 }
"""
_HIDDEN = {"root", "file"}
"""Fields of the whole file that are no keys of it."""


def list_models() -> dict[str, type[Any]]:
    """Every table of the file by the name of its model, the whole file first."""
    tables = [
        model for model in Section.__subclasses__() if model.__module__.startswith("schemas.")
    ]
    return {"Config": Config} | {model.__name__: model for model in tables}


def list_keys(model: type[Any]) -> dict[str, FieldInfo]:
    """The keys that a table of the file may have; of the whole file without its tables."""
    fields = model.model_fields.items()
    return {
        name: entry
        for name, entry in fields
        if model is not Config or not (name in _HIDDEN or _is_table(entry))
    }


def write_page(page: str) -> str:
    """The page with every table as the model says now."""
    models = list_models()
    return _REGION.sub(lambda found: found[1] + describe_model(models[found[2]]) + found[3], page)


def describe_model(model: type[Any]) -> str:
    """A table of a model's keys: type, default, unit and bounds, description."""
    rows = []
    for name, entry in list_keys(model).items():
        cells = (
            f"`{name}`",
            _type(entry),
            _default(entry),
            ", ".join(_bounds(name, entry)),
            _escape(entry.description or ""),
        )
        rows.append("| " + " | ".join(cell or "–" for cell in cells) + " |\n")
    return HEAD + "".join(rows)


def with_a_source(example: str) -> str:
    """An example of the page as a whole file: one that shows another table gets the source that
    every file needs.
    """
    return example if "[sources." in example else f"{example}\n{A_SOURCE}"


def find_unit(name: str, entry: FieldInfo) -> str:
    """What a number counts: as its type says, or the last word of its key; empty for what is no
    number of anything.
    """
    given = [each.name for each in _metadata(entry) if isinstance(each, Unit)]
    last = name.rpartition("_")[2]
    return given[0] if given else last if last in _UNITS else ""


def is_number(entry: FieldInfo) -> bool:
    """Whether the key holds a number that counts something; ids of essentry count nothing."""
    return (
        bool({int, float} & {_plain(kind) for kind in _kinds(entry.annotation)})
        and entry.annotation not in _IDS
    )


_IDS = (DashboardId, DashboardId | None)


def _is_table(entry: FieldInfo) -> bool:
    tables = [entry.annotation, *get_args(entry.annotation)]
    return any(isinstance(kind, type) and issubclass(kind, Section) for kind in tables)


def _kinds(annotation: Any) -> Iterator[Any]:
    """The members of a union without None, or the type itself."""
    if get_origin(annotation) in (Union, UnionType):
        for kind in get_args(annotation):
            if kind is not type(None):
                yield from _kinds(kind)
    else:
        yield annotation


def _plain(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _metadata(entry: FieldInfo) -> list[Any]:
    """What stands at a field and at the types of its union: bounds, checks, units."""
    found = list(entry.metadata)
    for kind in _kinds(entry.annotation):
        for each in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
            found += each.metadata if isinstance(each, FieldInfo) else [each]
    return found


def _type(entry: FieldInfo) -> str:
    if entry.annotation in _IDS:
        return "number or dashboard address"
    if any(isinstance(each, AfterValidator) for each in _metadata(entry)):
        return "IANA time zone"
    return " or ".join(_word(kind) for kind in _kinds(entry.annotation))


def _word(kind: Any) -> str:
    kind = _plain(kind)
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        return ", ".join(f'`"{value}"`' for value in arguments)
    if get_origin(kind) is list:
        return "list of texts" if arguments == (str,) else f"list of {_word(arguments[0])}"
    if get_origin(kind) is dict:
        return "table"
    if isinstance(kind, type) and issubclass(kind, Section):
        return f"`{{ {', '.join(kind.model_fields)} }}`"
    return _WORDS[kind]


def _default(entry: FieldInfo) -> str:
    if entry.is_required():
        return "required"
    value = entry.get_default(call_default_factory=True, validated_data={})
    assert value is not PydanticUndefined
    return "–" if value is None else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    """A value as it is written in the file."""
    if isinstance(value, Section):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, Path)):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
            if value
            else "{}"
        )
    return f"{value:g}" if isinstance(value, float) else str(value)


def _escape(text: str) -> str:
    """A description in a table: what is no code is no mark-up either."""
    parts = text.replace("|", "\\|").split("`")
    return "`".join(
        re.sub(r"([<*])", r"\\\1", part) if n % 2 == 0 else part for n, part in enumerate(parts)
    )


def _bounds(name: str, entry: FieldInfo) -> Iterator[str]:
    unit = find_unit(name, entry) if is_number(entry) else ""
    if unit:
        yield unit
    if entry.annotation in _IDS:
        return
    signs = {"ge": "≥ {:,}", "gt": "> {:,}", "le": "≤ {:,}", "lt": "< {:,}"}
    lengths = {"min_length": "≥ {:,} characters", "max_length": "≤ {:,} characters"}
    for bound in _metadata(entry):
        for key, words in (signs | lengths).items():
            value = getattr(bound, key, None)
            if value is not None:
                yield words.format(int(value) if value == int(value) or value > 1 else value)


if __name__ == "__main__":
    PAGE.write_text(write_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
