"""Which Prefect server shows a run, and whether it answers. What needs no Prefect does not import
it: that takes a second or two.
"""

from __future__ import annotations

import io
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from flows.engine.temporary import start_temporary_server
from schemas.errors import ConfigurationError, SyncError

SERVER_SECONDS = 10
_ASKED_FOR = ("PREFECT_SERVER_EPHEMERAL_ENABLED", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE")


def server_url() -> str | None:
    """The address of the configured Prefect server's API; None: none is configured. Raises
    ConfigurationError.

    Prefect is asked, unless nothing that it reads can name one.
    """
    if "prefect" not in sys.modules and not _may_be_configured():
        return None
    with explain_settings():
        from prefect.settings import get_current_settings

        return get_current_settings().api.url


def _may_be_configured() -> bool:
    """Whether the environment or a file that Prefect reads may name a server; in doubt, yes."""
    if any(os.environ.get(name) for name in ("PREFECT_API_URL", "PREFECT_PROFILE")):
        return True
    home = Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
    profiles = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml").expanduser()
    return any(
        _mentions_server(file)
        for file in (profiles, Path(".env"), Path("prefect.toml"), Path("pyproject.toml"))
    )


def _mentions_server(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace").lower()
    except OSError:
        return False
    if file.name in ("pyproject.toml", ".env") and "prefect" not in text:
        return False
    return "url" in text or "active" in text.replace('active = "ephemeral"', "")


def wants_temporary_server() -> bool:
    """Whether the environment asks for Prefect's temporary server where none is configured, by
    Prefect's own setting.
    """
    return any(
        os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on", "t", "y")
        for name in _ASKED_FOR
    )


def describe_server() -> str:
    """Which server shows the run, in one line for the terminal."""
    url = server_url()
    if url is None:
        return (
            "Prefect: starting a server for this run alone (PREFECT_API_URL names one that keeps "
            "the runs)"
        )
    return f"Prefect: the run shows at {url.removesuffix('/api')}"


def check_server() -> None:
    """Raise ConfigurationError when the configured Prefect server does not answer."""
    url = server_url()
    if url is None:
        return
    with explain_settings():
        from prefect.client.orchestration import get_client

        # its TLS settings, its authorisation
        with get_client(sync_client=True, httpx_settings={"timeout": SERVER_SECONDS}) as client:
            problem = client.api_healthcheck()
    if problem is not None:
        raise ConfigurationError(
            f"the Prefect server {url} does not answer ({type(problem).__name__}): "
            "start it with `prefect server start`, correct PREFECT_API_URL, "
            "or unset it to run without one; nothing was read or sent"
        )


@contextmanager
def use_server(wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Within it Prefect finds a server: the configured one, or a temporary one. Raises
    ServerFailure when that does not start.
    """
    if server_url() is not None:
        yield
        return
    url = start_temporary_server(wait)
    with explain_settings():
        from prefect.settings import PREFECT_API_URL, temporary_settings
    with temporary_settings({PREFECT_API_URL: url}):
        yield


def leave_server() -> None:
    """In a flow run whose server is silent: ask it nothing more, so that the engine's next request
    fails at once.
    """
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    if context is not None:
        context.client._client.close()  # type: ignore[union-attr]  # the synchronous one of a synchronous flow


@contextmanager
def explain_settings() -> Iterator[None]:
    """What Prefect cannot make sense of (a file, a variable, a certificate) is one message with the
    remedy.
    """
    said = io.StringIO()  # its first import prints a traceback of its own
    try:
        _try_certificates()
        with redirect_stderr(said):
            yield
        sys.stderr.write(said.getvalue())
    except SyncError:
        raise
    except Exception as error:  # of pydantic, tomllib, ssl, httpx
        words = " ".join(str(error).split())[:200]
        raise ConfigurationError(
            f"Prefect's settings cannot be used ({type(error).__name__}: {words}): "
            "correct the PREFECT_… and SSL_CERT_… variables, prefect.toml and Prefect's profile; "
            "nothing was read or sent"
        ) from None


def _try_certificates() -> None:
    file = os.environ.get("SSL_CERT_FILE")
    if file:
        try:
            ssl.create_default_context(cafile=file)
        except OSError as error:  # ssl's own, too
            raise ValueError(
                f"SSL_CERT_FILE = {file} is no file of certificates: {error}"
            ) from None
