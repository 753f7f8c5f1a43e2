"""Two configurations on the same read of the sources and the same state: who would fare otherwise,
and because of which setting. Or one configuration and a plan that waits.

Nothing is sent, and nothing is stored: the comparison works on a copy of the state that is gone
afterwards, and no request leaves but the reading of the sources. It is the comparison of a night
before its second look and without its guards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.connections.urls import parse_url
from flows.night.compare import compare_sources
from flows.night.pages import merge_pages
from flows.night.plan import gather_rejects
from flows.night.run import Night, Run, new_run
from flows.night.session import state_url
from flows.operations.history import find_run
from flows.sources.contents import find_contents
from flows.sources.presets import complete_config
from flows.sources.read import Extracted
from flows.sources.read_together import read_together
from flows.state.copy import open_copy
from flows.state.store import State
from schemas.config import Config, ScaleConfig
from schemas.config_source import SourceConfig
from schemas.errors import ConfigurationError, SourceError
from schemas.frames import DECISION_COLUMNS
from transforms.guards.policy import digest_policy
from transforms.operations.differences import (
    Comparison,
    Outcomes,
    find_cause,
    find_differences,
    find_shares,
    read_outcomes,
)
from transforms.operations.settings import list_settings, take_over
from transforms.report.mails import list_mails, needs_payload

STORED = ("seq", "source_id", "source", "action", "reason", "fields_json", "guests_json", "after")
MOST_TRIALS = 20
"""So many settings are tried one by one; with more of them, all are named as the cause."""


def compare_configs(config: Config, other: Config, *, as_of: datetime | None = None) -> Comparison:
    """What `config` would do and `other` would not, on the state of `config`.

    Raises ConfigurationError for what a night refuses, naming which of the two it is, and
    SourceError when a source cannot be read.
    """
    run = new_run(as_of)
    this, that = _settle(config), _settle(other)
    settings = list_settings(this, that)
    several = settings if 1 < len(settings) <= MOST_TRIALS else []
    forth = [take_over(that, setting, this) for setting in several]
    back = [take_over(this, setting, that) for setting in several]
    try:
        (rows, other_rows), tried = read_together([this, that], trials=[*forth, *back])
    except SourceError:  # perhaps of a trial, as a SELECT under the other's parameters
        if not several:
            raise
        several, forth, back = [], [], []
        (rows, other_rows), tried = read_together([this, that])
    url = state_url(config)
    empty = url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists()
    with open_copy(url) as state:
        state.settle_lost(now=datetime.now(UTC), run_id=run.run_id)  # as a night begins
        state.revive_expired(run.as_of)
        outcomes = []
        for side, each, read in (
            ("this configuration", this, rows),
            ("the other configuration", that, other_rows),
        ):
            try:
                outcomes.append(_find_outcomes(each, state, run, read))
            except ConfigurationError as error:
                raise ConfigurationError(f"{side}: {error}") from None
        differences = find_differences(*outcomes)

        def try_each(
            trials: list[Config], read: Sequence[Mapping[str, Extracted] | None]
        ) -> dict[str, Outcomes]:
            found = {}
            for setting, trial, some in zip(several, trials, read, strict=True):
                if some:
                    # one that makes no night alone is not tried alone
                    with suppress(ConfigurationError):
                        found[setting.words] = _find_outcomes(trial, state, run, some)
            return found

        causes: dict[str, tuple[str, ...]] = {}
        if several and differences:
            alone = try_each(forth, tried[: len(several)])
            causes = {
                difference.source_id: find_cause(difference, alone) for difference in differences
            }
            if not all(causes.values()):
                without = try_each(back, tried[len(several) :])
                causes |= {
                    d.source_id: find_shares(d, alone, without)
                    for d in differences
                    if not causes[d.source_id]
                }
    words = tuple(setting.words for setting in settings)
    named = tuple(
        replace(difference, causes=causes.get(difference.source_id) or words)
        for difference in differences
    )
    return Comparison(words, named, outcomes[0], outcomes[1], empty)


def compare_with_plan(config: Config, run: str, *, as_of: datetime | None = None) -> Comparison:
    """What `config` would send now and the plan of an earlier run would not, which nobody has sent
    yet. Events that are held are not compared.

    Raises ConfigurationError where there is no such plan, or it was sent: the state has moved on
    since.
    """
    now = new_run(as_of)
    this = _settle(config)
    (rows,), _ = read_together([this])
    with open_copy(state_url(config)) as state:
        stored, changes = state.load_plan(_find_plan(state, run), columns=STORED)
        if stored["status"] not in ("waiting", "approved", "empty"):
            raise ConfigurationError(
                f"the plan {stored['plan_id']} is {stored['status']}: "
                "the state has moved on since, so nothing can be held against it; "
                "name a run that sent nothing, or another configuration"
            )
        if stored["selection"]:
            raise ConfigurationError(
                f"the plan {stored['plan_id']} is one of some events alone "
                f"({stored['selection']}): name a run of a whole night"
            )
        contents = dict(
            changes.loc[changes["after"].notna(), ["seq", "after"]].itertuples(
                index=False, name=None
            )
        )
        needed = set(changes.loc[needs_payload(changes), "seq"])
        mails = list_mails(changes, {seq: text for seq, text in contents.items() if seq in needed})
        other = read_outcomes(
            changes[DECISION_COLUMNS], [changes], mails, state.quarantine(stored["run_id"])
        )
        mine = _only_sent(_find_outcomes(this, state, now, rows))
    words = (
        ()
        if stored["policy_digest"] == digest_policy(this)[0]
        else ("the settings have changed since",)
    )
    differences = tuple(
        replace(difference, causes=words or ("the sources have changed since",))
        for difference in find_differences(mine, other)
    )
    return Comparison(words, differences, mine, other)


def _find_plan(state: State, run: str) -> str:
    plan_id = find_run(state, run)["plan_id"]
    if not isinstance(plan_id, str):
        raise ConfigurationError(
            f"the run {run} made no plan: `essentry-sync runs` lists those that did"
        )
    return plan_id


def _only_sent(outcomes: Outcomes) -> Outcomes:
    """What a plan has of the outcomes."""
    sent = {
        key: outcome
        for key, outcome in outcomes.events.items()
        if outcome.action in ("create", "update", "delete", "expire")
    }
    return Outcomes(sent, outcomes.rejected)


def _find_outcomes(
    config: Config, base: State, run: Run, read: Mapping[str, Extracted]
) -> Outcomes:
    """What a night by a configuration would do. It writes down what it learns, and no other may
    know that: each has a copy of its own.
    """
    extracted: dict[str, Any] = dict(read)
    with open_copy(base.engine.url) as state:
        compared = compare_sources(Night(config, state, run), extracted, {})
        diff = compared.diff
        return read_outcomes(
            diff.decisions,
            merge_pages(compared.pages, compared.order),
            diff.mails,
            gather_rejects(compared),
        )


def _settle(config: Config) -> Config:
    """The configuration complete and undivided, its sources with whole paths, so that a part of it
    can stand in another.
    """
    complete = complete_config(config)
    sources = {
        name: _settle_source(name, entry, config.root) for name, entry in complete.sources.items()
    }
    return find_contents(complete.model_copy(update={"sources": sources, "scale": ScaleConfig()}))


def _settle_source(name: str, entry: SourceConfig, root: Path) -> SourceConfig:
    found: dict[str, Any] = {
        key: (root / path).resolve()
        for key in ("events_sql", "guests_sql")
        if (path := getattr(entry, key)) is not None
    }
    if entry.url is not None and entry.url.startswith("sqlite"):
        found["url"] = parse_url(entry.url, key=f"sources.{name}.url", root=root).render_as_string(
            hide_password=False
        )
    return entry.model_copy(update=found)
