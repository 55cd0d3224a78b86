"""A gRPC load generator light enough to be no bottleneck: unary calls as prepared frames.

The Python gRPC client spends about 300 us of CPU on a call, more than the server it loads.
Here a request is two frames of bytes written from a template, and a response is counted by
its frame headers, at about 10 us together. It speaks just enough HTTP/2 for one server.
"""

import socket
import struct
from collections.abc import Iterator

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4
_LARGE_WINDOW = 2**30
_READ_BYTES = 1 << 18
_LARGEST_FRAME = 16_384
_STREAM_WINDOW = 65_000


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    # Never indexed, plain text: the same bytes mean the same in every request.
    assert max(len(name), len(value)) < 127
    return b"\x10" + bytes([len(name)]) + name + bytes([len(value)]) + value


def _headers(path: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "load",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(_literal(k.encode(), v.encode()) for k, v in fields.items())


class Connection:
    """One HTTP/2 connection on which unary calls are pipelined."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", 4, 2**31 - 1)  # per-stream window: never in the way
        self._socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _LARGE_WINDOW))
        )
        self._received = b""
        self._unacknowledged = 0
        self._stream = -1
        self._sent_credit = 65_535
        self.messages = 0

    def call(self, path: str, message: bytes) -> bytes:
        """Return the frames of one call."""
        self._stream += 2
        # A larger body would have to wait for its stream's window, which nobody tracks here.
        assert len(message) < _STREAM_WINDOW
        body = b"\0" + struct.pack(">I", len(message)) + message
        self._sent_credit -= len(body)
        frames = [_frame(_HEADERS, _END_HEADERS, self._stream, _headers(path))]
        for at in range(0, len(body), _LARGEST_FRAME):
            last = _END_STREAM if at + _LARGEST_FRAME >= len(body) else 0
            frames.append(_frame(_DATA, last, self._stream, body[at : at + _LARGEST_FRAME]))
        return b"".join(frames)

    def run(self, calls: Iterator[tuple[str, bytes]], *, in_flight: int) -> int:
        """Send every call, at most `in_flight` at once; return how many were answered."""
        waiting = ended = 0
        exhausted = False
        while True:
            batch = []
            # A body that the server's window has no room for waits until it has.
            while not exhausted and waiting < in_flight and self._sent_credit > 0:
                call = next(calls, None)
                if call is None:
                    exhausted = True
                    break
                batch.append(self.call(*call))
                waiting += 1
            if batch:
                self._socket.sendall(b"".join(batch))
            if exhausted and not waiting:
                return ended
            done = self._read()
            waiting -= done
            ended += done

    def _read(self) -> int:
        received = self._received + self._socket.recv(_READ_BYTES)
        at = ended = 0
        while len(received) - at >= 9:
            length = int.from_bytes(received[at : at + 3], "big")
            if len(received) - at < 9 + length:
                break
            kind, flags = received[at + 3], received[at + 4]
            stream = int.from_bytes(received[at + 5 : at + 9], "big")
            payload = received[at + 9 : at + 9 + length]
            at += 9 + length
            ended += self._take(kind, flags, stream, payload)
        self._received = received[at:]
        if self._unacknowledged > _LARGE_WINDOW // 2:
            update = struct.pack(">I", self._unacknowledged)
            self._socket.sendall(_frame(_WINDOW_UPDATE, 0, 0, update))
            self._unacknowledged = 0
        return ended

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> int:
        if kind == _DATA:
            self._unacknowledged += len(payload)
            self.messages += bool(payload)  # a failed call has no message
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._sent_credit += int.from_bytes(payload, "big")
        elif kind in (_SETTINGS, _PING) and not flags & _ACK:
            answer = payload if kind == _PING else b""
            self._socket.sendall(_frame(kind, _ACK, 0, answer))
        elif kind == _GOAWAY:
            raise ConnectionError(f"the server went away: {payload!r}")
        return 1 if kind in (_DATA, _HEADERS) and flags & _END_STREAM else 0
