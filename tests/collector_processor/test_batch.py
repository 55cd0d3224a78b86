"""What happens to the bytes of a request."""

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost_processor.any_value import appended_text, float_appender, int_appender
from llm_cost_processor.batch import Enriched, Enricher, MalformedTraces
from llm_cost_processor.dialects import SubjectNames
from support.otlp import attributes_of
from support.otlp_traffic import (
    HTTP_SPAN,
    NOW_NS,
    OPENAI_CALL,
    OPENAI_CALL_NANO_USD,
    request,
    span,
    spans_of,
)

UNKNOWN_FIELD = b"\xca\x3e\x05later"  # field 1001: "later"


def enrich(payload: bytes) -> Enriched:
    return Enricher(SubjectNames()).enrich(payload)


def serialized(message: Message) -> bytes:
    return message.SerializeToString()


@pytest.mark.parametrize("payload", [b"not protobuf at all", b"\x0a\xff\x01cut off"])
def test_bytes_that_are_no_traces_are_refused_with_the_way_out(payload: bytes) -> None:
    with pytest.raises(MalformedTraces, match=r"ExportTraceServiceRequest.*send protobuf"):
        enrich(payload)


def test_a_request_without_llm_spans_goes_on_as_it_came() -> None:
    payload = serialized(request([span(HTTP_SPAN)])) + UNKNOWN_FIELD

    assert enrich(payload).payload == payload


def test_other_spans_keep_every_byte_beside_a_priced_one() -> None:
    before = serialized(span(HTTP_SPAN, number=2)) + UNKNOWN_FIELD
    export = request([span(OPENAI_CALL), Span.FromString(before), span(HTTP_SPAN, number=3)])

    after = enrich(serialized(export)).payload

    first, second, third = spans_of(after)
    assert serialized(second) == before
    assert serialized(third) == serialized(span(HTTP_SPAN, number=3))
    assert len(first.attributes) > len(OPENAI_CALL)


def test_a_priced_span_keeps_its_bytes_and_gets_more_behind_them() -> None:
    before = serialized(span(OPENAI_CALL)) + UNKNOWN_FIELD

    after = enrich(serialized(request([Span.FromString(before)]))).payload

    assert before in after


def test_unknown_fields_of_every_level_survive() -> None:
    export = request([span(OPENAI_CALL)])
    for message in (
        export,
        export.resource_spans[0],
        export.resource_spans[0].resource,
        export.resource_spans[0].scope_spans[0],
        export.resource_spans[0].scope_spans[0].scope,
    ):
        message.MergeFromString(UNKNOWN_FIELD)

    assert enrich(serialized(export)).payload.count(UNKNOWN_FIELD) == 5


def test_a_priced_span_says_what_it_cost() -> None:
    [priced] = spans_of(enrich(serialized(request([span(OPENAI_CALL)]))).payload)
    said = attributes_of(priced)

    assert {name: said[name] for name in OPENAI_CALL} == OPENAI_CALL
    assert said[names.COST_NANO_USD] == OPENAI_CALL_NANO_USD
    assert said[names.COST_INPUT_NANO_USD] == 150_000
    assert said[names.COST_OUTPUT_NANO_USD] == 120_000
    assert said[names.COST_AMOUNT] == 0.00027
    assert said[names.COST_CURRENCY] == "USD"
    assert said[names.COST_SOURCE] == "local"
    assert said[names.PRICE_STATUS] == "exact"
    assert said[names.PRICE_VERSION]
    expected = call_id.of_span(priced.trace_id, priced.span_id, NOW_NS - 2_000_000_000)
    assert said[names.CALL_ID] == expected.hex()


def test_a_span_that_carries_its_cost_keeps_it_untouched() -> None:
    carried = OPENAI_CALL | {
        names.COST_NANO_USD: 7,
        names.PRICE_STATUS: "partial",
        names.CALL_ID: "0123456789abcdef" * 2,
    }
    payload = serialized(request([span(carried)]))

    enriched = enrich(payload)

    assert enriched.payload == payload
    [call] = enriched.calls
    assert call.nano_usd == 7
    assert call.price.status == "partial"
    assert call.call_id.hex() == "0123456789abcdef" * 2


def test_pricing_twice_changes_nothing() -> None:
    once = enrich(serialized(request([span(OPENAI_CALL)]))).payload
    twice = enrich(once)

    assert twice.payload == once
    assert twice.calls[0].nano_usd == OPENAI_CALL_NANO_USD


