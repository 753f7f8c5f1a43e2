"""The settings that decide who or what is mailed, as a digest that the state store remembers, and
the questions that a change of them asks. Pure.

A setting is policy unless NOT_POLICY names it, so a new one is policy by default. What is kept is
each source's own view of all of them: a question is open for a source and a setting, and it stays
open until a plan that could show its effect was sent (S24). A quiet hour, a source that was not
read or is unhealthy, and a pilot that leaves its events out answer nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, get_args, get_origin

import orjson
import pandas as pd
from pydantic import BaseModel

from schemas.config import Config
from schemas.config_source import SourceConfig
from transforms.arrow.columns import is_among
from transforms.diff.changes import SENT
from transforms.naming.naming import Naming

NOT_POLICY = frozenset(
    {
        "root", "file", "on_source_failure", "state", "report", "scale", "audit", "checkins",
        "pilot.paused",
        # who we are (S13), and how requests travel
        "essentry.base_url", "essentry.token_env", "essentry.agent_token_env",
        "essentry.token_block", "essentry.agent_token_block",
        "essentry.batch_events", "essentry.batch_bytes", "essentry.concurrency",
        "essentry.timeout_seconds",
        "essentry.retry_budget_seconds", "essentry.max_rejected_batches",
        "essentry.delete_done_codes",
        # how much goes without a question is no part of what goes
        "guards.max_deletes", "guards.max_delete_share", "guards.max_guest_removals",
        "guards.max_new_invitations",
        "guards.max_people_mailed", "guards.max_mails_per_guest", "guards.max_update_share",
        "guards.max_quarantine_share",
        "guards.max_shrink_share", "guards.max_churn", "guards.max_full_resend",
        "guards.max_outside_hosts",
        "guards.max_host_domain_guests", "guards.max_new_domain_guests", "guards.min_count",
        "guards.limit_hours",
        "guards.approve_first_run", "guards.approve_policy_change", "guards.on_trip",
        "guards.plan_max_age_hours",
        "guards.approval_wait_minutes", "guards.sql_seconds",
        # what reports call a place; what a source is when it fails; what its ids begin with, by
        # which it is kept here
        "sources.*.sites.*.name", "sources.*.rooms.*.name", "sources.*.on_failure",
        "sources.*.id_prefix",
        # they stand here by what they lead to: `SourceConfig.found`
        "sources.*.url_env", "sources.*.url_block",
    }
)  # fmt: skip
"""Settings, and whole tables of them, that decide nobody's mail."""

_FOUND = ("url", "events_sql", "guests_sql")
_OWN_GUARDS = "guards.sql"
"""Who is mailed does not hang on them, and a guard that somebody changed or took away is told all
the same.
"""
_PARTLY_SHOWN = {
    "essentry.guest_list": "update",
    "essentry.payload": "update",
    "essentry.send_updated_at": "update",
}
_FORM = 2
_OLD_OF_A_SOURCE = {
    "preset", "guests", "internal_domains", "events_without_guests", "pending", "untitled",
    "private_title", "sites", "rooms",
    "custom_fields", "times", "timezone",
}  # fmt: skip
_OLD_PLACE = ("location_id", "entrance_id", "timezone")
_NEW = "*"
"""The question of a source that the kept policy does not know."""
_NOT_KEPT = "?"
"""The question of settings of which a digest alone was kept."""


@dataclass(frozen=True)
class Question:
    """A setting that a source has not been sent under. source: the first part of its ids; key: as
    the configuration writes it.
    """

    source: str
    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Policy:
    """The settings as they are: source → key → value; `fields`: key → its field of the
    configuration's model.
    """

    sources: Mapping[str, Mapping[str, Any]]
    fields: Mapping[str, str]

    @property
    def digest(self) -> str:
        """What a plan remembers of them."""
        return _digest(self.sources)


def read_policy(config: Config) -> Policy:
    """The settings of a configuration that decide who or what is mailed, as each source sees
    them.
    """
    shared = {
        key: (value, field)
        for key, value, field in _list_settings(config, (), ())
        if not field.startswith("sources.")
    }
    fields = {key: field for key, (_, field) in shared.items()}
    sources: dict[str, dict[str, Any]] = {}
    for name, entry in config.sources.items():
        mine = {key: value for key, (value, _) in shared.items()}
        for key, value, field in _list_settings(entry, (), ("sources", "*")):
            if key not in _FOUND:
                mine[key], fields[key] = value, field
        for key in _FOUND:
            mine[key], fields[key] = _find(entry, key), f"sources.*.{key}"
        # by what their ids begin with: a renamed source invites nobody else
        sources[entry.id_prefix or name] = mine
    return Policy(sources, fields)


