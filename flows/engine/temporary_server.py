"""The process of a temporary Prefect server: it tells its port on standard output, and ends with
the process that started it.

Started by its path, without the project's packages. An import of Prefect's server takes seconds, so
the watch comes first.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

WATCH_SECONDS = 0.5


def end_with_parent(parent: int) -> None:
    """End this process as soon as its parent has ended, however it ended."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(0)


def main(parent: int) -> None:
    """Serve Prefect's API on a free port of this machine until the parent ends or terminates it."""
    threading.Thread(target=end_with_parent, args=(parent,), daemon=True).start()
    listening = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
        )
    )
    server.run(sockets=[listening])
    sys.exit(0 if server.started else 3)


if __name__ == "__main__":
    main(int(sys.argv[1]))
