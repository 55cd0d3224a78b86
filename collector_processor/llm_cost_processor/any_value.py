"""OTLP attribute values and plain ones: read from bytes, appended as bytes."""

import struct
from collections.abc import Callable
from typing import Final

from llm_cost_processor.dialects import AttributeValue
from llm_cost_processor.raw.v1 import raw_pb2
from llm_cost_processor.wire import LONGEST_VARINT_BYTES, delimited, varint

_TEXT: Final = 0x0A
_SHORT: Final = 1 << 7  # a length below it is one byte


def plain_value(encoded: bytes) -> AttributeValue | None:
    """Return what an encoded AnyValue holds; None for an array, a map, bytes, nothing or ""."""
    # One short text and nothing else, which is what most attributes are; protobuf reads the rest.
    if encoded[:1] == b"\x0a" and encoded[1:2] == _LENGTHS.get(len(encoded)):
        return encoded[2:].decode("utf-8", "replace") or None
    value = raw_pb2.Value.FromString(encoded)
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "string_value":
        return value.string_value.decode("utf-8", "replace") or None
    plain: AttributeValue = getattr(value, kind)
    return plain


_LENGTHS: Final = {length + 2: bytes((length,)) for length in range(_SHORT)}


def int_appender(name: str) -> Callable[[int], bytes]:
    """Return a function to the bytes that append an integer >= 0 to a span."""
    heads = [_head(name, 1 + size) + b"\x18" for size in range(LONGEST_VARINT_BYTES + 1)]

    def appended(value: int) -> bytes:
        encoded = varint(value)
        return heads[len(encoded)] + encoded

    return appended


def float_appender(name: str) -> Callable[[float], bytes]:
    """Return a function to the bytes that append a double to a span."""
    head = _head(name, 9) + b"\x21"
    pack = struct.Struct("<d").pack
    return lambda value: head + pack(value)


def appended_text(name: str, value: str) -> bytes:
    """Return the bytes that append a text to a span."""
    return appended_text_head(name, len(encoded := value.encode())) + encoded


def appended_text_head(name: str, text_bytes: int) -> bytes:
    """Return the bytes that append a text of that length to a span, but for the text."""
    body = b"\x0a" + varint(text_bytes)
    return _head(name, len(body) + text_bytes) + body


def _head(name: str, value_bytes: int) -> bytes:
    """Everything of a KeyValue in a span, which is field 9, up to its AnyValue."""
    head = delimited(b"\x0a", name.encode()) + b"\x12" + varint(value_bytes)
    return b"\x4a" + varint(len(head) + value_bytes) + head
