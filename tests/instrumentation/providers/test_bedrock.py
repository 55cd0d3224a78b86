"""Bedrock through boto3: one call, one span, one settle, and bodies that can still be read."""

import gc
import io
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.endpoint import Endpoint
from botocore.eventstream import EventStream
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    EventStreamError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.response import StreamingBody
from opentelemetry import trace

from llm_cost import call as calls
from llm_cost.errors import PolicyBlocked
from llm_cost.pricing import cost_of
from llm_cost.providers.bedrock import BedrockInstrumentor
from llm_cost.providers.bedrock_replies import model_of, usage_of
from llm_cost.usage import Usage
from support import bedrock_says as says
from support.llm_server import PROMPT, Answer, LlmServer
from support.recording import ALLOWED, BLOCKED, RecordingGate, Spans, eventually

CONVERSE: Any = {
    "modelId": says.CLAUDE,
    "messages": [{"role": "user", "content": [{"text": PROMPT}]}],
    "inferenceConfig": {"maxTokens": 100},
}
# $3.30 and $16.50 a million in a region; 0.1, 1.25 and 2 times the input for the cache.
CONVERSE_NANO_USD = 100 * 3_300 + 20 * 330 + 10 * 4_125 + 20 * 6_600 + 50 * 16_500


def _client(url: str, *, region: str = "us-east-1", attempts: int = 1, timeout_s: float = 5) -> Any:
    return boto3.client(
        "bedrock-runtime",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(
            read_timeout=timeout_s, retries={"total_max_attempts": attempts, "mode": "standard"}
        ),
    )


@pytest.fixture
def client(server: LlmServer) -> Iterator[Any]:
    made = _client(server.url)
    yield made
    made.close()


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    BedrockInstrumentor().instrument(tracer_provider=recording.provider)
    yield recording
    BedrockInstrumentor().uninstrument()
    calls.configure()


def _invoke(client: Any, model: str, body: dict[str, Any], **more: Any) -> Any:
    return client.invoke_model(modelId=model, body=json.dumps(body), **more)


def _without_times(result: dict[str, Any]) -> dict[str, Any]:
    result["ResponseMetadata"]["HTTPHeaders"].pop("date", None)
    return result


def _only_settled(gate: RecordingGate, spans: Spans) -> dict[str, int]:
    attributes = spans.only()
    (settled,) = gate.settled

    assert attributes["gen_ai.provider.name"] == settled.provider == "aws.bedrock"
    assert settled.call_id.hex() == attributes["llm_cost.call.id"]
    assert settled.actual_nano_usd == attributes.get("llm_cost.cost.nano_usd")
    assert settled.usage_source == "reported"
    assert settled.outcome == "ok"
    assert len(gate.reserved) == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)
    assert trace.get_current_span() is trace.INVALID_SPAN
    return settled.usage.buckets()


# --- Converse ----------------------------------------------------------------------------


