"""Which Prefect server shows a run, and whether it answers."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from schemas.errors import ConfigurationError

SERVER_SECONDS = 10


def server_url() -> str | None:
    """The Prefect server this process uses; None: a temporary one for the run."""
    return get_current_settings().api.url


def describe_server() -> str:
    """Which server shows the run, in one line for the terminal."""
    url = server_url()
    if url is None:
        return "Prefect: a server for this run alone (PREFECT_API_URL names one that keeps the runs); it takes some seconds to start"
    return f"Prefect: the run shows at {url.removesuffix('/api')}"


def check_server() -> None:
    """Raise ConfigurationError when the configured Prefect server does not answer."""
    url = server_url()
    if url is None:
        return
    with get_client(sync_client=True, httpx_settings={"timeout": SERVER_SECONDS}) as client:  # its TLS settings, its authorisation
        problem = client.api_healthcheck()
    if problem is not None:
        raise ConfigurationError(
            f"the Prefect server {url} does not answer ({type(problem).__name__}): start it with `prefect server start`, correct "
            "PREFECT_API_URL, or unset it to run without one; nothing was read or sent"
        )
