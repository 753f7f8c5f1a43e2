"""What is kept of a check-in: the pandera model of a page. It is a list of what may stay; every
other field is dropped before anything is stored.

essentry's check-in holds biometric and document fields besides (`trustedId`, images, document
numbers, birth dates, card numbers, `accessControl.pin`), and may hold new ones tomorrow: none of
them is named here, so none gets through.
"""

from __future__ import annotations

import pandera.pandas as pa

from schemas.frames import INSTANT

NO_INVITATION = "no_invitation"
UNKNOWN_INVITATION = "unknown_invitation"
SEVERAL_EVENTS = "several_events"
REASONS = {
    NO_INVITATION: "came without an invitation",
    UNKNOWN_INVITATION: (
        "came by an invitation that this state does not know: reception's own, "
        "another integration's, or one of long ago"
    ),
    SEVERAL_EVENTS: "came by a shared invitation, and several of its events are as near",
}
"""Why a check-in belongs to no event → what that means."""
PERSONAL = ("email", "first_name", "last_name", "company_name")
"""Columns that name a person: they go after `report.keep_personal_days`, and with `forget`."""

_text = {"nullable": True}

CheckIns = pa.DataFrameSchema(
    {
        "checkin_id": pa.Column(str, pa.Check.str_length(1, 255), description="essentry's id"),
        "state": pa.Column(
            str, **_text, description="where the visit stands, in the customer's own words"
        ),
        "email": pa.Column(str, **_text, description="lower case"),
        "first_name": pa.Column(str, **_text),
        "last_name": pa.Column(str, **_text),
        "company_name": pa.Column(str, **_text),
        "arrived_at": pa.Column(INSTANT, nullable=True),
        "left_at": pa.Column(INSTANT, nullable=True, description="missing: still inside"),
        "invitation_id": pa.Column(
            str, **_text, description="legitimation.sourceId: the invitation's sourceId"
        ),
        "starts_at": pa.Column(
            INSTANT, nullable=True, description="of the invitation, as essentry has it"
        ),
        "ends_at": pa.Column(
            INSTANT, nullable=True, description="of the invitation, as essentry has it"
        ),
    },
    strict="filter",
    name="CheckIns",
    description="check-ins of one page, in the order in which they were answered",
)