def digest_policy(config: Config) -> tuple[str, str]:
    """Digest and JSON of the settings that decide who or what is mailed."""
    policy = read_policy(config)
    return policy.digest, _dump(policy.sources, {})


def list_fields(model: type[BaseModel] = Config, prefix: tuple[str, ...] = ()) -> Iterator[str]:
    """Every setting of the configuration's model, `sources.*.guests`; of a table that is no policy
    as a whole its name alone.
    """
    for name, field in model.model_fields.items():
        path = (*prefix, name)
        inner = [] if ".".join(path) in NOT_POLICY else _find_models(field.annotation)
        if not inner or not _is_model(field.annotation):  # a plain value may stand there
            yield ".".join(path)
        for each in inner:
            yield from list_fields(
                each, (*path, "*") if get_origin(field.annotation) is dict else path
            )


@cache
def _known_fields() -> tuple[str, ...]:
    return tuple(sorted(set(list_fields())))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _find_models(annotation: Any) -> list[type[BaseModel]]:
    if _is_model(annotation):
        return [annotation]
    return [model for part in get_args(annotation) for model in _find_models(part)]


def _list_settings(
    model: BaseModel, path: tuple[str, ...], field: tuple[str, ...]
) -> Iterator[tuple[str, Any, str]]:
    """Key, value and field of every setting that is policy."""
    for name in type(model).model_fields:
        here, pattern = (*path, name), (*field, name)
        if ".".join(pattern) in NOT_POLICY or pattern == ("sources",):
            continue
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _list_settings(value, here, pattern)
        elif isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, BaseModel):
                    yield from _list_settings(item, (*here, key), (*pattern, "*"))
                else:  # a guard's SELECT may name people, and is kept by what it says alone
                    value_of = (
                        digest_select(str(item))
                        if ".".join(pattern) == _OWN_GUARDS
                        else _plain(item)
                    )
                    yield ".".join((*here, key)), value_of, ".".join(pattern)
        else:
            yield ".".join(here), _plain(value), ".".join(pattern)


def _plain(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))


def _find(entry: SourceConfig, key: str) -> str | None:
    """What the configuration's own text leads to: of a completed source a digest of the database's
    address or of a SELECT.
    """
    if key in entry.found:
        return entry.found[key]
    if key == "url" and entry.url is None:
        return entry.url_env or entry.url_block
    value = getattr(entry, key)
    return None if value is None else digest_url(value) if key == "url" else str(value)


def digest_url(url: str) -> str:
    """A database's address without what only opens it: the password, and whatever the query says of
    one.
    """
    scheme, slashes, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    login, at, place = rest.rpartition("@")
    secret = ("pass", "pwd", "secret", "token")
    shown = [
        part
        for part in query.split("&")
        if not any(word in part.partition("=")[0].lower() for word in secret)
    ]
    return _hash(f"{scheme}{slashes}{login.partition(':')[0]}{at}{place}?{'&'.join(sorted(shown))}")


def digest_select(text: str) -> str:
    """A SELECT's text; line ends, indentation, empty lines and a last semicolon make no other
    one.
    """
    lines = [line.strip() for line in text.replace("\ufeff", "").splitlines()]
    return _hash("\n".join(line for line in lines if line).rstrip("; \n"))


def _hash(text: str) -> str:
    return "sha256:" + sha256(text.encode()).hexdigest()[:24]


