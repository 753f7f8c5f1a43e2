"""What an approval covers when the night is planned anew: a ceiling, not a blank cheque. Pure.

A person approved one plan by its numbers. A newer plan goes under that approval when none of its
numbers is higher, when what it does beyond the approved changes stays within the limits by itself,
and when the settings are those of then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from transforms.arrow.codes import to_texts
from transforms.arrow.columns import TEXT, is_among, to_arrow, to_series
from transforms.arrow.rows import pick_rows
from transforms.diff.changes import Diff
from transforms.guards.findings import Finding

DELETE_GUARDS = ("max_deletes", "max_delete_share")


@dataclass(frozen=True)
class Approval:
    """Who released which plan, why and when (UTC). `numbers`: (guard, scope) → number; `changes`:
    `key_changes` of the plan.
    """

    plan_id: str
    by: str
    reason: str
    at: datetime
    policy_digest: str
    numbers: Mapping[tuple[str, str], float]
    changes: pd.Series


def key_changes(changes: pd.DataFrame) -> pd.Series:
    """What makes a change the same one in another plan, as one text: event, action and the content
    it leads to.
    """
    columns = [
        pc.fill_null(to_arrow(to_texts(changes[name])), "")
        for name in ("source_id", "action", "fingerprint")
    ]
    return to_series(pc.binary_join_element_wise(*columns, pa.scalar("\n", TEXT)), changes.index)


def take_unapproved(diff: Diff, approval: Approval) -> Diff:
    """The diff without the changes that the approved plan had too."""
    changes = pick_rows(diff.changes, ~is_among(key_changes(diff.changes), approval.changes))
    return replace(
        diff,
        changes=changes,
        mails=pick_rows(diff.mails, is_among(diff.mails["source_id"], changes["source_id"])),
    )


def list_exceeding(
    findings: Sequence[Finding], rest: Sequence[Finding], unapproved: Diff, approval: Approval
) -> list[str]:
    """Why the approval does not cover a plan, in words; empty when it does.

    findings: of the whole plan; rest: of the part that was not approved.
    """
    no_new_deletes = not (unapproved.changes["action"] == "delete").any()
    reasons = []
    for finding in findings:
        approved = approval.numbers.get((finding.guard, finding.scope))
        if finding.guard in DELETE_GUARDS and no_new_deletes:
            # a share grows when the meetings around it go by; the cancellations are the approved
            # ones
            continue
        if approved is None:
            reasons.append(f"{finding.guard} ({finding.scope}) was not part of it")
        elif finding.number > approved:
            reasons.append(
                f"{finding.guard} ({finding.scope}) is {finding.number:g} and was {approved:g}"
            )
    reasons += [
        f"what is new in it trips {finding.guard} ({finding.scope}) by itself" for finding in rest
    ]
    return reasons
