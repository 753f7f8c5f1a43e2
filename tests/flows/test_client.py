"""The essentry client against the sandbox, and against a raw socket for answers no well-meant
server gives.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from wire import AGENT, http_answer, make_item, make_items, raw_server

from flows.essentry.answers import read_statuses
from flows.essentry.client import EssentryClient
from flows.essentry.items import Item, Retry
from flows.sandbox.app import SandboxSettings
from flows.sandbox.server import SandboxServer
from schemas.config_essentry import EssentryConfig
from schemas.errors import ConfigurationError, EssentryError, EssentryUnauthorised
from schemas.ledger import Outcome


def make_client(
    base_url: str, *, token: str = "sandbox-token", agent_token: str = AGENT, **options: Any
) -> EssentryClient:
    defaults = {"timeout_seconds": 10, "retry_budget_seconds": 3, "base_url": base_url}
    client_options = {
        k: options.pop(k) for k in ("on_retry", "clock", "backoff_seconds") if k in options
    }
    config = EssentryConfig(**(defaults | options))
    return EssentryClient(
        config, token=token, agent_token=agent_token, **({"backoff_seconds": 0.02} | client_options)
    )


def put(client: EssentryClient, *batches: Sequence[Item]) -> list[Outcome]:
    async def run() -> list[Outcome]:
        async with client:
            return [outcome for batch in batches for outcome in await client.put_events(batch)]

    return asyncio.run(run())


def states(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.state for outcome in outcomes]


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


def put_raw(
    answer: bytes, items: Sequence[Item], **options: Any
) -> tuple[list[Outcome], EssentryClient]:
    drip = options.pop("drip_seconds", 0)

    async def run() -> tuple[list[Outcome], EssentryClient]:
        async with (
            raw_server(answer, drip_seconds=drip) as url,
            make_client(url, **options) as client,
        ):
            return await client.put_events(items), client

    return asyncio.run(run())


# --- 200 ---


def test_confirms_what_essentry_took(sandbox: SandboxServer) -> None:
    outcomes = put(make_client(sandbox.base_url), make_items(5))
    assert outcomes == [Outcome(n, f"rooms-{n}", "confirmed", None, None) for n in range(5)]
    assert sandbox.state()["events"].keys() == {f"rooms-{n}" for n in range(5)}


def test_statuses_are_matched_by_source_id(sandbox: SandboxServer) -> None:
    sandbox.add_faults(
        [{"kind": "shuffle"}, {"kind": "reject_event", "source_id": "rooms-0", "code": "ERROR_X"}]
    )
    outcomes = put(make_client(sandbox.base_url), make_items(3))
    assert [(o.seq, o.state, o.code) for o in outcomes] == [
        (0, "rejected", "ERROR_X"),
        (1, "confirmed", None),
        (2, "confirmed", None),
    ]
    assert sandbox.state()["events"].keys() == {"rooms-1", "rooms-2"}


def test_event_left_out_of_the_answer_is_unknown(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "partial_statuses", "source_ids": ["rooms-1"]}])
    outcomes = put(make_client(sandbox.base_url), make_items(3))
    assert states(outcomes) == ["confirmed", "unknown", "confirmed"]
    assert "rooms-1" in sandbox.state()["events"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b'{"events": "x"}',
        b'{"events": [1, null, {"sourceId": 5}, {"status": "SUCCESS"}]}',
    ],
)
def test_unreadable_200_is_unknown_and_not_repeated(body: bytes) -> None:
    outcomes, client = put_raw(
        http_answer("200 OK", body, "Content-Type: application/json"), make_items(2)
    )
    assert states(outcomes) == ["unknown", "unknown"]
    assert client.requests == 1


def test_read_statuses_tolerates_duplicates_and_strangers() -> None:
    rows = [
        ("a", "SUCCESS"),
        ("a", "SUCCESS"),
        ("b", "SUCCESS"),
        ("b", "ERROR_X"),
        ("b", "SUCCESS"),
        ("z", "NEW"),
    ]
    body = orjson.dumps({"events": [{"sourceId": key, "status": status} for key, status in rows]})
    assert read_statuses(body) == {"a": "SUCCESS", "b": "", "z": "NEW"}


def test_status_of_no_known_kind_is_unknown() -> None:
    rows = [
        ("rooms-0", "PENDING"),
        ("rooms-1", "SUCCESS"),
        ("rooms-1", "ERROR_X"),
        ("rooms-2", "success"),
    ]
    body = orjson.dumps({"events": [{"sourceId": key, "status": status} for key, status in rows]})
    outcomes, _ = put_raw(http_answer("200 OK", body), make_items(3))
    assert states(outcomes) == ["unknown"] * 3
    assert [o.code for o in outcomes] == ["PENDING", "CONTRADICTION", "success"]


def test_deletes_that_are_done_already_are_confirmed_with_the_code(sandbox: SandboxServer) -> None:
    client = make_client(sandbox.base_url)
    outcomes = put(
        client, [make_item(0)], [make_item(0, action="delete"), make_item(1, action="delete")]
    )
    assert states(outcomes) == ["confirmed"] * 3
    assert [o.code for o in outcomes] == [None, None, "ERROR_EVENT_NOT_FOUND"]
    assert [mail["kind"] for mail in sandbox.mails()] == ["invited", "cancelled"]


def test_done_code_means_nothing_for_an_update(sandbox: SandboxServer) -> None:
    sandbox.add_faults(
        [{"kind": "reject_event", "source_id": "rooms-0", "code": "ERROR_EVENT_NOT_FOUND"}]
    )
    outcomes = put(make_client(sandbox.base_url), [make_item(0, action="update")])
    assert [(o.state, o.code) for o in outcomes] == [("rejected", "ERROR_EVENT_NOT_FOUND")]


def test_delete_whose_answer_was_lost_is_confirmed_by_the_code_of_the_second_try(
    sandbox: SandboxServer,
) -> None:
    put(make_client(sandbox.base_url), [make_item(0)])
    sandbox.add_faults([{"kind": "drop_after"}])
    client = make_client(sandbox.base_url, delete_done_codes=["ERROR_EVENT_DELETED"])
    assert [(o.state, o.code) for o in put(client, [make_item(0, action="delete")])] == [
        ("confirmed", "ERROR_EVENT_DELETED")
    ]


def test_ignore_missing_is_the_query_parameter_and_is_never_mixed(sandbox: SandboxServer) -> None:
    put(make_client(sandbox.base_url), make_items(1), make_items(1, ignore_missing=True))
    assert [entry["ignore_missing"] for entry in sandbox.requests()["log"]] == [False, True]
    with pytest.raises(ValueError, match="mix"):
        put(make_client(sandbox.base_url), [make_item(0), make_item(1, ignore_missing=True)])
    assert len(sandbox.requests()["log"]) == 2


def test_nothing_to_send_is_no_request(sandbox: SandboxServer) -> None:
    assert put(make_client(sandbox.base_url), []) == []
    assert sandbox.requests()["log"] == []


# --- try again ---

FAULTS = [
    *({"kind": "status", "status": status} for status in (408, 429, 500, 502, 503, 504)),
    {"kind": "status", "status": 404, "body": "<html>not here</html>"},
    {"kind": "status", "status": 503, "body": "<html>gateway</html>"},
    {"kind": "drop_before"},
    {"kind": "drop_after"},
    {"kind": "hang_before", "seconds": 2.0},
    {"kind": "hang_after", "seconds": 2.0},
    {"kind": "garbage"},
    {"kind": "garbage", "apply": True},
]


@pytest.mark.parametrize(
    "fault", FAULTS, ids=lambda fault: "-".join(str(value)[:8] for value in fault.values())
)
def test_passing_fault_is_tried_again_and_mails_once(
    sandbox: SandboxServer, fault: dict[str, Any]
) -> None:
    sandbox.add_faults([dict(fault)])
    retries: list[Retry] = []
    patience = 0.5 if "hang" in fault["kind"] else 10
    client = make_client(sandbox.base_url, on_retry=retries.append, timeout_seconds=patience)
    assert states(put(client, make_items(3))) == ["confirmed"] * 3
    assert (client.requests, client.retries, [retry.events for retry in retries]) == (2, 1, [3])
    assert sandbox.state()["mails"] == {"invited": 3, "updated": 0, "cancelled": 0}


def test_retry_after_in_seconds_is_honoured(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 429, "retry_after": 1}])
    retries: list[Retry] = []
    started = time.monotonic()
    outcomes = put(make_client(sandbox.base_url, on_retry=retries.append), make_items(1))
    assert states(outcomes) == ["confirmed"]
    assert time.monotonic() - started >= 1
    assert 1 <= retries[0].wait_seconds < 1.1


def test_retry_after_as_a_date_is_measured_from_the_answers_own_clock() -> None:
    answer = http_answer(
        "429 Too Many",
        b"",
        "Date: Wed, 21 Oct 2015 07:28:00 GMT",
        "Retry-After: Wed, 21 Oct 2015 07:28:01 GMT",
    )
    retries: list[Retry] = []
    outcomes, client = put_raw(
        answer, make_items(1), on_retry=retries.append, retry_budget_seconds=1.5
    )
    assert states(outcomes) == ["unknown"]
    assert client.requests == 2
    assert 1 <= retries[0].wait_seconds < 1.1


def test_retry_after_as_a_date_without_a_date_uses_our_clock() -> None:
    answer = http_answer("503 Busy", b"", "Retry-After: Wed, 21 Oct 2015 07:28:01 GMT")
    retries: list[Retry] = []
    now = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    put_raw(
        answer, make_items(1), on_retry=retries.append, retry_budget_seconds=1.5, clock=lambda: now
    )
    assert 1 <= retries[0].wait_seconds < 1.1


@pytest.mark.parametrize("value", ["soon", "-5", "1e3", "Wed, 99 Oct 2015", ""])
def test_odd_retry_after_is_passed_over(value: str) -> None:
    outcomes, client = put_raw(
        http_answer("503 Busy", b"", f"Retry-After: {value}"),
        make_items(1),
        retry_budget_seconds=0.2,
    )
    assert states(outcomes) == ["unknown"]
    assert client.requests > 1


def test_wait_longer_than_the_budget_is_not_begun(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 429, "retry_after": 3600}])
    started = time.monotonic()
    outcomes = put(make_client(sandbox.base_url), make_items(2))
    assert [(o.state, o.code) for o in outcomes] == [("unknown", "HTTP_429")] * 2
    assert time.monotonic() - started < 1


def test_retry_after_holds_back_the_next_batch_too(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 429, "retry_after": 1}])

    async def run() -> None:
        async with make_client(sandbox.base_url) as client:
            first = asyncio.create_task(client.put_events([make_item(0)]))
            await asyncio.sleep(0.2)
            await asyncio.gather(first, client.put_events([make_item(1)]))

    asyncio.run(run())
    times = [datetime.fromisoformat(entry["at"]) for entry in sandbox.requests()["log"]]
    assert (times[1] - times[0]).total_seconds() > 0.9


def test_fault_that_stays_is_unknown_when_the_budget_is_spent(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 503, "times": 1000}])
    client = make_client(sandbox.base_url, retry_budget_seconds=0.5)
    started = time.monotonic()
    outcomes = put(client, make_items(2))
    assert [(o.state, o.code) for o in outcomes] == [("unknown", "HTTP_503")] * 2
    assert time.monotonic() - started < 1.5
    assert client.requests > 2
    assert client.failure is None


def test_no_budget_is_one_try(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 503}])
    client = make_client(sandbox.base_url, retry_budget_seconds=0)
    assert states(put(client, make_items(1))) == ["unknown"]
    assert client.requests == 1


def test_never_connected_is_planned_again() -> None:
    with SandboxServer() as sandbox:
        url = sandbox.base_url
    client = make_client(url, retry_budget_seconds=0.3)
    outcomes = put(client, make_items(2))
    assert [(o.state, o.code) for o in outcomes] == [("planned", "UNREACHABLE")] * 2
    assert client.requests > 1


def test_lost_connection_before_never_connected_is_unknown(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "drop_after"}])
    client = make_client(
        sandbox.base_url, retry_budget_seconds=0.5, on_retry=lambda retry: sandbox.stop()
    )
    assert states(put(client, make_items(2))) == ["unknown"] * 2
    assert len(sandbox.state()["events"]) == 2


def test_answer_that_trickles_in_is_a_time_out() -> None:
    answer = http_answer("200 OK", b'{"events": []}')
    started = time.monotonic()
    outcomes, _ = put_raw(
        answer, make_items(1), drip_seconds=0.2, retry_budget_seconds=0, timeout_seconds=0.5
    )
    assert [(o.state, o.code) for o in outcomes] == [("unknown", "TIMEOUT")]
    assert time.monotonic() - started < 3


def test_cut_off_answer_is_unknown() -> None:
    answer = http_answer("200 OK", b'{"events": []}')[:-4]
    outcomes, _ = put_raw(answer, make_items(1), retry_budget_seconds=0)
    assert [(o.state, o.code) for o in outcomes] == [("unknown", "CONNECTION_LOST")]


def test_halt_ends_the_wait_for_another_try(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 503, "retry_after": 60}])

    async def run() -> tuple[list[Outcome], list[Outcome]]:
        async with make_client(sandbox.base_url, retry_budget_seconds=300) as client:
            asyncio.get_running_loop().call_later(0.3, client.halt)
            return await client.put_events([make_item(0)]), await client.put_events([make_item(1)])

    started = time.monotonic()
    first, second = asyncio.run(run())
    assert time.monotonic() - started < 5
    assert states(first) == ["unknown"]
    assert states(second) == ["planned"]
    assert len(sandbox.requests()["log"]) == 1


# --- refused ---


def test_refused_events_are_found_by_halving(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "reject_request", "source_id": f"rooms-{n}"} for n in (3, 12)])
    outcomes = put(make_client(sandbox.base_url), make_items(16))
    assert [o.seq for o in outcomes] == list(range(16))
    assert {o.seq: o.code for o in outcomes if o.state == "rejected"} == {
        3: "HTTP_400",
        12: "HTTP_400",
    }
    assert states(outcomes).count("confirmed") == 14
    assert len(sandbox.state()["events"]) == 14
    assert sandbox.state()["mails"]["invited"] == 14


def test_malformed_date_is_rejected_with_the_servers_words(sandbox: SandboxServer) -> None:
    items = [*make_items(2), make_item(2, startsAt="yesterday")]
    outcomes = put(make_client(sandbox.base_url), items)
    assert states(outcomes) == ["confirmed", "confirmed", "rejected"]
    assert outcomes[2].message is not None
    assert "events.0.startsAt" in outcomes[2].message


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_words_are_cut_and_masked(sandbox: SandboxServer, status: int) -> None:
    body = {"message": "Anna.Meier+x@example.com may not; token sandbox-token " + "x" * 400}
    sandbox.add_faults(
        [{"kind": "reject_request", "source_id": "rooms-0", "status": status, "body": body}]
    )
    (outcome,) = put(make_client(sandbox.base_url), make_items(1))
    assert (outcome.state, outcome.code) == ("rejected", f"HTTP_{status}")
    assert outcome.message is not None
    assert outcome.message.startswith('{"message":"***@*** may not; token ***')
    assert len(outcome.message) == 300


@pytest.mark.parametrize("status", [400, 413])
def test_refusal_in_html_is_a_refusal(sandbox: SandboxServer, status: int) -> None:
    fault = {
        "kind": "reject_request",
        "source_id": "rooms-1",
        "status": status,
        "body": "<html>too much</html>",
    }
    sandbox.add_faults([fault])
    assert states(put(make_client(sandbox.base_url), make_items(2))) == ["confirmed", "rejected"]


def test_too_large_is_halved_and_rejected_only_alone() -> None:
    with SandboxServer(SandboxSettings(max_bytes=1500)) as sandbox:
        items = [*make_items(5), make_item(5, description="x" * 2000)]
        outcomes = put(make_client(sandbox.base_url), items)
        assert states(outcomes) == ["confirmed"] * 5 + ["rejected"]
        assert outcomes[5].code == "HTTP_413"
        assert len(sandbox.state()["events"]) == 5


def test_fault_during_halving_leaves_the_rest_planned(sandbox: SandboxServer) -> None:
    sandbox.add_faults([{"kind": "status", "status": 400}, {"kind": "drop_before"}])
    client = make_client(sandbox.base_url, retry_budget_seconds=0)
    assert states(put(client, make_items(4))) == ["unknown", "unknown", "planned", "planned"]
    assert sandbox.state()["events"] == {}


def test_batches_refused_whole_stop_the_sending(sandbox: SandboxServer) -> None:
    client = make_client(
        sandbox.base_url, agent_token="00000000-0000-0000-0000-000000000000", max_rejected_batches=2
    )
    batches = [[make_item(2 * n), make_item(2 * n + 1)] for n in range(5)]
    outcomes = put(client, *batches)
    assert states(outcomes) == ["rejected"] * 6 + ["planned"] * 4
    assert client.requests == 9
    assert type(client.failure) is EssentryError
    assert "3 batches whole" in str(client.failure)
    assert "agentToken" in str(client.failure)


def test_events_too_large_alone_do_not_stop_the_sending() -> None:
    with SandboxServer(SandboxSettings(max_bytes=1000)) as sandbox:
        client = make_client(sandbox.base_url, max_rejected_batches=1)
        big = [[make_item(n, description="x" * 1000)] for n in range(4)]
        assert states(put(client, *big, [make_item(4)])) == ["rejected"] * 4 + ["confirmed"]


# --- stop ---


@pytest.mark.parametrize("status", [401, 403])
def test_refused_token_stops_all_sending(sandbox: SandboxServer, status: int) -> None:
    sandbox.add_faults([{"kind": "status", "status": status}])
    client = make_client(sandbox.base_url)
    outcomes = put(client, make_items(2), make_items(2))
    assert states(outcomes) == ["planned"] * 4
    assert client.requests == 1
    assert isinstance(client.failure, EssentryUnauthorised)
    assert "ESSENTRY_TOKEN" in str(client.failure)


def test_wrong_token_is_unauthorised_and_never_shown(
    sandbox: SandboxServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = make_client(sandbox.base_url, token="quite-secret-token")
    outcomes = put(client, make_items(1))
    shown = f"{client!r} {client.failure!r} {outcomes!r} {caplog.text}"
    assert isinstance(client.failure, EssentryUnauthorised)
    assert "httpx" in caplog.text
    assert "quite-secret-token" not in shown
    assert AGENT not in shown


def test_refused_token_after_a_lost_answer_leaves_the_events_unknown(
    sandbox: SandboxServer,
) -> None:
    sandbox.add_faults([{"kind": "drop_after"}, {"kind": "status", "status": 401}])
    client = make_client(sandbox.base_url)
    assert states(put(client, make_items(2))) == ["unknown"] * 2
    assert len(sandbox.state()["events"]) == 2


def test_redirect_is_not_followed(sandbox: SandboxServer) -> None:
    answer = http_answer("301 Moved", b"<html>", f"Location: {sandbox.base_url}/events")
    outcomes, client = put_raw(answer, make_items(1))
    assert states(outcomes) == ["planned"]
    assert "essentry.base_url" in str(client.failure)
    assert sandbox.requests()["log"] == []


def test_untrusted_certificate_stops_at_once(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {cert} -days 1 -subj "
        "/CN=127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)

    async def run() -> tuple[list[Outcome], EssentryClient]:
        async with (
            raw_server(b"", tls=tls) as url,
            make_client(url, retry_budget_seconds=60) as client,
        ):
            return await client.put_events(make_items(1)), client

    outcomes, client = asyncio.run(run())
    assert states(outcomes) == ["planned"]
    assert client.requests == 1
    assert "SSL_CERT_FILE" in str(client.failure)


@pytest.mark.parametrize(
    ("token", "agent_token", "named"),
    [
        ("", AGENT, "ESSENTRY_TOKEN"),
        ("two words", AGENT, "ESSENTRY_TOKEN"),
        ("line\n", AGENT, "ESSENTRY_TOKEN"),
        ("tökén", AGENT, "ESSENTRY_TOKEN"),
        ("fine", "no-uuid", "ESSENTRY_AGENT_TOKEN"),
        ("fine", AGENT + "\n", "ESSENTRY_AGENT_TOKEN"),
    ],
)
def test_odd_tokens_are_refused_without_showing_them(
    token: str, agent_token: str, named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EssentryClient(EssentryConfig(), token=token, agent_token=agent_token)
    assert named in str(caught.value)
    assert not token or token not in str(caught.value)
    assert agent_token not in str(caught.value)


def test_body_is_sent_as_it_is() -> None:
    sent = bytearray()

    async def run() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            sent.extend(
                await reader.readexactly(int(re.search(rb"content-length: (\d+)", head.lower())[1]))
            )  # type: ignore[index]
            writer.write(http_answer("200 OK", b"{}"))
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with make_client(url) as client:
            items = [
                Item(0, "a", b'{"sourceId":"a", "name":"\\u00e4"}', "create", False),
                make_item(1),
            ]
            await client.put_events(items)
            assert (
                len(sent) == client.envelope_bytes + sum(len(item.body) + 1 for item in items) - 1
            )
        server.close()

    asyncio.run(run())
    assert b'{"sourceId":"a", "name":"\\u00e4"},{' in sent
    assert json.loads(sent)["agentToken"] == AGENT


# --- ping ---


def ping(client: EssentryClient, location_id: int | None) -> Any:
    async def run() -> Any:
        async with client:
            return await client.ping(location_id)

    return asyncio.run(run())


def test_ping_reads_one_location_and_changes_nothing(sandbox: SandboxServer) -> None:
    answer = ping(make_client(sandbox.base_url), 7)
    assert (answer.status, answer.token_checked) == (200, True)
    assert sandbox.requests()["log"] == []


def test_ping_without_a_location_shows_reachability_alone(sandbox: SandboxServer) -> None:
    assert ping(make_client(sandbox.base_url, token="wrong"), None).token_checked is False


def test_ping_names_the_remedy() -> None:
    with SandboxServer(SandboxSettings(locations={7: []})) as sandbox:
        with pytest.raises(EssentryUnauthorised, match="ESSENTRY_TOKEN"):
            ping(make_client(sandbox.base_url, token="wrong"), 7)
        with pytest.raises(EssentryError, match="location id"):
            ping(make_client(sandbox.base_url), 8)
        sandbox.add_faults([{"kind": "status", "status": 503, "on": "get"}])
        with pytest.raises(EssentryError, match="try again later"):
            ping(make_client(sandbox.base_url), 7)
    with pytest.raises(EssentryError, match=r"check essentry\.base_url and the network"):
        ping(make_client(sandbox.base_url), 7)