def test_converse_is_priced_with_its_cache_and_returns_what_it_always_did(
    client: Any, server: LlmServer, gate: RecordingGate, request: pytest.FixtureRequest
) -> None:
    server.will(Answer(body=says.converse(), headers={"x-amzn-requestid": "r1"}))
    unpatched = _without_times(client.converse(**CONVERSE))
    spans: Spans = request.getfixturevalue("spans")

    patched = _without_times(client.converse(**CONVERSE))

    assert patched == unpatched
    assert _only_settled(gate, spans) == says.BUCKETS
    assert gate.settled[0].actual_nano_usd == CONVERSE_NANO_USD
    assert spans.only()["gen_ai.usage.input_tokens"] == 150
    assert spans.only()["gen_ai.operation.name"] == "chat"
    assert spans.only()["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert spans.only()["gen_ai.response.id"] == "r1"
    assert spans.only()["gen_ai.request.max_tokens"] == 100


def test_converse_stream_is_its_own_class_and_ends_with_its_metadata(
    client: Any, server: LlmServer, gate: RecordingGate, request: pytest.FixtureRequest
) -> None:
    server.will(says.streamed(*says.converse_events()))
    unpatched = list(client.converse_stream(**CONVERSE)["stream"])
    spans: Spans = request.getfixturevalue("spans")

    stream = client.converse_stream(**CONVERSE)["stream"]

    assert isinstance(stream, EventStream)
    assert type(stream).__name__ == "EventStream"
    assert list(stream) == unpatched
    assert _only_settled(gate, spans) == says.BUCKETS
    assert spans.only()["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert spans.only()["gen_ai.response.time_to_first_chunk"] > 0


@pytest.mark.parametrize(
    ("region", "model", "more", "status"),
    [
        ("us-east-1", says.CLAUDE, {}, "exact"),
        ("us-east-1", says.CLAUDE, {"serviceTier": {"type": "default"}}, "exact"),
        # Neither another region nor another tier is in the table: told, never hidden.
        ("eu-central-1", "eu.amazon.nova-lite-v1:0", {}, "fallback"),
        ("eu-central-1", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", {}, "exact"),
        ("us-east-1", says.CLAUDE, {"serviceTier": {"type": "priority"}}, "fallback"),
        ("us-east-1", says.CLAUDE, {"performanceConfig": {"latency": "optimized"}}, "fallback"),
        ("us-east-1", says.CLAUDE, {"performanceConfig": {"latency": "standard"}}, "exact"),
    ],
)
def test_region_tier_and_latency_of_the_reply_decide_how_far_the_price_holds(
    region: str,
    model: str,
    more: dict[str, Any],
    status: str,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
) -> None:
    usage = {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15}
    server.will(
        Answer(body=says.converse(usage=usage, **more)),
        says.streamed(*says.converse_events(**{**more, "usage": usage})),
    )
    client = _client(server.url, region=region)

    client.converse(**{**CONVERSE, "modelId": model})
    list(client.converse_stream(**{**CONVERSE, "modelId": model})["stream"])

    assert [settled.price_status for settled in gate.settled] == [status] * 2


def test_the_model_that_a_router_chose_is_the_one_that_is_priced(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    chosen = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{says.CLAUDE}"
    server.will(Answer(body=says.converse(trace={"promptRouter": {"invokedModelId": chosen}})))
    router = "arn:aws:bedrock:us-east-1:123456789012:default-prompt-router/anthropic.claude:1"

    client.converse(**{**CONVERSE, "modelId": router})

    assert spans.only()["gen_ai.response.model"] == says.CLAUDE
    assert gate.settled[0].actual_nano_usd == CONVERSE_NANO_USD


@pytest.mark.parametrize(
    ("model_id", "model", "is_priced"),
    [
        ("amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0", True),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
            "amazon.nova-lite-v1:0",
            True,
        ),
        (
            f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{says.CLAUDE}",
            says.CLAUDE,
            True,
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2",
            "application-inference-profile/a1b2",
            False,
        ),
        (
            "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/a1b2",
            "provisioned-model/a1b2",
            False,
        ),
        ("arn:aws:bedrock:us-east-1:123456789012:prompt/P:1", "prompt/P:1", False),
        (None, "", False),
    ],
)
def test_a_resource_name_stands_for_a_model_or_for_none(
    model_id: str | None, model: str, is_priced: bool
) -> None:
    cost = cost_of(Usage(input_text_tokens=9), provider="aws.bedrock", model=model)

    assert model_of(model_id) == model
    assert (cost.total_nano_usd is not None) is is_priced


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, None),
        ({}, None),
        ({"inputTokens": "many", "outputTokens": -5}, Usage()),
        ({"inputTokens": 3}, Usage(input_text_tokens=3)),
        (
            # More in the details than was written: cut to what was.
            {
                "inputTokens": 1,
                "outputTokens": 2,
                "cacheWriteInputTokens": 10,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 99}],
            },
            Usage(input_text_tokens=1, cache_write_1h_tokens=10, output_text_tokens=2),
        ),
    ],
)
def test_what_is_missing_or_odd_in_a_usage_is_never_an_error(
    told: Any, usage: Usage | None
) -> None:
    assert usage_of(told) == usage


