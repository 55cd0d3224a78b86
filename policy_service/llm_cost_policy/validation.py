"""The edge: protobuf messages in, checked values out, or an error that says what to do.

Everything behind this module may rely on what it checks.
"""

import json
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from llm_cost.call_id import LENGTH_BYTES
from llm_cost.policy.decision import Action
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.usage import Usage
from llm_cost_policy.ledger import Rank, ReserveCall, SettleCall
from llm_cost_policy.policies import Override

LARGEST_MESSAGE_BYTES: Final = 4 * 1024 * 1024  # a full batch is about 300 KB
MOST_SETTLEMENTS: Final = 1_000  # one commit's worth
LONGEST_ID_BYTES: Final = 256
LONGEST_TEXT_BYTES: Final = 1_024  # a reason is a sentence
MOST_BUCKETS: Final = 64  # three times what any provider reports
MOST_UNITS: Final = 10**12  # a trillion tokens in one call is a mistake of the client
DEFAULT_HOLD_TTL_MS: Final = 10 * 60 * 1000
LONGEST_HOLD_TTL_MS: Final = 24 * 60 * 60 * 1000
LARGEST_PAGE: Final = 1_000
DEFAULT_PAGE: Final = 50
_SHOWN_CHARACTERS: Final = 40

_OVERRIDE_ACTIONS: Final = {
    pb.ACTION_UNSPECIFIED: None,
    pb.ACTION_WARN: Action.WARN,
    pb.ACTION_BLOCK: Action.BLOCK,
    pb.ACTION_DRY_RUN: Action.DRY_RUN,
}

# Enums are open on the wire: an unknown number arrives as that number.
_PRICE_STATUSES: Final = frozenset[int](pb.PriceStatus.values())
_SOURCES: Final = frozenset[int](pb.UsageSource.values())
_OUTCOMES: Final = frozenset[int](pb.Outcome.values())
_QUOTED_BUCKETS: Final = {name: f'"{name}"' for name in Usage._fields}

M = TypeVar("M", bound=Message)


class InvalidRequest(ValueError):
    """A field cannot be used; the message names it, its value and the way out."""


def _refuse(field: str, value: object, way_out: str) -> InvalidRequest:
    shown = repr(value)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = shown[:_SHOWN_CHARACTERS] + "..."
    return InvalidRequest(f"{field}: {shown} {way_out}")


def parsed(kind: type[M], serialized: bytes) -> M:
    """Return the message in `serialized`."""
    try:
        return kind.FromString(serialized)
    except DecodeError as error:
        raise InvalidRequest(
            f"the bytes are no {kind.DESCRIPTOR.full_name} ({error}); "
            "text must be UTF-8 and the client's stubs those of this service"
        ) from None


def reserve_call(request: pb.ReserveRequest) -> ReserveCall:
    """Return the checked call of a Reserve."""
    return _call(request, call_id(request.call_id), _hold_ttl_ms(request.hold_ttl_ms))


def extended_holds(request: pb.ExtendRequest) -> tuple[list[bytes], int]:
    """Return the checked call ids and the time of an Extend."""
    count = len(request.call_ids)
    if not 1 <= count <= MOST_SETTLEMENTS:
        raise _refuse("call_ids", count, f"are not 1 to {MOST_SETTLEMENTS}; send some a time")
    return [call_id(value) for value in request.call_ids], _hold_ttl_ms(request.hold_ttl_ms)


def _hold_ttl_ms(asked_ms: int) -> int:
    if not 0 <= asked_ms <= LONGEST_HOLD_TTL_MS:
        raise _refuse("hold_ttl_ms", asked_ms, f"is not from 0 to {LONGEST_HOLD_TTL_MS}")
    return asked_ms or DEFAULT_HOLD_TTL_MS


def check_call(request: pb.CheckRequest) -> ReserveCall:
    """Return the checked call of a Check, which has no id and no hold."""
    return _call(request, b"", 0)


def _call(
    request: pb.ReserveRequest | pb.CheckRequest, identity: bytes, ttl_ms: int
) -> ReserveCall:
    subject = request.subject
    _check_text("provider", request.provider)
    _check_text("model", request.model)
    _check_enum("price_status", request.price_status, _PRICE_STATUSES)
    estimate = request.estimate_nano_usd
    if estimate < 0:
        raise _refuse("estimate_nano_usd", estimate, "is negative; amounts are never negative")
    unknown = request.price_status == pb.PRICE_STATUS_UNKNOWN
    return ReserveCall(
        identity,
        _id("subject.user_id", subject.user_id),
        _id("subject.tier", subject.tier),
        _id("subject.group", subject.group),
        None if unknown else estimate,
        ttl_ms,
    )


def settle_calls(request: pb.SettleBatchRequest) -> list[SettleCall | InvalidRequest]:
    """Return each settlement of a batch, checked, or what is wrong with it."""
    count = len(request.settlements)
    if count > MOST_SETTLEMENTS:
        raise _refuse(
            "settlements", count, f"are too many; send at most {MOST_SETTLEMENTS} a batch"
        )
    return [_settle_call_or_error(item) for item in request.settlements]


def _settle_call_or_error(item: pb.Settlement) -> SettleCall | InvalidRequest:
    try:
        return settle_call(item)
    except InvalidRequest as error:
        return error


