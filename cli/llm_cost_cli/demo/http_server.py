"""As much of HTTP/1.1 as two well-behaved client libraries need, on asyncio streams.

A framework would cost more CPU for each request than all of the demo's own work.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

_HEAD_LIMIT_BYTES: Final = 64 * 1024
_BODY_LIMIT_BYTES: Final = 32 * 1024 * 1024  # what both providers accept at most


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Reply:
    """Writes one reply: `send` a whole one, or `start_stream`, `event`s and `end_stream`."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(
        self, document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a JSON document."""
        body = json.dumps(document, separators=(",", ":")).encode()
        extra = {"content-type": "application/json", "content-length": str(len(body))}
        self._writer.write(_head(status, extra | dict(headers or {})) + body)

    def start_stream(self, headers: Mapping[str, str]) -> None:
        """Begin a reply of server-sent events."""
        extra = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        self._writer.write(_head(200, extra | dict(headers)))

    async def event(self, data: str, *, name: str | None = None) -> None:
        """Send one event, as a chunk of its own."""
        await self.raw((f"event: {name}\n" if name else "") + f"data: {data}\n\n")

    async def raw(self, text: str) -> None:
        """Send bytes of a stream that need not be a well-formed event."""
        payload = text.encode()
        self._writer.write(b"%x\r\n%b\r\n" % (len(payload), payload))
        await self._writer.drain()

    def end_stream(self) -> None:
        """End the stream as promised."""
        self._writer.write(b"0\r\n\r\n")

    def drop(self) -> None:
        """Hang up in the middle; what was sent still arrives, so that tests can count on it."""
        self._writer.close()


Handler = Callable[[Request, Reply], Awaitable[None]]


async def serve(handler: Handler, host: str, port: int) -> tuple[asyncio.Server, str]:
    """Start answering; return the server and its host:port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _read(reader)) is not None:
                await handler(request, Reply(writer))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or we are ending: nobody is left to tell
        except ValueError as error:
            Reply(writer).send({"error": {"message": str(error)}}, status=400)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, host, port, limit=_HEAD_LIMIT_BYTES)
    bound = server.sockets[0].getsockname()
    return server, f"{bound[0]}:{bound[1]}"


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Return the next request of a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError:
        raise ValueError(f"the head of the request exceeds {_HEAD_LIMIT_BYTES} bytes") from None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    named = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in named}
    if "transfer-encoding" in headers:
        raise ValueError("send the body with a content-length, not in chunks")
    size_bytes = int(headers.get("content-length", "0"))
    if not 0 <= size_bytes <= _BODY_LIMIT_BYTES:
        raise ValueError(f"a body of {size_bytes} bytes exceeds {_BODY_LIMIT_BYTES}")
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, await reader.readexactly(size_bytes))


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n".encode("latin-1")