# --- InvokeModel -------------------------------------------------------------------------


@pytest.mark.parametrize("vector", says.BODIES, ids=lambda vector: vector[0])
def test_every_vendors_body_is_read_and_left_for_the_application(
    vector: says.Vector, client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, asked, told, headers, buckets = vector
    server.will(Answer(body=told, headers=headers))

    body = _invoke(client, model, asked)["body"]

    assert isinstance(body, StreamingBody)
    assert type(body).__name__ == "StreamingBody"
    assert json.loads(body.read()) == told
    assert body.read() == b""
    assert _only_settled(gate, spans) == buckets


def _by_lines(body: Any) -> bytes:
    return b"\n".join(body.iter_lines())


def _by_readinto(body: Any) -> bytes:
    found, buffer = b"", bytearray(64)
    while size := body.readinto(buffer):
        found += buffer[:size]
    return found


@pytest.mark.parametrize(
    "read",
    [
        lambda body: b"".join(body),
        lambda body: b"".join(body.iter_chunks(7)),
        _by_lines,
        _by_readinto,
        lambda body: b"".join(body.readlines()),
        lambda body: body.read(10) + body.read(),
        lambda body: body.read(1_000_000),
        lambda body: json.dumps(json.load(body)).encode(),
        lambda body: io.TextIOWrapper(io.BufferedReader(body)).read().encode(),
    ],
)
def test_however_a_body_is_read_its_call_ends_once(
    read: Any, client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, asked, told, _, buckets = says.BODIES[0]
    server.will(Answer(body=told))

    found = read(_invoke(client, model, asked)["body"])

    assert json.loads(found) == told
    assert _only_settled(gate, spans) == buckets


def test_a_body_nobody_read_is_counted_by_its_headers(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, asked, told, headers, _ = says.BODIES[0]
    server.will(Answer(body=told, headers=headers))

    _invoke(client, model, asked)
    eventually(spans.finished)

    (settled,) = gate.settled
    assert settled.usage_source == "reported"
    assert settled.usage.buckets() == says.PLAIN_BUCKETS


def test_a_body_that_was_closed_and_not_counted_is_estimated(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.BODIES[0][2]))

    _invoke(client, says.CLAUDE, says.BODIES[0][1])["body"].close()

    (settled,) = gate.settled
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 100


def test_a_body_that_breaks_off_raises_what_it_always_did(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=[b'{"usage'], cut=True))
    body = _invoke(client, says.CLAUDE, says.BODIES[0][1])["body"]

    with pytest.raises(ResponseStreamingError):
        body.read()

    (settled,) = gate.settled
    assert (settled.outcome, settled.usage_source) == ("error", "estimated")
    assert spans.only()["error.type"] == "ResponseStreamingError"


def test_a_body_that_is_no_json_is_still_the_applications(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=b"no json", headers=says.COUNT_HEADERS))

    assert _invoke(client, "mistral.x", {"prompt": "x"})["body"].read() == b"no json"
    assert _only_settled(gate, spans) == says.PLAIN_BUCKETS


