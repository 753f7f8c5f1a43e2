"""Send events to essentry and tell, event by event, what became of them. HTTP only: no ledger, no
frames, no plan.

Synchronization API: `PUT /events` is state based, so what is sent is the state and sending it twice
is sending it once. That is why a request whose answer was lost may simply be sent again. What an
answer means:

| answer                               | outcome                                                  |
|--------------------------------------|----------------------------------------------------------|
| 200, SUCCESS for the sourceId        | confirmed                                                |
| 200, ERROR_… for the sourceId        | rejected; a delete by `delete_done_codes`: confirmed   |
| 200, anything else, or no status     | unknown                                                  |
| another 2xx                          | unknown                                                  |
| 400, 413, 422; 409 and its like      | halved until the refused event is alone: rejected        |
| 401, 403, 3xx, a bad certificate     | all sending stops; planned                               |
| 404, 405, 410 of a whole request     | all sending stops: the address is wrong; planned         |
| 407, 411, 415 and their like         | all sending stops: it is how we ask; planned             |
| 408, 429, 5xx, HTML, time-out, lost  | tried again within the budget, then unknown              |
| no connection on any try             | tried again within the budget, then planned: not sent    |

Which status means what stands in `flows.essentry.answers.STATUS_MEANINGS`. `planned` and `rejected`
are said only where no try of the event can have been applied; after one that may have been, it is
`unknown`. Rate limits, `Retry-After` and the form of error bodies are not documented: all are
tolerated.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Self

import httpx
import orjson
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_before_delay
from tenacity.wait import wait_random_exponential

from flows.essentry.answers import (
    _BLANK,
    _EMAIL,
    MESSAGE_CHARS,
    UNSURE_REDIRECTS,
    Meaning,
    _http_date,
    _is_certificate,
    _is_html,
    _outcomes,
    _refuse,
    _unsent,
    read_meaning,
    read_statuses,
)
from flows.essentry.items import Item, Ping, Retry, _Batch, _Call, _NoAnswer, list_names
from schemas.config_essentry import EssentryConfig
from schemas.config_values import is_loopback
from schemas.errors import ConfigurationError, EssentryError, EssentryUnauthorised
from schemas.essentry import AGENT_TOKEN_PATTERN, STATUS_ERROR_PREFIX, STATUS_SUCCESS
from schemas.ledger import Outcome, OutcomeState
from transforms.masking import mask_words

CONNECT_SECONDS = 10.0


class EssentryClient:
    """essentry's Synchronization API over HTTP/1.1 with kept connections. Use as an asynchronous
    context manager.

    `put_events` never raises for what essentry or the network does: each event has an outcome, and
    `failure` says why sending has stopped for good (refused token, redirect, too many batches
    refused whole). The token travels in the header alone. `backoff_seconds` is the upper bound of
    the first random wait, doubled each time up to `backoff_max_seconds`. `stop` is asked before
    every try; once true, nothing more is sent.

    Raises ConfigurationError for a token that no header can carry and for an agent token that is no
    UUID.
    """

    def __init__(
        self,
        config: EssentryConfig,
        *,
        token: str,
        agent_token: str,
        transport: httpx.AsyncBaseTransport | None = None,
        on_retry: Callable[[Retry], None] | None = None,
        backoff_seconds: float = 1.0,
        backoff_max_seconds: float = 60.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        stop: Callable[[], bool] | None = None,
    ) -> None:
        if not token or not all("!" <= char <= "~" for char in token):
            raise ConfigurationError(
                f"{_token_place(config)} does not hold a token: it is empty, or has blanks or odd "
                "characters"
            )
        if not re.fullmatch(AGENT_TOKEN_PATTERN, agent_token):
            raise ConfigurationError(
                f"{_agent_token_place(config)} does not hold an agent token: it must be a UUID"
            )
        self.config = config
        self.requests = 0
        self.retries = 0
        self._secrets = (token, agent_token)
        self._transport = transport
        self._on_retry = on_retry
        self._clock = clock
        self._stop = stop
        self._backoff = wait_random_exponential(multiplier=backoff_seconds, max=backoff_max_seconds)
        self._head = b'{"agentToken":' + orjson.dumps(agent_token) + b',"events":['
        self._http: httpx.AsyncClient | None = None
        self._begin()

    def __repr__(self) -> str:
        return f"EssentryClient({self.config.base_url!r})"

    async def __aenter__(self) -> Self:
        config = self.config
        timeout = httpx.Timeout(
            config.timeout_seconds, connect=min(CONNECT_SECONDS, config.timeout_seconds)
        )
        limits = httpx.Limits(
            max_connections=config.concurrency, max_keepalive_connections=config.concurrency
        )
        self._begin()
        self._http = httpx.AsyncClient(
            transport=self._transport,
            timeout=timeout,
            limits=limits,
            follow_redirects=False,
            # A company's proxy and SSL_CERT_FILE are honoured; nothing stands between us and this
            # machine.
            trust_env=not is_loopback(config.base_url),
            headers={
                "Authorization": f"Bearer {self._secrets[0]}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": f"essentry-sync/{_own_version()}",
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def _begin(self) -> None:
        self.failure: EssentryError | None = None
        self._halted = asyncio.Event()
        self._not_before = 0.0
        self._refused_batches = 0

    @property
    def envelope_bytes(self) -> int:
        """Bytes of a request around its events; each event takes its body and a comma."""
        return len(self._head) + 2

    def halt(self) -> None:
        """Send nothing more until the context ends; requests under way are still answered, waits
        for a try end.
        """
        self._halted.set()

    async def put_events(self, items: Sequence[Item]) -> list[Outcome]:
        """Send one batch; one outcome for each item, in the order given.

        Items share `ignore_missing` and have different source ids. Retrying is safe because the API
        is state based. Retries end with `retry_budget_seconds`; the last try may overrun it by its
        own time-out. A batch that is refused whole is halved until the refused events stand alone;
        after more than `max_rejected_batches` batches without one accepted event the fault is taken
        to be ours, and sending stops. See `failure` afterwards.
        """
        if not items:
            return []
        if any(item.ignore_missing != items[0].ignore_missing for item in items):
            raise ValueError(
                "ignoreMissingInvitations holds for a whole request: batches must not mix it"
            )
        now = asyncio.get_running_loop().time
        if (wait := self._not_before - now()) > 0:
            await self._pause(wait)
        batch = _Batch(deadline=now() + self.config.retry_budget_seconds)
        outcomes = await self._deliver(_Call(items, tainted=False), batch)
        if batch.refused == len(items):
            self._refused_batches += 1
            if self._refused_batches > self.config.max_rejected_batches:
                words = (
                    f"{self._refused_batches} batches whole ({outcomes[-1].code}: "
                    f"{outcomes[-1].message})"
                )
                remedy = (
                    "the fault is on our side; check the agent token and the configuration, and "
                    "see the report"
                )
                self._fail(EssentryError(f"essentry refused {words}: {remedy}"))
        return outcomes

    async def ping(self, location_id: int | None = None) -> Ping:
        """Ask for at most one invitation of a location, or for the bare API address; the answer is
        dropped.

        Without a location only reachability is shown. Raises EssentryUnauthorised (401, 403) and
        EssentryError with a remedy.
        """
        url, params = self.config.base_url, {}
        if location_id is not None:
            url = f"{url}/locations/{location_id}/invitations"
            now = self._clock().astimezone(UTC).replace(microsecond=0)
            soon = now + timedelta(minutes=1)
            params = {"endsAfter": now.isoformat(), "beginsBefore": soon.isoformat(), "limit": "1"}
        started = asyncio.get_running_loop().time()
        try:
            response = await self._exchange(self._client().build_request("GET", url, params=params))
        except _NoAnswer as lost:
            raise self._unreachable(lost) from None
        seconds = asyncio.get_running_loop().time() - started
        status = response.status_code
        if (
            read_meaning(response) in ("token", "elsewhere")
            and (error := self._stopping_error(response)) is not None
        ):
            raise error
        if status >= 500 or (status >= 400 and location_id is not None):
            remedy = (
                "check the location id and essentry.base_url"
                if status == 404
                else "try again later"
            )
            raise EssentryError(f"essentry answered {status} ({self._words(response)}): {remedy}")
        return Ping(
            status,
            seconds,
            token_checked=location_id is not None and status == 200 and not _is_html(response),
        )

    # One request, its tries, and its halves.

    async def _deliver(self, call: _Call, batch: _Batch) -> list[Outcome]:
        items = call.items
        if self._halted.is_set() or batch.spent:
            return _unsent(call)
        try:
            response = await self._request(call, batch)
        except _NoAnswer as lost:
            batch.spent = True
            if lost.stops:
                self._fail(EssentryError(lost.stops))
            return _unsent(call, lost.code, mask_words(self._clean(lost.words), list_names(items)))
        status, meaning = response.status_code, read_meaning(response)
        if meaning == "statuses":
            return self._judge(call, response)
        if meaning == "unknown":
            return _outcomes(
                items,
                "unknown",
                f"HTTP_{status}",
                f"an answer that is not documented: {self._words(response, items)}",
            )
        if (error := self._stopping_error(response)) is not None:
            self._fail(error)
            call.tainted = call.tainted or status in UNSURE_REDIRECTS
            return _unsent(call, f"HTTP_{status}")
        if len(items) == 1:
            # An event too large by itself says nothing about the others.
            batch.refused += status != 413
            return _refuse(call, items, f"HTTP_{status}", self._words(response, items))
        middle = len(items) // 2
        left = await self._deliver(_Call(items[:middle], call.tainted), batch)
        return left + await self._deliver(_Call(items[middle:], call.tainted), batch)

    async def _request(self, call: _Call, batch: _Batch) -> httpx.Response:
        """One request with its retries; raises _NoAnswer when the budget of the batch is spent."""
        spent = stop_before_delay(max(0.0, batch.deadline - asyncio.get_running_loop().time()))

        def wait(state: RetryCallState) -> float:
            lost = state.outcome.exception() if state.outcome else None
            asked = lost.retry_after if isinstance(lost, _NoAnswer) else None
            return self._backoff(state) + (asked or 0.0)

        def before_sleep(state: RetryCallState) -> None:
            lost = state.outcome.exception() if state.outcome else None
            seconds = state.upcoming_sleep
            self.retries += 1
            if isinstance(lost, _NoAnswer) and lost.retry_after:
                self._not_before = max(
                    self._not_before, asyncio.get_running_loop().time() + seconds
                )
            if self._on_retry is not None:
                self._on_retry(Retry(state.attempt_number, seconds, str(lost), len(call.items)))

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NoAnswer),
            wait=wait,
            stop=lambda state: self._halted.is_set() or spent(state),
            sleep=self._pause,
            before_sleep=before_sleep,
            reraise=True,
        )
        return await retrying(self._attempt, call)

    async def _attempt(self, call: _Call) -> httpx.Response:
        if self._stop is not None and self._stop():
            self.halt()
        if self._halted.is_set():
            raise _NoAnswer("HALTED", "sending was stopped", sent=False)
        url = f"{self.config.base_url}/events"
        if call.items[0].ignore_missing:
            url += "?ignoreMissingInvitations=true"
        content = b"".join((self._head, b",".join([item.body for item in call.items]), b"]}"))
        try:
            response = await self._exchange(
                self._client().build_request("PUT", url, content=content)
            )
            if retry := self._transient(response):
                raise retry
        except _NoAnswer as lost:
            call.tainted = call.tainted or lost.sent
            raise
        return response

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        """One try: the whole answer, or _NoAnswer. The outer limit ends an answer that only
        trickles in.
        """
        self.requests += 1
        try:
            async with asyncio.timeout(
                self.config.timeout_seconds + min(CONNECT_SECONDS, self.config.timeout_seconds)
            ):
                return await self._client().send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            if _is_certificate(error):
                remedy = (
                    "check essentry.base_url, or name your company's certificates in SSL_CERT_FILE"
                )
                self._fail(
                    EssentryError(
                        f"the certificate of {self.config.base_url} is not trusted: {remedy}"
                    )
                )
            raise _NoAnswer("UNREACHABLE", str(error), sent=False) from None
        except (httpx.TimeoutException, TimeoutError):
            raise _NoAnswer(
                "TIMEOUT", f"no answer within {self.config.timeout_seconds:g} s"
            ) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _NoAnswer("CONNECTION_LOST", str(error) or type(error).__name__) from None

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless sending is halted meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._halted.wait()
        except TimeoutError:
            return

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise RuntimeError("use the client inside `async with`")
        return self._http

    def _fail(self, error: EssentryError) -> None:
        self.failure = self.failure or error
        self.halt()

    # What an answer means.

    def _transient(self, response: httpx.Response) -> _NoAnswer | None:
        """What makes an answer worth another try: a passing fault, or a page of HTML where
        essentry's own address should be.
        """
        meaning, status = read_meaning(response), response.status_code
        page = meaning == "address" and _is_html(response)
        if meaning != "again" and not page:
            return None
        stops = self._everybodys_fault(status, "address") if page else None
        return _NoAnswer(
            f"HTTP_{status}",
            self._words(response),
            sent=not page,
            retry_after=self._retry_after(response),
            stops=stops,
        )

    def _stopping_error(self, response: httpx.Response) -> EssentryError | None:
        status, meaning = response.status_code, read_meaning(response)
        if meaning == "token":
            return EssentryUnauthorised(
                f"essentry refused the token ({status}): check {_token_place(self.config)} and the "
                "integration's rights in essentry"
            )
        if meaning == "elsewhere":
            return EssentryError(
                f"{self.config.base_url} redirects elsewhere ({status}), which is not followed: "
                "set essentry.base_url to the API's own address"
            )
        if meaning in ("address", "manner"):
            return EssentryError(self._everybodys_fault(status, meaning))
        return None

    def _everybodys_fault(self, status: int, meaning: Meaning) -> str:
        if meaning == "address":
            return (
                f"{self.config.base_url} answered {status} to a whole request, so no event of it "
                "is at fault and none was applied: set essentry.base_url to the address of "
                "essentry's API"
            )
        return (
            f"{self.config.base_url} refused the way of asking ({status}), so no event is at "
            "fault and none was applied: check essentry.base_url, and the proxy between this "
            "machine and essentry"
        )

    def _unreachable(self, lost: _NoAnswer) -> EssentryError:
        words = self._clean(lost.words)
        return self.failure or EssentryError(
            f"essentry gave no answer at {self.config.base_url} ({words or lost.code}): check "
            "essentry.base_url and the network"
        )

    def _judge(self, call: _Call, response: httpx.Response) -> list[Outcome]:
        """Outcomes from the statuses of a 200, matched by sourceId and never by position."""
        statuses = read_statuses(response.content)
        if statuses is None:
            return _outcomes(call.items, "unknown", "UNREADABLE", "the answer holds no statuses")
        outcomes: list[Outcome] = []
        for item in call.items:
            state, code, message = self._judge_status(item.action, statuses.get(item.source_id))
            if state == "rejected":
                outcomes += _refuse(call, [item], str(code), message)
            else:
                outcomes.append(Outcome(item.seq, item.source_id, state, code, message))
        return outcomes

    def _judge_status(
        self, action: str, given: str | None
    ) -> tuple[OutcomeState, str | None, str | None]:
        if given == STATUS_SUCCESS:
            return "confirmed", None, None
        if given is None:
            return "unknown", "NO_STATUS", "the answer leaves the event out"
        if given == "":
            return "unknown", "CONTRADICTION", "the answer has two statuses"
        if action == "delete" and given in self.config.delete_done_codes:
            return "confirmed", self._clean(given), None
        if given.startswith(STATUS_ERROR_PREFIX):
            return "rejected", self._clean(given), None
        return "unknown", self._clean(given), "the status is not known"

    def _retry_after(self, response: httpx.Response) -> float | None:
        """Seconds to wait, from seconds or an HTTP date, which is measured from the answer's own
        Date if it has one.
        """
        value = response.headers.get("Retry-After", "").strip()
        if value.isascii() and value.isdigit():
            return float(value[:9])
        until = _http_date(value)
        if until is None:
            return None
        since = _http_date(response.headers.get("Date", "")) or self._clock()
        return max(0.0, (until - since).total_seconds())

    def _words(self, response: httpx.Response, items: Sequence[Item] = ()) -> str:
        """What an answer says, without the people of the events that were sent."""
        return mask_words(
            self._clean(response.content[: 20 * MESSAGE_CHARS].decode("utf-8", errors="replace")),
            list_names(items),
        )

    def _clean(self, text: str) -> str:
        """The other side's words, fit for ledger and log: one line, secrets and e-mail addresses
        masked, cut.
        """
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _EMAIL.sub("***@***", _BLANK.sub(" ", text)).strip()
        return text if len(text) <= MESSAGE_CHARS else text[: MESSAGE_CHARS - 1] + "…"


def _token_place(config: EssentryConfig) -> str:
    return (
        f"the Prefect block {config.token_block}"
        if config.token_block
        else f"the environment variable {config.token_env}"
    )


def _agent_token_place(config: EssentryConfig) -> str:
    block = config.agent_token_block
    return (
        f"the Prefect block {block}"
        if block
        else f"the environment variable {config.agent_token_env}"
    )


def _own_version() -> str:
    try:
        return version("essentry-sync")
    except PackageNotFoundError:
        return "0"
