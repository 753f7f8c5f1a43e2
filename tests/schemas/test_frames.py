"""The models of the frames hold what they say."""

from __future__ import annotations

import pandas as pd
import pandera.errors
import pandera.pandas as pa
import pytest

from schemas.frames import (
    DECISION_COLUMNS,
    REMEDIES,
    Events,
    Invitations,
    SourceEvents,
    SourceGuests,
    empty_frame,
)


@pytest.mark.parametrize("schema", [SourceEvents, SourceGuests])
def test_every_named_check_has_a_remedy(schema: pa.DataFrameSchema) -> None:
    names = [check.name for column in schema.columns.values() for check in column.checks]
    assert names
    assert set(names) <= set(REMEDIES)
    assert len(names) == len(set(names))


def test_remedies_are_said_in_words() -> None:
    assert all(reason.strip() and remedy.strip() for reason, remedy in REMEDIES.values())


def _invitations(**columns: str | None) -> pd.DataFrame:
    row = dict.fromkeys(Invitations.columns) | {
        "source_id": "hr-1",
        "invitation_id": "hr-1-a",
        "identity": "a@x.example",
    }
    return pd.DataFrame([row | columns]).astype("str")


def test_invitations_need_an_id_that_essentry_takes() -> None:
    Invitations.validate(_invitations(invitation_id="x" * 255))
    for wrong in ("", "x" * 256, None):
        with pytest.raises(pandera.errors.SchemaError):
            Invitations.validate(_invitations(invitation_id=wrong))


def test_an_invitation_is_there_once_an_event() -> None:
    with pytest.raises(pandera.errors.SchemaError):
        Invitations.validate(pd.concat([_invitations(), _invitations()], ignore_index=True))


def test_frames_are_strict() -> None:
    for schema in (Events, Invitations):
        assert schema.strict
    with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
        Invitations.validate(_invitations().assign(extra="x"))


def test_empty_frame() -> None:
    frame = empty_frame(DECISION_COLUMNS)
    assert list(frame.columns) == DECISION_COLUMNS
    assert frame.empty
    assert {str(dtype) for dtype in frame.dtypes} == {"str"}
