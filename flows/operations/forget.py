"""Forget people: a guest on request, everybody after `report.keep_personal_days`. State store and
report files; essentry is not called.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flows.night.lease import hold_lease
from flows.night.run import new_run
from flows.operations.visits_table import copy_visits
from flows.report.files import remove_drafts
from flows.report.rewrite import _mentions, _read, _rewrite, _without
from flows.state.people import Forgotten
from flows.state.store import State
from schemas.config import Config
from schemas.errors import ConfigurationError
from transforms.masking import mask_address
from transforms.naming.guest_numbers import digest_guest_keys
from transforms.operations.forget import find_names, forget_words
from transforms.validate.people import are_addresses, clean_addresses


def forget_person(config: Config, state: State, text: str) -> Forgotten:
    """Take one guest out of the state store and every report; see `flows.state.people` for what is
    never touched.

    The table of `[checkins]` follows. Raises ConfigurationError when `text` is no e-mail address,
    or that table cannot be written once the rest is done, LeaseHeld while a run is at work.
    """
    cleaned = clean_addresses(pd.Series([text], dtype="str"))
    if cleaned.isna().any() or not are_addresses(cleaned).all() or "@" not in cleaned.iloc[0]:
        raise ConfigurationError(
            f"--guest {mask_address(text)} is no e-mail address: write it as in the source"
        )
    address = str(cleaned.iloc[0])
    with hold_lease(state, new_run(None), config):
        known = [Path(folder) for folder in state.runs()["report_dir"].dropna().unique()]
        for folder in known:
            remove_drafts(folder)
        folders = [folder for folder in known if (folder / "report.json").exists()]
        found, names = state.forget_guest(address, now=datetime.now(UTC))
        for folder in folders:
            names |= find_names(_read(folder), address) if _mentions(folder, [address]) else set()
        (digest,) = digest_guest_keys([address], state.salt())
        state.forget_numbers(digest, found)
        words = [address, *(name.casefold() for name in names if " " in name)]
        for folder in folders:
            if _mentions(folder, words):
                _rewrite(
                    folder,
                    config,
                    lambda record: _without(record, address, names),
                    words=lambda text: forget_words(text, address, names),
                )
                found.reports += 1
    copy_visits(config, state)
    return found
