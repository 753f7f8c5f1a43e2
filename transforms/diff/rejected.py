"""What essentry rejected, and how long it is not sent again. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from schemas.essentry import STATUS_CANNOT_HOST


class Rejected:
    """Rejections of earlier runs, asked by event.

    rejections: source_id, fingerprint (None of a delete), next_at (UTC), code. full: everything is
    sent again whatever was said of it.
    """

    def __init__(
        self, rejections: pd.DataFrame, as_of: pd.Timestamp, *, full: bool = False
    ) -> None:
        self.as_of, self.full = as_of, full
        facts = zip(rejections["fingerprint"], rejections["next_at"], strict=True)
        self._waiting = dict(zip(rejections["source_id"], facts, strict=True))
        of_content = rejections[rejections["fingerprint"].notna()].reindex(
            columns=["source_id", "code"]
        )
        codes = of_content.itertuples(index=False)
        self._refused = {event for event, code in codes if code != STATUS_CANNOT_HOST}

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def waits(self, source_id: str, content: str | None) -> bool:
        """Whether this very content, or the delete where it is None, was rejected and its time has
        not come.
        """
        if source_id not in self._waiting or self.full:
            return False
        rejected, next_at = self._waiting[source_id]
        same = pd.isna(rejected) if content is None else rejected == content
        return bool(same and pd.notna(next_at) and next_at > self.as_of)

    def refused_content(self, source_id: str) -> bool:
        """Whether a content was rejected for what it says, so that essentry may have a part of it
        or none.
        """
        return source_id in self._refused
