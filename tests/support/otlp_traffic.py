"""OTLP requests made by hand, and what was in them afterwards."""

import time
from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from llm_cost import attributes as names

Plain = str | int | float | bool | list[str]
NOW_NS = time.time_ns()

OPENAI_CALL: Mapping[str, Plain] = {
    names.OPERATION_NAME: "chat",
    names.PROVIDER_NAME: "openai",
    names.REQUEST_MODEL: "gpt-4o-mini",
    names.RESPONSE_MODEL: "gpt-4o-mini-2024-07-18",
    names.USAGE_INPUT_TOKENS: 1_000,
    names.USAGE_OUTPUT_TOKENS: 200,
    names.USER_ID: "user_1",
    names.USER_TIER: "free",
}
"""1,000 tokens in and 200 out of gpt-4o-mini: 150,000 + 120,000 nano-USD."""
OPENAI_CALL_NANO_USD = 270_000

HTTP_SPAN: Mapping[str, Plain] = {"http.request.method": "GET", "url.path": "/", "tags": ["a", "b"]}


def value(plain: Plain) -> AnyValue:
    any_value = AnyValue()
    if isinstance(plain, bool):
        any_value.bool_value = plain
    elif isinstance(plain, int):
        any_value.int_value = plain
    elif isinstance(plain, float):
        any_value.double_value = plain
    elif isinstance(plain, str):
        any_value.string_value = plain
    else:
        any_value.array_value.values.extend(AnyValue(string_value=text) for text in plain)
    return any_value


def key_values(attributes: Mapping[str, Plain]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(plain)) for key, plain in attributes.items()]


def span(attributes: Mapping[str, Plain], *, number: int = 1, failed: bool = False) -> Span:
    return Span(
        trace_id=number.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        name="a span",
        start_time_unix_nano=NOW_NS - 2_000_000_000,
        end_time_unix_nano=NOW_NS,
        attributes=key_values(attributes),
        status=Status(code=Status.STATUS_CODE_ERROR if failed else Status.STATUS_CODE_UNSET),
    )


def request(
    spans: Sequence[Span], resource: Mapping[str, Plain] | None = None
) -> ExportTraceServiceRequest:
    export = ExportTraceServiceRequest()
    resource_spans = export.resource_spans.add(schema_url="resource schema")
    resource_spans.resource.attributes.extend(key_values(resource or {"service.name": "app"}))
    scope_spans = resource_spans.scope_spans.add(schema_url="scope schema")
    scope_spans.scope.name = "a scope"
    scope_spans.spans.extend(spans)
    return export


def spans_of(payload: bytes) -> list[Span]:
    export = ExportTraceServiceRequest.FromString(payload)
    return [s for r in export.resource_spans for scope in r.scope_spans for s in scope.spans]
