"""A websocket server on loopback that answers each message of a client as a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

Reaction = Callable[[dict[str, Any]], list[dict[str, Any]]]


class SocketServer:
    """greets: what every connection hears first; reacts: what a message is answered with."""

    def __init__(self) -> None:
        self.greets: list[dict[str, Any]] = []
        self.reacts: Reaction = lambda _: []
        self.connections = 0
        self.seen: list[dict[str, Any]] = []
        self._server = serve(self._handle, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()

    def _handle(self, connection: ServerConnection) -> None:
        self.connections += 1
        try:
            for event in self.greets:
                connection.send(json.dumps(event))
            for message in connection:
                asked = json.loads(message)
                self.seen.append(asked)
                for event in self.reacts(asked):
                    connection.send(json.dumps(event))
        except ConnectionClosed:
            pass  # the test turned away


@contextmanager
def socket_server() -> Iterator[SocketServer]:
    server = SocketServer()
    try:
        yield server
    finally:
        server.stop()