@pytest.mark.parametrize("stream", says.STREAMS, ids=lambda stream: stream[0])
def test_every_vendors_stream_is_read_along(
    stream: Any, client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, chunks, buckets = stream
    server.will(says.streamed(*says.invoke_events(chunks)))

    result = client.invoke_model_with_response_stream(modelId=model, body=b'{"prompt": "x"}')
    found = [json.loads(event["chunk"]["bytes"]) for event in result["body"]]

    assert found == chunks
    assert _only_settled(gate, spans) == buckets
    assert len(spans.only()["gen_ai.response.finish_reasons"]) == 1


def test_the_service_tier_of_an_invocation_is_in_its_headers(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    model, asked, told, _, _ = says.BODIES[1]
    server.will(Answer(body=told, headers={"x-amzn-bedrock-service-tier": "flex"}))

    _invoke(client, model, asked, serviceTier="flex")["body"].read()

    assert gate.settled[0].price_status == "fallback"


@pytest.mark.parametrize("body", [b"{}", b"not json", b"[1]", bytearray(b"{}"), io.BytesIO(b"{}")])
def test_whatever_is_sent_reaches_the_service(
    body: Any, client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.BODIES[0][2]))

    client.invoke_model(modelId=says.CLAUDE, body=body)["body"].read()

    assert len(server.seen) == len(gate.settled) == 1


def test_an_async_invocation_has_no_price(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:async-invoke/a1b2c3d4e5f6"
    server.will(Answer(body={"invocationArn": arn}))

    client.start_async_invoke(
        modelId="amazon.nova-reel-v1:0",
        modelInput={"text": PROMPT},
        outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket"}},
    )

    assert spans.only()["llm_cost.price.status"] == "unknown"
    assert gate.settled[0].actual_nano_usd is None


def test_other_services_and_other_operations_are_not_seen(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body={"inputTokens": 3}))
    other = boto3.client(
        "sts",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"total_max_attempts": 1}),
    )

    asked = {"converse": {"messages": CONVERSE["messages"]}}
    assert client.count_tokens(modelId="x", input=asked)["inputTokens"] == 3
    with pytest.raises(Exception, match=r"XML|parse"):
        other.get_caller_identity()

    assert not spans.finished()
    assert not gate.reserved


# --- what ends early, and what fails -----------------------------------------------------


def _assert_cut_once(spans: Spans, gate: RecordingGate, *, outcome: str = "cancelled") -> None:
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.outcome == outcome
    assert settled.usage_source == attributes["llm_cost.usage.source"] == "estimated"
    assert settled.usage.output_text_tokens == 2
    assert settled.usage.input_text_tokens > 0
    assert settled.actual_nano_usd == attributes["llm_cost.cost.nano_usd"] != 0
    assert not gate.voided


def _first_text(stream: Any) -> None:
    for event in stream:
        if "contentBlockDelta" in event:
            break


def test_a_stream_left_early_ends_when_it_is_dropped(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events()))

    result = client.converse_stream(**CONVERSE)
    _first_text(result["stream"])
    assert not spans.finished()
    del result
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


def test_a_stream_closed_early_ends_at_once(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events()))

    stream = client.converse_stream(**CONVERSE)["stream"]
    _first_text(stream)
    stream.close()
    stream.close()

    _assert_cut_once(spans, gate)


def test_a_stream_may_be_iterated_on_after_a_break(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events()))

    stream = client.converse_stream(**CONVERSE)["stream"]
    _first_text(stream)
    gc.collect()
    rest = list(stream)

    assert "metadata" in rest[-1]
    assert _only_settled(gate, spans) == says.BUCKETS


def test_a_stream_nobody_read_ends_when_it_is_dropped(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.converse_events()))

    client.converse_stream(**CONVERSE)
    eventually(spans.finished)

    assert gate.settled[0].outcome == "cancelled"


