"""AWS event-stream framing, by hand: what a streaming answer of Bedrock is made of.

A message is a prelude (total length, headers length, CRC of both), typed headers, a payload
and a CRC of everything before it, all big-endian.
"""

import base64
import json
import struct
import zlib
from typing import Any

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack(f">B{len(key)}sBH", len(key), key, _STRING, len(text)) + text


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Return one framed message."""
    block = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    before_crc = prelude + block + payload
    return before_crc + struct.pack(">I", zlib.crc32(before_crc))


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """Return one event."""
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return message(headers, json.dumps(payload).encode())


def exception(kind: str, text: str) -> bytes:
    """Return what ends a stream that went wrong."""
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return message(headers, json.dumps({"message": text}).encode())


def chunk(document: dict[str, Any]) -> bytes:
    """Return one chunk of an InvokeModelWithResponseStream."""
    raw = json.dumps(document).encode()
    return event("chunk", {"bytes": base64.b64encode(raw).decode()})
