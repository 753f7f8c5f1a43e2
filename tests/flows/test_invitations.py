"""What essentry lists of a location is read to its end, or not at all: what was cut off, moved or
is no answer never looks like the end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from flows.essentry import invitations, listing
from flows.essentry.invitations import DAY, TRIES, read_invitations, read_windows
from schemas.errors import EssentryError
from tests.firm import Firm

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def read(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The ids that are read when essentry answers so: a function of the offset and of the number of
    the request.
    """

    client = httpx.Client

    def read(answer: Callable[[int, int], Any]) -> list[str]:
        count = iter(range(1000))

        def respond(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=answer(int(request.url.params["offset"]), next(count)))

        monkeypatch.setattr(
            invitations.httpx, "Client", lambda **_: client(transport=httpx.MockTransport(respond))
        )
        return [row["id"] for row in read_invitations(firm.config, 11, now=NOW, until=NOW + DAY)]

    return read


def page(*ids: str, total: Any) -> dict[str, Any]:
    event = {"startsAt": NOW.isoformat()}
    return {
        "invitations": [{"id": key, "event": event} for key in ids],
        "pageInfo": {"totalCount": total},
    }


def test_pages_are_read_to_the_end(read) -> None:
    pages = {0: page("a", "b", total=3), 2: page("c", total=3)}
    assert read(lambda offset, _: pages[offset]) == ["a", "b", "c"]
    assert read(lambda *_: page(total=0)) == []


def test_a_window_that_moves_is_read_again_from_its_start(read) -> None:
    """A visit is cancelled between two pages: the one that moved up would have been skipped."""
    first = [
        page("a", "b", total=4),
        page("d", total=3),
        page("b", "c", total=3),
        page("d", total=3),
    ]
    assert read(lambda _, number: first[number]) == ["b", "c", "d"]


def test_a_row_that_comes_twice_is_no_end(read) -> None:
    answers = [
        page("a", "b", total=3),
        page("b", total=3),
        page("a", "b", total=3),
        page("c", total=3),
    ]
    assert read(lambda _, number: answers[number]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda _, n: page("a", total=10 + n),
        lambda offset, _: page(*([] if offset else ["a"]), total=2),
    ],
)
def test_what_never_rests_is_told(read, answer) -> None:
    with pytest.raises(EssentryError, match="change while they are read back"):
        read(answer)
    assert TRIES > 1


@pytest.mark.parametrize(
    "answer",
    [
        {"invitations": []},
        {"invitations": [], "pageInfo": None},
        {"invitations": [], "pageInfo": {}},
        page("a", total="1"),
        page(total=True),
        [],
        None,
        "x",
    ],
    ids=repr,
)
def test_an_answer_without_its_number_is_none(read, answer) -> None:
    with pytest.raises(EssentryError, match="cannot be read back"):
        read(lambda *_: answer)


# --- by windows, from a real sandbox ---


def test_windows_tell_every_invitation_once_and_keep_to_a_day_where_there_is_much(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches over midnight, what has begun, what is far off; a window with more than is read
    at once is halved.
    """
    monkeypatch.setattr(invitations, "WINDOW_ROWS", 8)
    begin = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    wanted = []
    for number, at in enumerate(
        [
            begin,
            *(begin + timedelta(days=d, minutes=m) for d in range(1, 20) for m in (0, 7)),
            begin + 300 * DAY,
        ]
    ):
        times = {
            "startsAt": at.isoformat(),
            "endsAt": (at + timedelta(hours=30)).isoformat(),
            "locationId": 11,
        }
        firm.sandbox.edit(
            "add", event=f"e{number}", guests=[{"email": f"{number}@x.example"}], **times
        )
        wanted.append(f"{number}@x.example")
    read, days = [], []
    for (start, end), rows in read_windows(firm.config, 11, now=begin + timedelta(hours=1)):
        read += [row["contact"]["email"] for row in rows]
        days.append((end - (start or begin)) / DAY)
        assert len(rows) <= 8 or days[-1] <= 1.1
    assert read == wanted
    assert len(days) < 40
    assert firm.puts() == 0


def test_a_guest_removed_between_two_pages_takes_nobody_along(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "PAGE", 2)
    at = datetime.now(UTC) + timedelta(hours=2)
    times = {
        "startsAt": at.isoformat(timespec="seconds"),
        "endsAt": (at + timedelta(hours=1)).isoformat(timespec="seconds"),
    }
    firm.sandbox.edit(
        "add",
        event="e",
        guests=[{"email": f"{n}@x.example"} for n in "abcd"],
        locationId=11,
        **times,
    )
    edit = {"kind": "remove_guest", "event": "e", "guest": "(by hand) e 1"}
    firm.sandbox.add_faults([{"kind": "edit_after", "on": "get", "edit": edit}])
    read = [
        row["contact"]["email"][0]
        for row in read_invitations(firm.config, 11, now=datetime.now(UTC))
    ]
    assert read == ["b", "c", "d"]


def test_a_reader_that_is_asked_to_wait_does(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(listing, "_backoff", lambda state: 0.0)
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    firm.sandbox.add_faults([{"kind": "status", "status": 429, "retry_after": 7, "on": "get"}])
    assert list(read_invitations(firm.config, 11, now=NOW)) == []
    assert waits == [7.0]
