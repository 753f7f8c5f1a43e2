"""Every answer that may come, as a table: what becomes of the events, of the request, and of the
load. Unknown stays unknown (S8, S11, S25).
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Sequence
from http import HTTPStatus

import httpx
import orjson
import pytest
from wire import AGENT, http_answer, make_item, make_items

from flows.essentry.answers import REFUSED_AFTER_LOSS, STATUS_MEANINGS, read_meaning
from flows.essentry.client import EssentryClient
from flows.essentry.items import Item
from schemas.config_essentry import EssentryConfig
from schemas.ledger import Outcome

PLAIN, HTML, JSON = "text/plain", "text/html", "application/json"
PAGE = b"<html><body>sorry</body></html>"


def statuses(*rows: tuple[str, str]) -> bytes:
    return orjson.dumps({"events": [{"sourceId": key, "status": status} for key, status in rows]})


GOOD = statuses(("rooms-0", "SUCCESS"), ("rooms-1", "SUCCESS"))

# what the server answers each time: status line, content type, body; the states of two creates;
# whether all sending stops; whether it is tried again
Row = tuple[str, str, bytes, list[str], bool, bool]
OK: list[Row] = [
    ("200 OK", JSON, GOOD, ["confirmed", "confirmed"], False, False),
    ("200 OK", PLAIN, GOOD, ["confirmed", "confirmed"], False, False),
    (
        "200 OK",
        JSON,
        statuses(("rooms-1", "SUCCESS"), ("rooms-0", "ERROR_X")),
        ["rejected", "confirmed"],
        False,
        False,
    ),
    ("200 OK", JSON, statuses(("rooms-0", "SUCCESS")), ["confirmed", "unknown"], False, False),
    (
        "200 OK",
        JSON,
        statuses(("rooms-0", "SUCCESS"), ("rooms-1", "PENDING")),
        ["confirmed", "unknown"],
        False,
        False,
    ),
    (
        "200 OK",
        JSON,
        statuses(("rooms-0", "SUCCESS"), ("rooms-1", "success")),
        ["confirmed", "unknown"],
        False,
        False,
    ),
    (
        "200 OK",
        JSON,
        statuses(("ROOMS-0", "SUCCESS"), ("rooms-1 ", "SUCCESS")),
        ["unknown", "unknown"],
        False,
        False,
    ),
    (
        "200 OK",
        JSON,
        statuses(("rooms-0", "SUCCESS"), ("rooms-0", "SUCCESS")),
        ["confirmed", "unknown"],
        False,
        False,
    ),
    (
        "200 OK",
        JSON,
        statuses(("rooms-0", "SUCCESS"), ("rooms-0", "ERROR_X")),
        ["unknown", "unknown"],
        False,
        False,
    ),
    (
        "200 OK",
        JSON,
        statuses(("rooms-0", "SUCCESS"), ("x-9", "ERROR_X"), ("rooms-1", "SUCCESS")),
        ["confirmed"] * 2,
        False,
        False,
    ),
    ("200 OK", JSON, statuses(), ["unknown", "unknown"], False, False),
    ("200 OK", JSON, b"", ["unknown", "unknown"], False, False),
    ("200 OK", JSON, b"[]", ["unknown", "unknown"], False, False),
    ("200 OK", JSON, b'{"events": null}', ["unknown", "unknown"], False, False),
    ("200 OK", JSON, GOOD[:-5], ["unknown", "unknown"], False, False),
    ("200 OK", JSON, b'{"success": true}', ["unknown", "unknown"], False, False),
    ("200 OK", HTML, PAGE, ["unknown", "unknown"], False, True),
    ("200 OK", JSON, PAGE, ["unknown", "unknown"], False, True),
    ("200 OK", HTML, GOOD, ["unknown", "unknown"], False, True),
]
OTHER_2XX: list[Row] = [
    (f"{status} Odd", JSON, body, ["unknown", "unknown"], False, False)
    for status in (201, 202, 203, 204, 205, 206, 207, 208, 226, 299)
    for body in ((b"",) if status in (204, 205) else (b"", GOOD))
]
REDIRECTS: list[Row] = [
    *(
        (f"{status} Moved", HTML, PAGE, ["planned", "planned"], True, False)
        for status in (301, 302, 307, 308)
    ),
    *(
        (f"{status} Odd", HTML, b"" if status == 304 else PAGE, ["unknown"] * 2, True, False)
        for status in (300, 303, 304, 305, 399)
    ),
]
REFUSED: list[Row] = [
    *(
        (f"{status} No", kind, b"no", ["rejected"] * 2, False, False)
        for status in (400, 413, 422)
        for kind in (PLAIN, HTML, JSON)
    ),
    *(
        (f"{status} No", JSON, b'{"message":"no"}', ["rejected"] * 2, False, False)
        for status in (409, 412, 423, 424)
    ),
    *(
        (f"{status} No", HTML, PAGE, ["unknown"] * 2, False, True)
        for status in (409, 412, 423, 424)
    ),
]
EVERYBODY: list[Row] = [
    *(
        (f"{status} No", kind, body, ["planned"] * 2, True, False)
        for status in (401, 403, 407)
        for kind, body in ((PLAIN, b"no"), (HTML, PAGE))
    ),
    *(
        (f"{status} No", kind, body, ["planned"] * 2, True, kind == HTML)
        for status in (404, 405, 410)
        for kind, body in (
            (PLAIN, b"404 page not found"),
            (PLAIN, b""),
            (JSON, b'{"message":"no route"}'),
            (JSON, b'{"events":[]}'),
            (JSON, b'"gone"'),
            (HTML, PAGE),
        )
    ),
    *(
        (f"{status} No", PLAIN, b"no", ["planned"] * 2, True, False)
        for status in (402, 411, 414, 415, 417, 421, 426, 428, 431, 451)
    ),
    # one that names events is about them
    *(
        (f"{status} No", JSON, statuses(("rooms-0", "ERROR_X")), ["rejected"] * 2, False, False)
        for status in (404, 410)
    ),
]
AGAIN: list[Row] = [
    (f"{status} Odd", kind, body, ["unknown", "unknown"], False, True)
    for status in (
        406,
        408,
        418,
        420,
        425,
        429,
        444,
        449,
        460,
        499,
        500,
        501,
        502,
        503,
        504,
        505,
        507,
        508,
        511,
        520,
        522,
        599,
        600,
        799,
    )
    for kind, body in ((PLAIN, b"no"), (HTML, PAGE))
]
TABLE = [*OK, *OTHER_2XX, *REDIRECTS, *REFUSED, *EVERYBODY, *AGAIN]


def send(
    answers: Sequence[bytes], items: Sequence[Item], *, budget: float = 0.05, **options: object
) -> tuple[list[Outcome], EssentryClient]:
    """Send to a socket that gives these answers one after the other, the last of them for ever."""
    given = list(answers)

    async def run() -> tuple[list[Outcome], EssentryClient]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))  # type: ignore[index]
                writer.write(given.pop(0) if len(given) > 1 else given[0])
                await writer.drain()
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v2"
        config = EssentryConfig(
            base_url=url, timeout_seconds=10, retry_budget_seconds=budget, **options
        )  # type: ignore[arg-type]
        client = EssentryClient(config, token="t", agent_token=AGENT, backoff_seconds=0.01)
        async with client:
            outcomes = await client.put_events(items)
        server.close()
        return outcomes, client

    return asyncio.run(run())


def answer(status: str, kind: str, body: bytes) -> bytes:
    return http_answer(status, body, f"Content-Type: {kind}")


@pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row[0][:3]}-{row[1].split('/')[1]}-{row[2][:24].decode()}"
)
def test_s11_every_answer_has_its_meaning(row: Row) -> None:
    status, kind, body, expected, stops, again = row
    outcomes, client = send(
        [answer(status, kind, body)], make_items(2), budget=0.3 if again else 0.05
    )
    assert [o.state for o in outcomes] == expected
    assert (client.failure is not None) is stops
    assert (client.retries > 0) is again
    if stops:
        assert client.requests == 1 + client.retries
        assert "essentry.base_url" in str(client.failure) or "ESSENTRY_TOKEN" in str(client.failure)


@pytest.mark.parametrize(
    "row", TABLE, ids=lambda row: f"{row[0][:3]}-{row[1].split('/')[1]}-{row[2][:24].decode()}"
)
def test_s08_after_a_lost_answer_nothing_but_success_is_sure(row: Row) -> None:
    status, kind, body, expected, stops, _ = row
    outcomes, client = send([b"", answer(status, kind, body)], make_items(2), budget=0.3)
    assert [o.state for o in outcomes] == [
        "confirmed" if state == "confirmed" else "unknown" for state in expected
    ]
    assert (client.failure is not None) is stops
    refused = [o for o, state in zip(outcomes, expected, strict=True) if state == "rejected"]
    assert all(
        o.code == REFUSED_AFTER_LOSS and "may have been applied" in str(o.message) for o in refused
    )


def test_every_status_has_exactly_one_meaning_and_what_is_not_named_is_not_sure() -> None:
    for status in range(200, 1000):
        meaning = read_meaning(httpx.Response(status, content=b"x"))
        assert meaning == STATUS_MEANINGS.get(status, "again" if status >= 400 else "unknown")
        assert (meaning == "statuses") is (status == 200)
        if status >= 500 or status not in {s.value for s in HTTPStatus}:
            assert meaning in ("again", "unknown", "elsewhere")


BROKEN = {
    "gzip that is none": http_answer(
        "200 OK", b"no gzip at all", "Content-Encoding: gzip", "Content-Type: application/json"
    ),
    "gzip cut off": http_answer(
        "200 OK",
        gzip.compress(GOOD)[:-12],
        "Content-Encoding: gzip",
        "Content-Type: application/json",
    ),
    "an encoding that nobody knows": http_answer(
        "200 OK", b"\x28\xb5\x2f\xfd", "Content-Encoding: zstd", "Content-Type: application/json"
    ),
    "cut off": http_answer("200 OK", GOOD)[:-4],
    "cut off in the header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "no length, closed in the middle": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    + GOOD[:-4],
    "a chunk cut off": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "bytes that are no UTF-8": http_answer(
        "200 OK", GOOD[:-2] + b"\xff}", "Content-Type: application/json"
    ),
    "switching protocols": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_s25_a_broken_answer_is_unknown(broken: str) -> None:
    outcomes, client = send([BROKEN[broken]], make_items(2))
    assert [o.state for o in outcomes] == ["unknown", "unknown"]
    assert client.failure is None


def test_an_early_hint_before_the_answer_changes_nothing() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    outcomes, _ = send([hint + answer("200 OK", JSON, GOOD)], make_items(2))
    assert [o.state for o in outcomes] == ["confirmed", "confirmed"]


def test_a_sound_gzip_is_read() -> None:
    body = http_answer(
        "200 OK", gzip.compress(GOOD), "Content-Encoding: gzip", "Content-Type: application/json"
    )
    assert [o.state for o in send([body], make_items(2))[0]] == ["confirmed", "confirmed"]


def test_s08_a_delete_done_after_a_lost_answer_is_confirmed_another_refusal_is_unknown() -> None:
    for code, state in (("ERROR_EVENT_DELETED", "confirmed"), ("ERROR_LOCKED", "unknown")):
        outcomes, _ = send(
            [b"", answer("200 OK", JSON, statuses(("rooms-0", code)))],
            [make_item(0, action="delete")],
            budget=0.3,
        )
        assert [o.state for o in outcomes] == [state]


def test_s08_a_refusal_by_halves_after_a_lost_answer_is_unknown_for_the_refused_alone() -> None:
    no = answer("400 Bad", JSON, b"no")
    outcomes, _ = send([b"", no, no, answer("200 OK", JSON, GOOD)], make_items(2), budget=0.5)
    assert [(o.state, o.code) for o in outcomes] == [
        ("unknown", REFUSED_AFTER_LOSS),
        ("confirmed", None),
    ]


def test_a_page_of_html_that_passes_is_no_wrong_address() -> None:
    outcomes, client = send(
        [answer("404 Not Found", HTML, PAGE), answer("200 OK", JSON, GOOD)],
        make_items(2),
        budget=0.5,
    )
    assert [o.state for o in outcomes] == ["confirmed", "confirmed"]
    assert client.failure is None
