"""Something between a client and a Prefect server that can fall silent, or die, at a word."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit


class Proxy:
    """Forwards each connection to `url`'s server. `hang()`: nothing comes through any more;
    `die()`: nobody listens.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = (parts.hostname or "", parts.port or 0)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}{parts.path}"
        self.open = threading.Event()
        self.open.set()
        self.connections: list[socket.socket] = []
        self.seen = 0
        """Connections so far."""

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.die()

    def hang(self) -> None:
        """What is asked from now on has no answer; connections stay open, and new ones are
        taken.
        """
        self.open.clear()

    def die(self) -> None:
        """Close everything."""
        self.open.clear()
        for connection in [self.listening, *self.connections]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            self.seen += 1
            self.connections.append(client)
            if not self.open.is_set():
                continue
            server = socket.create_connection(self.target)
            self.connections.append(server)
            for here, there in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(here, there), daemon=True).start()

    def _pump(self, here: socket.socket, there: socket.socket) -> None:
        with suppress(OSError):
            while data := here.recv(65536):
                if self.open.is_set():
                    there.sendall(data)
            there.shutdown(socket.SHUT_WR)
