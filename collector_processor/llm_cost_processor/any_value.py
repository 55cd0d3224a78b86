"""OTLP attribute values and plain ones: read from bytes, appended as bytes.

Appending by hand is a fraction of the cost of protobuf messages in Python, and has protobuf
itself as its judge in the tests.
"""

import struct
from functools import lru_cache
from typing import Final

from llm_cost_processor.dialects import AttributeValue
from llm_cost_processor.raw.v1 import raw_pb2

REMEMBERED_VALUES: Final = 8_192
"""Models, tiers, users and small counts come again and again."""


def plain_value(encoded: bytes) -> AttributeValue | None:
    """Return what an encoded AnyValue holds; None for an array, a map, bytes, nothing or ""."""
    value = raw_pb2.Value.FromString(encoded)
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "string_value":
        return value.string_value.decode("utf-8", "replace") or None
    plain: AttributeValue = getattr(value, kind)
    return plain


remembered_value = lru_cache(maxsize=REMEMBERED_VALUES)(plain_value)


def appended_int(name: str, value: int) -> bytes:
    """Return the bytes that append an integer >= 0 to a span: field 9, a KeyValue."""
    encoded = varint(value)
    return _head(name, 1 + len(encoded)) + b"\x18" + encoded


def appended_float(name: str, value: float) -> bytes:
    """Return the bytes that append a double to a span."""
    return _head(name, 9) + b"\x21" + struct.pack("<d", value)


def appended_text(name: str, value: str) -> bytes:
    """Return the bytes that append a text to a span."""
    encoded = value.encode()
    body = b"\x0a" + varint(len(encoded)) + encoded
    return _head(name, len(body)) + body


@lru_cache(maxsize=64)
def appended_texts(texts: tuple[tuple[str, str], ...]) -> bytes:
    """Return the bytes that append several texts, which are few and come again."""
    return b"".join(appended_text(name, value) for name, value in texts)


@lru_cache(maxsize=256)
def _head(name: str, value_bytes: int) -> bytes:
    """Everything of a KeyValue in a span up to its AnyValue of `value_bytes`."""
    key = name.encode()
    head = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(value_bytes)
    return b"\x4a" + varint(len(head) + value_bytes) + head


def varint(number: int) -> bytes:
    """Return `number` >= 0 as a protobuf varint."""
    if number < 1 << 7:
        return bytes((number,))
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    if number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    low = bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14 & 127 | 128))
    return low + varint(number >> 21)
