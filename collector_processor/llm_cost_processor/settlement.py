"""What the ledger is told about calls, as the bytes of a SettleBatchRequest.

Written by hand: message objects would take longer than everything else that happens to a
span. What is the same for many calls is encoded once.
"""

from collections.abc import Iterable
from itertools import compress
from typing import Final, NamedTuple

from google.protobuf.message import Message

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2
from llm_cost.usage import Usage
from llm_cost_processor.enrich import LlmCall, Price
from llm_cost_processor.memory import Memory
from llm_cost_processor.spool import Record
from llm_cost_processor.wire import LONGEST_VARINT_BYTES, delimited, number, text, varint

BATCH_ITEMS: Final = 1_000
"""What SettleBatch takes at most."""

REMEMBERED_PRICES: Final = 4_096
"""As many as there are kinds of calls; each is some hundred bytes."""

_SOURCES: Final = {
    "reported": policy_pb2.USAGE_SOURCE_REPORTED,
    "estimated": policy_pb2.USAGE_SOURCE_ESTIMATED,
}
_STATUSES: Final = {
    "exact": policy_pb2.PRICE_STATUS_EXACT,
    "partial": policy_pb2.PRICE_STATUS_PARTIAL,
    "fallback": policy_pb2.PRICE_STATUS_FALLBACK,
    "unknown": policy_pb2.PRICE_STATUS_UNKNOWN,
}


def _tag(message: type[Message], field: str) -> bytes:
    """A field's number and wire type, as they stand before its value."""
    described = message.DESCRIPTOR.fields_by_name[field]
    is_number = described.cpp_type in (described.CPPTYPE_INT64, described.CPPTYPE_ENUM)
    return varint(described.number << 3 | (0 if is_number else 2))


_settlement: Final = policy_pb2.Settlement
_ITEM: Final = _tag(policy_pb2.SettleBatchRequest, "settlements")
_CALL_ID: Final = _tag(_settlement, "call_id") + varint(call_id.LENGTH_BYTES)
_SUBJECT: Final = _tag(_settlement, "subject")
_USER_ID: Final = _tag(policy_pb2.Subject, "user_id")
_ACTUAL: Final = _tag(_settlement, "actual_nano_usd")
_ENDED_AT: Final = _tag(_settlement, "ended_at_unix_ms")
_OUTCOME: Final = tuple(
    number(_tag(_settlement, "outcome"), outcome)
    for outcome in (policy_pb2.OUTCOME_OK, policy_pb2.OUTCOME_ERROR)
)


def _usage_heads(bucket: str) -> tuple[bytes, ...]:
    """By the length of a count: all of the map entry but the count."""
    key = delimited(b"\x0a", bucket.encode()) + b"\x10"
    entry = _tag(_settlement, "usage")
    return tuple(entry + varint(len(key) + size) + key for size in range(LONGEST_VARINT_BYTES + 1))


_USAGE_HEADS: Final = tuple(_usage_heads(bucket) for bucket in Usage._fields)


class _Parts(NamedTuple):
    """The fields that are the same for all calls of one price."""

    payer: bytes  # of Subject: tier and group
    price: bytes
    operation: bytes


def _parts_of(price: Price) -> _Parts:
    kind = price.kind
    status = _STATUSES.get(price.status, policy_pb2.PRICE_STATUS_EXACT)
    source = _SOURCES.get(kind.said.usage_source, policy_pb2.USAGE_SOURCE_REPORTED)
    return _Parts(
        text(_tag(policy_pb2.Subject, "tier"), kind.tier)
        + text(_tag(policy_pb2.Subject, "group"), kind.group),
        text(_tag(_settlement, "provider"), kind.provider)
        + text(_tag(_settlement, "model"), kind.model)
        + number(_tag(_settlement, "price_status"), status)
        + text(_tag(_settlement, "price_version"), price.version)
        + number(_tag(_settlement, "usage_source"), source),
        text(_tag(_settlement, "operation"), price.kind.operation),
    )


_parts: Memory[Price, _Parts] = Memory(_parts_of, max_entries=REMEMBERED_PRICES)


def encoded(call: LlmCall) -> bytes:
    """Return `call` as an item of a SettleBatchRequest."""
    identity, price, user_id, usage, nano_usd, _, failed, ended_at_unix_ms, *_ = call
    payer, said_of_price, operation = _parts[price]
    subject = payer
    if user_id:
        user = user_id.encode()
        subject = _USER_ID + varint(len(user)) + user + payer
    parts = [_CALL_ID, identity, _SUBJECT, varint(len(subject)), subject]
    if nano_usd is not None:
        parts += (_ACTUAL, varint(nano_usd))
    for heads, count in zip(compress(_USAGE_HEADS, usage), filter(None, usage), strict=True):
        encoded_count = varint(count)
        parts += (heads[len(encoded_count)], encoded_count)
    parts += (said_of_price, _OUTCOME[failed], number(_ENDED_AT, ended_at_unix_ms), operation)
    settlement = b"".join(parts)
    return _ITEM + varint(len(settlement)) + settlement


def records_of(calls: Iterable[LlmCall]) -> list[Record]:
    """Return what to spool for `calls`: serialized batches, each small enough to be sent."""
    items = [encoded(call) for call in calls if call.price.settles]
    return [
        Record(b"".join(part), len(part))
        for start in range(0, len(items), BATCH_ITEMS)
        if (part := items[start : start + BATCH_ITEMS])
    ]