def test_a_negative_cost_is_passed_on_and_counted_nowhere_as_money() -> None:
    payload = serialized(request([span(OPENAI_CALL | {names.COST_NANO_USD: -1})]))

    enriched = enrich(payload)

    assert enriched.payload == payload
    assert enriched.calls[0].price.unpriced == "invalid_cost"
    assert not enriched.calls[0].price.settles


def test_an_unknown_model_says_so_and_costs_nothing_known() -> None:
    model = {names.REQUEST_MODEL: "nobody-7", names.RESPONSE_MODEL: "nobody-7"}
    enriched = enrich(serialized(request([span(OPENAI_CALL | model)])))

    said = attributes_of(spans_of(enriched.payload)[0])
    assert said[names.PRICE_STATUS] == "unknown"
    assert names.COST_NANO_USD not in said
    assert enriched.calls[0].price.unpriced == "no_price"
    assert enriched.calls[0].price.settles


def test_a_call_without_usage_is_unpriced_and_not_settled() -> None:
    usage = (names.USAGE_INPUT_TOKENS, names.USAGE_OUTPUT_TOKENS)
    silent = {name: value for name, value in OPENAI_CALL.items() if name not in usage}
    [call] = enrich(serialized(request([span(silent, failed=True)]))).calls

    assert call.price.unpriced == "no_usage"
    assert call.failed
    assert not call.price.settles


def test_a_blocked_call_is_no_call() -> None:
    blocked = {
        names.OPERATION_NAME: "chat",
        names.PROVIDER_NAME: "openai",
        names.REQUEST_MODEL: "gpt-4o-mini",
        names.POLICY_DECISION: "block",
    }
    payload = serialized(request([span(blocked)]))

    enriched = enrich(payload)

    assert enriched.calls == []
    assert enriched.payload == payload
    assert enriched.passed == {"blocked": 1}


def test_the_library_s_buckets_are_read_back_as_they_were() -> None:
    own = OPENAI_CALL | {
        names.COST_NANO_USD: 7,
        names.USAGE_SOURCE: "estimated",
        names.USAGE_CACHE_WRITE_TOKENS: 300,
        names.USAGE_BUCKET_PREFIX + "cache_write_1h_tokens": 100,
        names.USAGE_BUCKET_PREFIX + "input_image_tokens": 50,
        names.USAGE_BUCKET_PREFIX + "web_searches": 2,
    }
    [call] = enrich(serialized(request([span(own)]))).calls

    assert call.usage.buckets() == {
        "input_text_tokens": 650,
        "input_image_tokens": 50,
        "cache_write_tokens": 200,
        "cache_write_1h_tokens": 100,
        "output_text_tokens": 200,
        "web_searches": 2,
    }
    assert call.kind.said.usage_source == "estimated"


def test_an_unreadable_llm_span_is_left_out_and_its_neighbours_stay() -> None:
    good = serialized(span(OPENAI_CALL))
    # Long enough to say gen_ai. and cut off inside an attribute.
    bad = good[: good.index(b"gen_ai.usage") + 8]
    scope_spans = b"".join(b"\x12" + _length(s) + s for s in (good, bad, good))
    resource_spans = b"\x12" + _length(scope_spans) + scope_spans
    payload = b"\x0a" + _length(resource_spans) + resource_spans

    enriched = enrich(payload)

    assert enriched.unreadable == 1
    assert len(spans_of(enriched.payload)) == 2


def test_an_attribute_that_is_wanted_and_no_protobuf_makes_its_span_unreadable() -> None:
    good = serialized(span(OPENAI_CALL))
    bad = good + b"\x4a\x0f\x0a\x07user.id\x12\x04\x0a\x09ab"  # nine bytes are promised
    scope_spans = b"".join(b"\x12" + _length(s) + s for s in (bad, b"", good))
    resource_spans = b"\x12" + _length(scope_spans) + scope_spans
    payload = b"\x0a" + _length(resource_spans) + resource_spans

    enriched = enrich(payload)

    assert enriched.unreadable == 1
    empty, priced = spans_of(enriched.payload)
    assert serialized(empty) == b""
    assert attributes_of(priced)[names.COST_NANO_USD] == OPENAI_CALL_NANO_USD


def _length(part: bytes) -> bytes:
    high, low = divmod(len(part), 128)
    return bytes((low | 128, high)) if high else bytes((low,))


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=200),
        st.integers(0, 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=400),
    )
)
def test_appended_bytes_are_what_protobuf_reads(attributes: dict[str, int | float | str]) -> None:
    encoded = b"".join(
        int_appender(name)(value)
        if isinstance(value, int)
        else float_appender(name)(value)
        if isinstance(value, float)
        else appended_text(name, value)
        for name, value in attributes.items()
    )

    assert attributes_of(Span.FromString(encoded)) == attributes
