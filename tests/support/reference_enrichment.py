"""What the processor says about a span, worked out slowly and in the plainest way.

Nothing is remembered, nothing is written by hand that protobuf can write, and everything is
read by name. The processor has to agree with this on any bytes whatsoever.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost.money import MAX_NANO_USD, usd_display
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.pricing import Cost, cost_of
from llm_cost.usage import Usage
from llm_cost_processor.dialects import BUCKET_NAMES, COUNTS, DIALECTS, LLM_SPAN_MARKS, SubjectNames
from llm_cost_processor.raw.v1 import raw_pb2
from llm_cost_processor.reported import MAX_COUNT
from support.otlp_traffic import Plain, key_values

SUBJECTS = SubjectNames()
SAID_BY_DIALECTS = {
    "input_text_tokens", "input_audio_tokens", "cache_read_text_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "output_text_tokens", "output_reasoning_tokens",
    "output_audio_tokens",
}  # fmt: skip


@dataclass
class Call:
    """One LLM call; `added` in the order in which it is appended to the span."""

    settlement: pb.Settlement
    settles: bool
    unpriced: str | None
    labels: tuple[str, ...]
    usage: Usage
    duration_s: float
    refused: bool
    added: list[tuple[str, Plain]] = field(default_factory=list)


@dataclass
class Expected:
    """What ought to become of one request."""

    payload: bytes
    calls: list[Call] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0


class _BadCount(Exception):
    pass


def enrich(payload: bytes) -> Expected:
    """Return what ought to become of `payload`, which is a request."""
    expected = Expected(payload)
    traces = raw_pb2.Traces.FromString(payload)
    for resource_spans in traces.resource_spans:
        payer = _payer(resource_spans.resource)
        for scope_spans in resource_spans.scope_spans:
            kept: list[bytes] = []
            for span in scope_spans.spans:
                try:
                    kept.append(span + _added(span, payer, expected))
                except DecodeError:
                    expected.unreadable += 1
            scope_spans.ClearField("spans")
            scope_spans.spans.extend(kept)
    if expected.unreadable or any(call.added for call in expected.calls):
        expected.payload = traces.SerializeToString()
    return expected


def _added(encoded: bytes, payer: tuple[str, str, str, bool], expected: Expected) -> bytes:
    if not any(mark in encoded for mark in LLM_SPAN_MARKS):
        return b""
    span = raw_pb2.Span.FromString(encoded)
    found = _judged(span, _said(span.attributes), payer)
    if isinstance(found, str):
        expected.passed[found] += 1
        return b""
    expected.calls.append(found)
    return Span(attributes=key_values(dict(found.added))).SerializeToString()


def _said(encoded: Any) -> dict[str, Any]:
    """Every attribute that holds a scalar other than an empty text."""
    said = {}
    for name in encoded:
        value = raw_pb2.Value.FromString(encoded[name])
        kind = value.WhichOneof("value")
        plain = getattr(value, kind) if kind else None
        if isinstance(plain, bytes):
            plain = plain.decode("utf-8", "replace") or None
        if plain is not None:
            said[name] = plain
    return said


def _first(said: dict[str, Any], wanted: tuple[str, ...]) -> Any:
    return next((said[name] for name in wanted if name in said), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value)[:256]


def _payer(resource: bytes) -> tuple[str, str, str, bool]:
    try:
        said = _said(raw_pb2.Resource.FromString(resource).attributes)
    except DecodeError:
        said = {}
    return _subject(said, ("", "", "", False))


def _subject(
    said: dict[str, Any], otherwise: tuple[str, str, str, bool]
) -> tuple[str, str, str, bool]:
    refused, found = otherwise[3], []
    for number, wanted in enumerate((SUBJECTS.user, SUBJECTS.tier, SUBJECTS.group)):
        value = _first(said, wanted)
        name = otherwise[number] if value is None else str(value)
        if len(name.encode()) > 256 or "\0" in name:
            name, refused = "", True
        found.append(name)
    return found[0], found[1], found[2], refused


def _count(value: Any) -> int:
    if value is None:
        return 0
    is_whole_double = isinstance(value, float) and value.is_integer()
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 13
    whole = int(value) if type(value) is int or is_whole_double or is_digits else -1
    if not 0 <= whole <= MAX_COUNT:
        raise _BadCount
    return whole


def _usage(said: dict[str, Any], dialect: Any) -> Usage | None:
    own: dict[str, int] = {}
    if names.USAGE_SOURCE in said:
        for name, bucket in BUCKET_NAMES.items():
            if name in said and bucket not in SAID_BY_DIALECTS:
                own[bucket] = _count(said[name])
    own = {bucket: count for bucket, count in own.items() if count}
    given = {name: _first(said, getattr(dialect, name)) for name in COUNTS}
    if given["input_tokens"] is None and given["output_tokens"] is None:
        return Usage(**own) if own else None
    counts = {name: _count(value) for name, value in given.items()}
    write, write_1h = counts["cache_write_tokens"], counts["cache_write_1h_tokens"]
    write_1h = min(write, write_1h)
    cached = counts["cache_read_tokens"] + write if dialect.input_includes_cache else 0
    used = {
        "input_text_tokens": _rest(counts["input_tokens"], cached + counts["input_audio_tokens"]),
        "input_audio_tokens": counts["input_audio_tokens"],
        "cache_read_text_tokens": counts["cache_read_tokens"],
        "cache_write_tokens": write - write_1h,
        "cache_write_1h_tokens": write_1h,
        "output_text_tokens": _rest(
            counts["output_tokens"], counts["reasoning_tokens"] + counts["output_audio_tokens"]
        ),
        "output_reasoning_tokens": counts["reasoning_tokens"],
        "output_audio_tokens": counts["output_audio_tokens"],
    }
    for whole, parts in (
        ("input_text_tokens", ("input_image_tokens", "input_video_tokens")),
        ("output_text_tokens", ("output_image_tokens", "output_video_tokens")),
        ("cache_read_text_tokens", ("cache_read_audio_tokens", "cache_read_image_tokens")),
    ):
        used[whole] = _rest(used[whole], sum(own.get(part, 0) for part in parts))
    return Usage(**used, **own)


def _rest(total: int, inside: int) -> int:
    return total - inside if total >= inside else total


def _judged(span: Any, said: dict[str, Any], payer: tuple[str, str, str, bool]) -> Call | str:
    dialect = next((d for d in DIALECTS if any(mark in said for mark in d.marks)), None)
    if dialect is None:
        return "not_llm"
    usage, reason = None, "no_usage"
    try:
        usage = _usage(said, dialect)
    except _BadCount:
        reason = "invalid_usage"
    word = _first(said, dialect.operation)
    unsaid = dialect.operation_unsaid if usage is not None else None
    operation = unsaid if word is None else dialect.operations.get(_text(word))
    model = _text(_first(said, dialect.model))
    if not operation or not model:
        return "not_an_attempt"
    if usage is None and said.get(names.POLICY_DECISION) == "block":
        return "blocked"
    provider = _text(_first(said, dialect.provider)) or "unknown"
    ended = span.end_time_unix_nano or span.start_time_unix_nano
    cost: Cost | None = None
    carried = said.get(names.COST_NANO_USD)
    given_status = _text(said.get(names.PRICE_STATUS))
    version = _text(said.get(names.PRICE_VERSION))
    nano_usd, status, unpriced = None, "unknown", None
    is_carried = carried is not None or bool(given_status)
    if carried is not None:
        if type(carried) is int and 0 <= carried <= MAX_NANO_USD:
            nano_usd, status = carried, given_status or "exact"
        else:
            unpriced = "invalid_cost"
    elif is_carried:
        unpriced = "no_usage" if usage is None else "no_price"
    elif usage is None:
        version, unpriced = "", reason
    else:
        cost = cost_of(
            usage, provider=provider, model=model, at=ended // 10**9,
            service_tier=None if (tier := _first(said, dialect.service_tier)) is None
            else _text(tier),
        )  # fmt: skip
        nano_usd, status, version = cost.total_nano_usd, str(cost.status), cost.price_version
        unpriced = "no_price" if nano_usd is None else None
    given_id = _given_id(said.get(names.CALL_ID))
    identity = given_id or call_id.of_span(span.trace_id, span.span_id, span.start_time_unix_nano)
    user, tier_name, group, refused = _subject(said, payer)
    statuses, sources = pb.PriceStatus.keys(), pb.UsageSource.keys()
    source = f"USAGE_SOURCE_{_text(said.get(names.USAGE_SOURCE)).upper()}"
    named = f"PRICE_STATUS_{status.upper()}"
    settlement = pb.Settlement(
        call_id=identity,
        subject=pb.Subject(user_id=user, tier=tier_name, group=group),
        actual_nano_usd=nano_usd,
        usage=usage.buckets() if usage else {},
        provider=provider,
        model=model,
        price_status=named if status.islower() and named in statuses else "PRICE_STATUS_EXACT",
        price_version=version,
        usage_source="USAGE_SOURCE_ESTIMATED"
        if source in sources and said[names.USAGE_SOURCE] == "estimated"
        else "USAGE_SOURCE_REPORTED",
        outcome="OUTCOME_ERROR" if span.status.code == 2 else "OUTCOME_OK",
        ended_at_unix_ms=ended // 1_000_000,
        operation=operation,
    )
    call = Call(
        settlement,
        unpriced in (None, "no_price"),
        unpriced,
        (tier_name or "unattributed", provider, model, group or "unattributed", operation),
        usage or Usage(),
        max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        refused,
    )
    if not is_carried:
        call.added = _additions(status, version, cost, identity if given_id is None else None)
    return call


def _given_id(given: Any) -> bytes | None:
    try:
        return bytes.fromhex(given) if isinstance(given, str) and len(given) == 32 else None
    except ValueError:
        return None


def _additions(
    status: str, version: str, cost: Cost | None, identity: bytes | None
) -> list[tuple[str, Plain]]:
    priced = cost is not None and cost.total_nano_usd is not None
    added: list[tuple[str, Plain]] = [(names.PRICE_STATUS, status)]
    if priced:
        added += [
            (names.PRICE_VERSION, version),
            (names.COST_CURRENCY, "USD"),
            (names.COST_SOURCE, "local"),
        ]
    if identity is not None:
        added.append((names.CALL_ID, identity.hex()))
    if cost is None or cost.total_nano_usd is None:
        return added
    added += [
        (names.COST_NANO_USD, cost.total_nano_usd),
        (names.COST_INPUT_NANO_USD, cost.input_nano_usd),
        (names.COST_OUTPUT_NANO_USD, cost.output_nano_usd),
    ]
    for name, part in (
        (names.COST_CACHE_READ_NANO_USD, cost.cache_read_nano_usd),
        (names.COST_CACHE_WRITE_NANO_USD, cost.cache_write_nano_usd),
        (names.COST_TOOLS_NANO_USD, cost.tools_nano_usd),
    ):
        if part:
            added.append((name, part))
    return [*added, (names.COST_AMOUNT, usd_display(cost.total_nano_usd))]
