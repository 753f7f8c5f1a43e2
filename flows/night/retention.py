"""Personal data that has served its time leaves the state and the reports."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from flows.report.files import remove_drafts
from flows.report.rewrite import _read, _rewrite
from flows.state.store import State
from schemas.config import Config
from transforms.masking import mask_record


def forget_after(config: Config, state: State, *, now: datetime) -> int:
    """Mask people in what is older than `report.keep_personal_days`: settled changes, ended events,
    report files. Call it under the lease.

    Returns how many reports were masked.
    """
    before = now - timedelta(days=config.report.keep_personal_days)
    state.forget_old(before)
    count = 0
    for run in state.list_personal(before):
        folder = Path(run["report_dir"])
        remove_drafts(folder)
        with suppress(OSError):  # a folder that cannot be written now is tried again the next night
            if (folder / "report.json").exists() and not _read(folder).get("masked", True):
                _rewrite(folder, config, mask_record, masked=True)
                count += 1
            state.note_masked(run["run_id"])
    return count
