"""What essentry lists of a location is read to its end, or not at all: what was cut off, moved or is no answer never looks like the end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from flows.essentry import invitations
from flows.essentry.invitations import TRIES, read_invitations
from schemas.errors import EssentryError
from tests.firm import Firm

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def read(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """The ids that are read when essentry answers so: a function of the offset and of the number of the request."""

    client = httpx.Client

    def read(answer: Callable[[int, int], Any]) -> list[str]:
        count = iter(range(1000))

        def respond(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json=answer(int(request.url.params["offset"]), next(count)))

        monkeypatch.setattr(invitations.httpx, "Client", lambda **_: client(transport=httpx.MockTransport(respond)))
        return [row["id"] for row in read_invitations(firm.config, 11, now=NOW)]

    return read


def page(*ids: str, total: Any) -> dict[str, Any]:
    return {"invitations": [{"id": key} for key in ids], "pageInfo": {"totalCount": total}}


def test_pages_are_read_to_the_end(read) -> None:
    pages = {0: page("a", "b", total=3), 2: page("c", total=3)}
    assert read(lambda offset, _: pages[offset]) == ["a", "b", "c"]
    assert read(lambda *_: page(total=0)) == []


def test_a_window_that_moves_is_read_again_from_its_start(read) -> None:
    """A visit is cancelled between two pages: the one that moved up would have been skipped."""
    first = [page("a", "b", total=4), page("d", total=3), page("b", "c", total=3), page("d", total=3)]
    assert read(lambda _, number: first[number]) == ["b", "c", "d"]


def test_a_row_that_comes_twice_is_no_end(read) -> None:
    answers = [page("a", "b", total=3), page("b", total=3), page("a", "b", total=3), page("c", total=3)]
    assert read(lambda _, number: answers[number]) == ["a", "b", "c"]


@pytest.mark.parametrize("answer", [lambda _, n: page("a", total=10 + n), lambda offset, _: page(*([] if offset else ["a"]), total=2)])
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
