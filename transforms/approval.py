"""What an approval covers when the night is planned anew: a ceiling, not a blank cheque. Pure.

A person approved one plan by its numbers. A newer plan goes under that approval when none of its numbers is higher, when what it does beyond the
approved changes stays within the limits by itself, and when the settings are those of then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import pandas as pd

from transforms.changes import Diff
from transforms.columns import is_among
from transforms.findings import Finding

DELETE_GUARDS = ("max_deletes", "max_delete_share")


@dataclass(frozen=True)
class Approval:
    """Who released which plan, why and when (UTC). `numbers`: (guard, scope) → number; `changes`: `key_changes` of the plan."""

    plan_id: str
    by: str
    reason: str
    at: datetime
    policy_digest: str
    numbers: Mapping[tuple[str, str], float]
    changes: frozenset[tuple[str, str, str]]


def key_changes(changes: pd.DataFrame) -> list[tuple[str, str, str]]:
    """What makes a change the same one in another plan: event, action and the content it leads to."""
    columns = [changes[name].astype("str").fillna("").tolist() for name in ("source_id", "action", "fingerprint")]
    return list(zip(*columns, strict=True))


def take_unapproved(diff: Diff, approval: Approval) -> Diff:
    """The diff without the changes that the approved plan had too."""
    new = [key not in approval.changes for key in key_changes(diff.changes)]
    changes = diff.changes[new].reset_index(drop=True)
    return replace(diff, changes=changes, mails=diff.mails[is_among(diff.mails["source_id"], changes["source_id"])].reset_index(drop=True))


def list_exceeding(findings: Sequence[Finding], rest: Sequence[Finding], unapproved: Diff, approval: Approval) -> list[str]:
    """Why the approval does not cover a plan, in words; empty when it does.

    findings: of the whole plan; rest: of the part that was not approved.
    """
    no_new_deletes = not (unapproved.changes["action"] == "delete").any()
    reasons = []
    for finding in findings:
        approved = approval.numbers.get((finding.guard, finding.scope))
        if finding.guard in DELETE_GUARDS and no_new_deletes:
            continue  # a share grows when the meetings around it go by; the cancellations are the approved ones
        if approved is None:
            reasons.append(f"{finding.guard} ({finding.scope}) was not part of it")
        elif finding.number > approved:
            reasons.append(f"{finding.guard} ({finding.scope}) is {finding.number:g} and was {approved:g}")
    reasons += [f"what is new in it trips {finding.guard} ({finding.scope}) by itself" for finding in rest]
    return reasons
