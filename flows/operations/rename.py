"""Whether a source may have another name: only when its ids stay as they are."""

from __future__ import annotations

from flows.night.known import load_known
from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.diff.unions import find_united_with, read_members


def check_rename(config: Config, state: State, old: str, new: str) -> None:
    """Raise ConfigurationError, with the remedy, unless the ids of `old` are those that the
    configuration builds for `new`.
    """
    known = load_known(state).snapshot
    united = find_united_with(known, old)
    if not state.knows_source(old) and not united:
        raise ConfigurationError(
            f"the state holds nothing of a source {old!r}: it knows "
            f"{', '.join(sorted(set(known['source']))) or 'none'}"
        )
    if old in config.sources:
        raise ConfigurationError(
            f"the configuration still names the source {old!r}: give it its new name there first"
        )
    if new not in config.sources:
        raise ConfigurationError(
            f"the configuration names no source {new!r}: write [sources.{new}] instead of "
            f"[sources.{old}] first"
        )
    if state.knows_source(new):
        raise ConfigurationError(
            f"the state holds events of {new!r} already: two sources do not become one, "
            "their ids would meet"
        )
    # an id that was taken over, or kept under another key, says nothing of those that are built
    built_of = {kept: own for own, kept in state.adopted()["event"].items()}
    prefixes = set()
    others = {entry.id_prefix or name for name, entry in config.sources.items() if name != new}
    rows = known.loc[(known["source"] == old) | known["source_id"].isin(united)]
    for source_id, members in rows[["source_id", "members_json"]].itertuples(
        index=False, name=None
    ):
        # the beginning of a shortened id is whole; a united meeting may carry another source's id
        records = (source_id, *read_members(members))
        found = {built_of.get(record, record).partition("-")[0] for record in records}
        prefixes |= found - others if isinstance(members, str) else found
    built = config.sources[new].id_prefix or new
    if (prefixes or {old}) != {built}:
        wanted = sorted(prefixes or {old})[0]
        raise ConfigurationError(
            f"the ids of {old} begin with {wanted}-, those of {new} would begin with {built}-, "
            "and every guest would be cancelled and invited "
            f'again: write id_prefix = "{wanted}" under [sources.{new}]'
        )