def settle_call(item: pb.Settlement) -> SettleCall:
    """Return one checked settlement."""
    subject = item.subject
    source, outcome, price_status = item.usage_source, item.outcome, item.price_status
    if source not in _SOURCES or outcome not in _OUTCOMES or price_status not in _PRICE_STATUSES:
        _check_enum("usage_source", source, _SOURCES)
        _check_enum("outcome", outcome, _OUTCOMES)
        _check_enum("price_status", price_status, _PRICE_STATUSES)
    ended_unix_ms = item.ended_at_unix_ms
    if ended_unix_ms < 0:
        raise _refuse("ended_at_unix_ms", ended_unix_ms, "is negative; 0 stands for now")
    ids = (subject.user_id, subject.tier, subject.group)
    texts = (item.provider, item.model, item.operation, item.price_version)
    joined = "".join(ids) + "".join(texts)
    # One look at all of them is enough for nearly every settlement; a batch has a thousand.
    if len(joined) > LONGEST_ID_BYTES or not joined.isascii() or "\0" in joined:
        _check_each(ids, texts)
    return SettleCall(
        call_id(item.call_id),
        *ids,
        _actual(item),
        # A client that names no source knows none but the provider's report.
        Rank.ESTIMATED if source == pb.USAGE_SOURCE_ESTIMATED else Rank.REPORTED,
        ended_unix_ms,
        *texts[:3],
        outcome,
        price_status,
        texts[3],
        _usage(item),
    )


def _check_each(ids: tuple[str, str, str], texts: tuple[str, str, str, str]) -> None:
    for field, value in zip(("user_id", "tier", "group"), ids, strict=True):
        _id(f"subject.{field}", value)
    fields = ("provider", "model", "operation", "price_version")
    for field, value in zip(fields, texts, strict=True):
        _check_text(field, value)


def _actual(item: pb.Settlement) -> int | None:
    if not item.HasField("actual_nano_usd"):
        return None
    amount = item.actual_nano_usd
    if amount < 0:
        raise _refuse("actual_nano_usd", amount, "is negative; amounts are never negative")
    if amount == 0 and item.price_status == pb.PRICE_STATUS_UNKNOWN:
        return None  # unknown is a state, never 0
    return amount


def _usage(item: pb.Settlement) -> str:
    buckets = item.usage
    if len(buckets) > MOST_BUCKETS:
        raise _refuse("usage", len(buckets), f"buckets are too many; at most {MOST_BUCKETS}")
    parts = []
    for name in sorted(buckets):
        count = buckets[name]
        if not 0 <= count <= MOST_UNITS:
            raise _refuse(f"usage[{name[:LONGEST_ID_BYTES]!r}]", count, f"is not 0 to {MOST_UNITS}")
        # Names of ours need no quoting; json.dumps alone would cost as much as all the rest.
        quoted = _QUOTED_BUCKETS.get(name) or json.dumps(_id("usage bucket", name))
        parts.append(f"{quoted}:{count}")
    return "{" + ",".join(parts) + "}"


def call_id(value: bytes) -> bytes:
    """Return the checked id of a call."""
    if len(value) != LENGTH_BYTES:
        raise _refuse(
            "call_id",
            value.hex(),
            f"has {len(value)} bytes; make {LENGTH_BYTES} before the call and repeat them on retry",
        )
    return value


def user_id(value: str) -> str:
    """Return the checked id of a user that must be named."""
    if not value:
        raise _refuse("user_id", value, "is empty; name a user")
    return _id("user_id", value)


def tier(value: str) -> str:
    """Return a checked tier, which may be empty."""
    return _id("tier", value)


def text(field: str, value: str) -> str:
    """Return a checked free text."""
    return _check_text(field, value)


def _id(field: str, value: str) -> str:
    if "\0" in value:
        raise _refuse(field, value, "holds a NUL character; take it out")
    # A quarter as many characters can never be too many bytes, and is the common case.
    if len(value) * 4 > LONGEST_ID_BYTES and len(value.encode()) > LONGEST_ID_BYTES:
        raise _refuse(field, value, f"is longer than {LONGEST_ID_BYTES} bytes; send a hash of it")
    return value


def _check_text(field: str, value: str) -> str:
    if "\0" in value:
        raise _refuse(field, value, "holds a NUL character; take it out")
    if len(value) * 4 > LONGEST_TEXT_BYTES and len(value.encode()) > LONGEST_TEXT_BYTES:
        raise _refuse(field, value, f"is longer than {LONGEST_TEXT_BYTES} bytes; shorten it")
    return value


def _check_enum(field: str, value: int, known: frozenset[int]) -> None:
    if value not in known:
        raise _refuse(field, value, "is not a known value; update the service or the client")


def override(request: pb.Override) -> Override:
    """Return a checked override."""
    limit = request.limit_nano_usd if request.HasField("limit_nano_usd") else None
    if limit is not None and limit < 0:
        raise _refuse("override.limit_nano_usd", limit, "is negative; leave it out for no limit")
    if request.action not in _OVERRIDE_ACTIONS:
        raise _refuse("override.action", request.action, "is none of WARN, BLOCK, DRY_RUN")
    if request.expires_unix_ms < 0:
        raise _refuse("override.expires_unix_ms", request.expires_unix_ms, "is negative; 0: never")
    return Override(
        user_id=user_id(request.user_id),
        limit_nano_usd=limit,
        action=_OVERRIDE_ACTIONS[request.action],
        reason=_check_text("override.reason", request.reason),
        expires_unix_ms=request.expires_unix_ms,
        author=_check_text("override.author", request.author),
        created_unix_ms=0,
    )


def page_size(value: int) -> int:
    """Return the size of a page, the default for 0."""
    if not 0 <= value <= LARGEST_PAGE:
        raise _refuse("page_size", value, f"is not from 1 to {LARGEST_PAGE}")
    return value or DEFAULT_PAGE


def period_name(value: str) -> str:
    """Return a period's name; whether there is such a period, the ledger knows."""
    return _id("period", value)


def no_such_period(value: str) -> InvalidRequest:
    """The error for a period that is none."""
    return _refuse("period", value, "is no period; write 2026-11, 2026-W48 or 2026-11-24")
