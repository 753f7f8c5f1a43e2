"""What documents and messages name: commands with their options, keys of the configuration. Read
from the texts, and looked up in the program.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from flows.commands.main import app
from schemas.config import Config
from schemas.config_guards import PeopleLimit, ScopedLimit
from schemas.config_source import SiteConfig, SourceConfig
from schemas.load_config import _sets_something

ROOT = Path(__file__).parents[1]
UNKNOWN = "X"
"""Stands for what only a run knows: the value of an f-string, a variable of a shell or of a job."""
_UsageError: type[Any] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError"
)
_CALL = re.compile(r"(?<![\w./-])essentry-sync ((?:[a-z]|--).*)")
_FENCES = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.S | re.M)
_EXPRESSION = re.compile(r"\$\{\{.*?\}\}|\$\w+|\$\(.*?\)")
_END = re.compile(r"""(?<=\s)(?:#|&&|\|\|?|>|;).*|`.*""")


@cache
def commands() -> dict[str, Any]:
    """Every command by its name."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def check_call(call: str, *, alone: bool = False) -> str | None:
    """What is wrong with a call, without the program's name: no such command, no such option, too
    few words, a value of the wrong kind.

    alone: a command's name may stand for the command, as in a sentence.
    """
    try:
        name, *words = shlex.split(_END.sub("", call))
    except ValueError as error:
        return f"{call}: {error}"
    command = commands().get(name)
    if command is None:
        return f"{call}: there is no command {name}"
    if alone and not words:
        return None
    context = command.context_class(command, info_name=name)
    try:
        given, rest, _ = command.make_parser(context).parse_args(list(words))
        for parameter in command.params:
            value = given.get(parameter.name or "")
            if value in (None, ()) or parameter.name not in given:
                if parameter.required:
                    return f"{call}: {parameter.name} is missing"
            elif value != UNKNOWN and not (
                isinstance(value, str) and value.isupper()
            ):  # a name such as PLAN in place of a value
                parameter.get_runtime_param().coerce(value, param=parameter, ctx=context)
    except _UsageError as error:
        return f"{call}: {error.format_message()}"
    return f"{call}: what is {rest[0]}?" if rest else None


def list_calls(page: str) -> Iterator[str]:
    """The calls of a page of documentation: in its blocks, and between backticks, there also by the
    command's name and options alone.
    """
    blocks = [block for _, block in _FENCES.findall(page)]
    prose = _FENCES.sub("", page)
    indented = re.findall(r"^ {4}.*$", prose, flags=re.M)
    for line in [*"\n".join(blocks).splitlines(), *indented]:
        for part in re.split(r"&&|\|\||- run:", _EXPRESSION.sub(UNKNOWN, line.partition(" # ")[0])):
            if found := _CALL.search(part):
                yield found[1].strip()
    for text in re.findall(
        r"`([^`\n]+)`",
        "\n".join(line for line in prose.splitlines() if not line.startswith("    ")),
    ):
        words = text.removeprefix("uv run essentry-sync ").removeprefix("essentry-sync ")
        first, *others = words.split()
        # a command's name alone is no call
        if (words != text or first in commands()) and (others or first not in commands()):
            yield _without_metavars(_EXPRESSION.sub(UNKNOWN, words))


def _without_metavars(call: str) -> str:
    """`diff RUN_A RUN_B`, `report [RUN]`, `test FILE...`: what may be left out is left out."""
    return re.sub(r" \[\w+\](\.\.\.)?|\.\.\.$", "", call)


@cache
def list_messages(*, raised: bool = False) -> tuple[tuple[str, str], ...]:
    """(file:line, text) of every text of the program that is no docstring; raised: of raised errors
    alone.
    """
    return tuple(_find_messages(raised=raised))


def _find_messages(*, raised: bool) -> Iterator[tuple[str, str]]:
    for layer in ("schemas", "transforms", "flows"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            roots = (
                [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
                if raised
                else [tree]
            )
            for root in roots:
                for node in _list_texts(root):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", _read_text(node)


def _list_texts(root: ast.AST) -> Iterator[Any]:
    """Texts and f-strings; not what stands in an f-string, and no docstring."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            yield node
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            waiting.extend(ast.iter_child_nodes(node))


def _read_text(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value).replace("%s", UNKNOWN)
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else UNKNOWN for part in node.values
    )


def is_key(dotted: str) -> bool:
    """Whether a path such as `guards.max_deletes.run` leads to a key; X stands for the name of a
    source, or for any key.
    """
    parts = dotted.lower().split(".")
    while len(parts) > 1 and parts[-1] == UNKNOWN.lower():
        parts.pop()
    return _sets_something(Config, parts)


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def all_keys() -> set[str]:
    """Every key by its own name, whatever table it stands in."""
    keys = set(Config.model_fields)
    for model in (SourceConfig, SiteConfig, ScopedLimit, PeopleLimit):
        keys |= set(model.model_fields)
    for entry in Config.model_fields.values():
        if _is_table(entry.annotation):
            keys |= set(entry.annotation.model_fields)  # type: ignore[union-attr]
    return keys
