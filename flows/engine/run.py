"""Run a night where it is asked for: as a flow run when there is a Prefect server to show it, and
without the engine when there is none.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flows.engine.server import check_server, describe_server, server_url, wants_temporary_server
from flows.engine.temporary import ServerFailure, start_temporary_server
from flows.night.session import Result
from schemas.config import Config

NO_SERVER = (
    "Prefect: no server is configured, so this run shows in its report alone (PREFECT_API_URL "
    "names one)"
)


def run_night(
    config: Config, *, as_of: datetime | None = None, full: bool = False, progress: Any = None
) -> Result:
    """One night. Raises as `flows.sync.run_sync` does.

    progress: called by the load; its `tell` says which way the night runs, its `begins` each step,
    where it has them.
    """
    tell = getattr(progress, "tell", lambda text: None)
    begins = getattr(progress, "begins", lambda step: None)
    if server_url() is not None or wants_temporary_server() or config.scale.partitions > 1:
        tell(describe_server())
        begins("engine")
        check_server()
        try:
            if server_url() is None:
                start_temporary_server()
            from flows.sync import run_sync

            return run_sync(config, as_of=as_of, full=full, progress=progress)
        except ServerFailure as failure:
            tell(f"{failure}. This run shows in its report alone")
    else:
        tell(NO_SERVER)
    from flows.night.whole import run_whole_night

    return run_whole_night(config, as_of=as_of, full=full, progress=progress)