def _digest(sources: Mapping[str, Any]) -> str:
    return sha256(orjson.dumps(sources, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _dump(sources: Mapping[str, Any], answered: Mapping[str, Any]) -> str:
    kept = {"form": _FORM, "fields": _known_fields(), "sources": sources, "answered": answered}
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode()


# -- questions -------------------------------------------------------------------------------------


def list_questions(
    saved_digest: str | None, saved_json: str | None, config: Config
) -> list[Question]:
    """What differs between the settings that essentry was sent under and those of now, by source.

    A setting that the kept form did not know yet is taken over without a question: nothing tells
    what it was. Where only a digest was kept, all of the sources are asked about, unless the
    settings of that form are still the same.
    """
    now = read_policy(config)
    if saved_digest is None or saved_digest == now.digest:
        return []
    saved = _read_saved(saved_digest, saved_json, config)
    if saved is None:
        return [Question(source, _NOT_KEPT, None, None) for source in now.sources]
    questions = []
    for source, settings in now.sources.items():
        before = saved["sources"].get(source)
        if before is None:
            questions.append(Question(source, _NEW, None, None))
            continue
        for key in sorted({**before, **settings}):
            old, new = before.get(key), settings.get(key)
            known = key in before or now.fields[key] in saved["fields"]
            if known and old != new:
                questions.append(Question(source, key, old, new))
    return questions


def _read_saved(digest: str, text: str | None, config: Config) -> dict[str, Any] | None:
    """The kept settings in today's form; None when they were not kept."""
    if not text:
        if digest != _digest(_old_form(config)):
            return None
        text = orjson.dumps(_old_form(config)).decode()
    kept: dict[str, Any] = orjson.loads(text)
    if kept.get("form") == _FORM:
        return kept
    shared = {"essentry.guest_list": kept["guest_list"], "window.days_ahead": kept["window"]}
    sources = {name: shared | _flatten(entry) for name, entry in kept["sources"].items()}
    fields = [*shared, *(f"sources.*.{name}" for name in _OLD_OF_A_SOURCE)]
    fields += [f"sources.*.{table}.*.{name}" for table in ("sites", "rooms") for name in _OLD_PLACE]
    return {"sources": sources, "fields": fields, "answered": {}}


def _old_form(config: Config) -> dict[str, Any]:
    """The policy as releases before this form kept it."""
    sources = {}
    for name, entry in config.sources.items():
        dumped = entry.model_dump(mode="json", include=_OLD_OF_A_SOURCE)
        for table in ("sites", "rooms"):
            dumped[table] = {
                key: {part: place.get(part) for part in _OLD_PLACE}
                if isinstance(place, dict)
                else place
                for key, place in dumped[table].items()
            }
        sources[entry.id_prefix or name] = dumped
    return {
        "guest_list": config.essentry.guest_list,
        "window": config.window.days_ahead,
        "sources": sources,
    }


def _flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, item in value.items():
        key = f"{path}.{name}" if path else name
        found |= _flatten(item, key) if isinstance(item, dict) else {key: item}
    return found


@dataclass(frozen=True)
class Shown:
    """What a plan shows of a source: `update`, `again` (sent after it had ended) or any other
    `change`.
    """

    change: int = 0
    update: int = 0
    again: int = 0


def count_shown(
    changes: pd.DataFrame, snapshot: pd.DataFrame, config: Config, naming: Naming
) -> dict[str, Shown]:
    """Prefix → what the plan shows of that source's events; a meeting of several records shows
    something of each of their sources.

    changes: source_id, source, action, members_json. snapshot: source_id and state of what essentry
    holds or held.
    """
    sent = changes[changes["action"].isin(SENT)]
    ended = snapshot.loc[snapshot["state"] != "active", "source_id"]
    facts = pd.DataFrame(
        {
            "source": sent["source"].astype("str"),
            "update": (sent["action"] == "update").to_numpy(dtype=bool),
            "again": is_among(sent["source_id"], ended)
            & (sent["action"] != "delete").to_numpy(dtype=bool),
        }
    )
    joint = sent.loc[sent["members_json"].notna(), ["members_json"]]
    others = [
        facts.loc[[row]].assign(source=source)
        for row, text in joint["members_json"].items()  # united meetings are few
        for source in _name_owners(orjson.loads(str(text)), naming) - {facts.at[row, "source"]}
    ]
    by_source = pd.concat([facts, *others], ignore_index=True).groupby("source")
    told = by_source.agg(
        change=("update", "size"), update=("update", "sum"), again=("again", "sum")
    )
    return {
        config.sources[source].id_prefix or source: Shown(
            int(row["change"]), int(row["update"]), int(row["again"])
        )
        for source, row in told.iterrows()
        if source in config.sources
    }


def _name_owners(ids: Collection[str], naming: Naming) -> set[str]:
    owners = set()
    for source_id in ids:
        try:
            owners.add(naming.read_event(source_id).source)
        except ValueError:
            continue
    return owners


def choose_asked(
    questions: Collection[Question],
    shown: Mapping[str, Shown],
    config: Config,
    saved_json: str | None,
) -> list[Question]:
    """The questions whose effect this plan may show, without those that were answered under the
    same pilot.
    """
    answered = orjson.loads(saved_json).get("answered", {}) if saved_json else {}
    marks = _marks(config)
    asked = []
    for question in questions:
        facts = shown.get(question.source, Shown())
        kind = (
            "again"
            if question.key.startswith("essentry.on_reappear")
            else _PARTLY_SHOWN.get(question.key, "change")
        )
        told = answered.get(question.source, {}).get(question.key)
        if getattr(facts, kind) and told != _mark(question, marks):
            asked.append(question)
    return asked


def settle_policy(
    saved_digest: str | None,
    saved_json: str | None,
    config: Config,
    *,
    asked: Collection[Question],
    unseen: Collection[str] = (),
    left_out: Collection[str] = (),
) -> tuple[str, str]:
    """Digest and JSON to remember once a plan is sent: what it answered is settled, every other
    question stays open.

    asked: the questions that the plan's effect answers. unseen: prefixes of sources that were not
    read, or not healthy; left_out: prefixes of which the pilot left changes out: there an answer
    holds while the pilot and the setting stay as they are. With nothing saved before, everything is
    settled: of a source that could not be read nothing has changed since, and its first events ask
    as a first run does.
    """
    now = read_policy(config)
    if saved_digest is None:
        return now.digest, _dump(now.sources, {})
    questions = list_questions(saved_digest, saved_json, config)
    settled = {
        (q.source, q.key) for q in asked if q.source not in unseen and q.source not in left_out
    }
    # a setting of all sources is answered for each that was seen, a quiet one too: a person has
    # read it
    everywhere = {q.key for q in asked if (q.source, q.key) in settled and _is_shared(q.key, now)}
    settled |= {
        (q.source, q.key)
        for q in questions
        if q.key in everywhere and q.source not in unseen and q.source not in left_out
    }
    rest = [q for q in questions if (q.source, q.key) not in settled]
    saved = _read_saved(saved_digest, saved_json, config)
    if saved is None:
        if any(q.key == _NOT_KEPT for q in rest):
            return saved_digest, saved_json or ""
        saved = {"answered": {}}
    kept = {name: dict(settings) for name, settings in now.sources.items()}
    for question in rest:
        if question.key == _NEW:
            del kept[question.source]
        elif question.before is None and question.key not in saved["sources"][question.source]:
            del kept[question.source][question.key]
        else:
            kept[question.source][question.key] = question.before
    marks = _marks(config)
    answered: dict[str, dict[str, str]] = {}
    for question in rest:
        mark = _mark(question, marks)
        again = any((q.source, q.key) == (question.source, question.key) for q in asked)
        known = saved.get("answered", {}).get(question.source, {}).get(question.key) == mark
        if known or (again and question.source in left_out and question.source not in unseen):
            answered.setdefault(question.source, {})[question.key] = mark
    return _digest(kept), _dump(kept, answered)


def _is_shared(key: str, now: Policy) -> bool:
    """Whether it is a setting of all sources; a guard that is gone is in no model any more."""
    return key.startswith(f"{_OWN_GUARDS}.") or not now.fields.get(key, "sources.").startswith(
        "sources."
    )


def _marks(config: Config) -> str:
    return config.pilot.model_dump_json(exclude={"paused"})


def _mark(question: Question, pilot: str) -> str:
    return _hash(orjson.dumps([question.after, pilot]).decode())


def name_questions(questions: Collection[Question], sources: Collection[str]) -> tuple[str, ...]:
    """The questions in words, `sources.hr.guests: external → all`; a setting of all sources
    once.
    """
    told: dict[str, list[str]] = {}
    for question in sorted(questions, key=lambda q: (q.source, q.key)):
        name, key = question.source, question.key
        if key == _NEW:
            words = f"sources.{name}: new"
        elif key == _NOT_KEPT:
            words = "which settings they are was not kept"
        else:
            shared = key.split(".")[0] in Config.model_fields and "." in key
            own = key.startswith(f"{_OWN_GUARDS}.")
            kind = (
                "new"
                if question.before is None
                else "gone"
                if question.after is None
                else "changed"
            )
            change = (
                kind
                if own
                else "changed"
                if key in _FOUND
                else f"{_show(question.before)} → {_show(question.after)}"
            )
            words = f"{key if shared else f'sources.{name}.{key}'}: {change}"
        told.setdefault(words, []).append(name)
    everywhere = len(set(sources))
    return tuple(
        words
        if words.startswith("sources.") or len(names) in (0, everywhere) or "not kept" in words
        else f"{words} ({', '.join(names)})"
        for words, names in told.items()
    )


def _show(value: Any) -> str:
    return (
        "–" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
    )