def test_an_error_in_mid_stream_is_botocores_own(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(says.streamed(*says.broken_events()))

    with pytest.raises(EventStreamError, match="slow down"):
        list(client.converse_stream(**CONVERSE)["stream"])

    _assert_cut_once(spans, gate, outcome="error")
    assert spans.only()["error.type"] == "EventStreamError"


def test_a_cut_claude_stream_has_its_reported_input(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    chunks = says.STREAMS[0][1]
    server.will(says.streamed(*says.invoke_events(chunks[:2])))

    result = client.invoke_model_with_response_stream(modelId=says.CLAUDE, body=b"{}")
    list(result["body"])

    (settled,) = gate.settled
    assert settled.usage_source == "estimated"
    assert settled.usage.total_input_tokens == 150
    assert settled.usage.cache_write_1h_tokens == 20
    assert settled.usage.output_text_tokens == 2


def test_a_blocked_call_is_not_sent(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        client.converse(**CONVERSE)
    with pytest.raises(PolicyBlocked):
        client.converse_stream(**CONVERSE)
    with pytest.raises(PolicyBlocked):
        _invoke(client, says.CLAUDE, {})

    assert not server.seen
    assert not gate.settled
    assert len(spans.finished()) == 3


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "ValidationException"), (429, "ThrottlingException"), (500, "X")]
)
def test_a_refused_call_is_voided_and_raises_what_it_always_did(
    status: int, kind: str, client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    headers = {"x-amzn-errortype": kind}
    server.will(Answer(status=status, body={"message": PROMPT}, headers=headers))

    with pytest.raises(ClientError) as raised:
        client.converse(**CONVERSE)

    assert raised.value.response["Error"]["Code"] == kind
    assert len(gate.voided) == 1
    assert not gate.settled
    (span,) = spans.finished()
    assert "secret" not in repr((span.attributes, span.status.description, span.events))


def test_a_call_that_was_never_sent_is_voided(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    with pytest.raises(ParamValidationError):
        client.converse(modelId=says.CLAUDE, messages="no list")
    with pytest.raises(EndpointConnectionError):
        _client("http://127.0.0.1:9").converse(**CONVERSE)

    assert not server.seen
    assert len(gate.voided) == 2


def test_a_retried_refusal_is_the_same_call(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=503, body={}), Answer(body=says.converse()))

    result = _client(server.url, attempts=2).converse(**CONVERSE)

    assert result["ResponseMetadata"]["RetryAttempts"] == 1
    assert len(server.seen) == 2
    assert _only_settled(gate, spans) == says.BUCKETS


def test_an_attempt_that_timed_out_is_a_call_of_its_own(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    late = Answer(body=says.converse(), delay_s=0.6)
    server.will(late, Answer(body=says.converse()))

    _client(server.url, attempts=2, timeout_s=0.2).converse(**CONVERSE)

    first, second = gate.settled
    assert (first.outcome, first.usage_source) == ("error", "estimated")
    assert (second.outcome, second.usage_source) == ("ok", "reported")
    assert first.call_id != second.call_id
    assert len(gate.reserved) == len(spans.finished()) == 2
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_retry_that_is_blocked_is_not_sent(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.converse(), delay_s=0.6))
    gate.decision, gate.later = ALLOWED, [BLOCKED]

    with pytest.raises(PolicyBlocked):
        _client(server.url, attempts=2, timeout_s=0.2).converse(**CONVERSE)

    assert len(server.seen) == 1
    (settled,) = gate.settled
    assert settled.usage.output_text_tokens == 100
    assert len(spans.finished()) == 2


def test_a_call_that_timed_out_for_good_is_settled_at_its_estimate(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.converse(), delay_s=0.6))

    with pytest.raises(ReadTimeoutError):
        _client(server.url, timeout_s=0.2).converse(**CONVERSE)

    (settled,) = gate.settled
    assert (settled.outcome, settled.usage_source) == ("error", "estimated")


def test_pictures_and_cache_points_are_foreseen(
    client: Any, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.converse()))
    picture = {"image": {"format": "png", "source": {"bytes": b"x" * 9_000}}}
    cached = {"cachePoint": {"type": "default", "ttl": "1h"}}

    client.converse(**CONVERSE)
    client.converse(**{**CONVERSE, "messages": [{"role": "user", "content": [picture, cached]}]})

    plain, dear = (reserved.estimate_nano_usd or 0 for reserved in gate.reserved)
    assert dear > plain + 3_000 * 6_600  # a picture, written to a cache for an hour


def test_uninstrument_leaves_the_classes_as_they_were() -> None:
    before = dict(vars(BaseClient)), dict(vars(Endpoint))
    instrumentor = BedrockInstrumentor()

    for _ in range(2):
        instrumentor.instrument()
        assert vars(BaseClient)["_make_api_call"] is not before[0]["_make_api_call"]
        instrumentor.uninstrument()

    assert (dict(vars(BaseClient)), dict(vars(Endpoint))) == before
