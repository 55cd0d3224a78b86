"""What is tested inside litellm's own environment; `test_litellm.py` runs it and tells."""

import asyncio
from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler

from llm_cost import policy
from llm_cost.errors import PolicyBlocked
from llm_cost.providers.litellm import LiteLLMInstrumentor
from llm_cost.providers.litellm_replies import usage_of
from llm_cost.providers.openai import OpenAIInstrumentor
from support import bedrock_says
from support import llm_server as says
from support.llm_server import Answer, LlmServer, llm_server
from support.recording import BLOCKED, RecordingGate, Spans, eventually

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
CLAUDE_NANO_USD = 100 * 3_000 + 20 * 300 + 10 * 3_750 + 20 * 6_000 + 50 * 15_000


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with llm_server() as running:
        yield running


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    recording = RecordingGate()
    with policy.use_gate(recording):
        yield recording


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    OpenAIInstrumentor().instrument(tracer_provider=recording.provider)
    LiteLLMInstrumentor().instrument(tracer_provider=recording.provider)
    yield recording
    LiteLLMInstrumentor().uninstrument()
    OpenAIInstrumentor().uninstrument()


def _claude(server: LlmServer, **more: Any) -> dict[str, Any]:
    return {
        "model": "anthropic/claude-sonnet-4-6",
        "messages": MESSAGES,
        "max_tokens": 100,
        "api_key": "k",
        "api_base": server.url,
        **more,
    }


def _gpt(server: LlmServer, **more: Any) -> dict[str, Any]:
    return {
        "model": "openai/gpt-4o-mini",
        "messages": MESSAGES,
        "api_key": "k",
        "api_base": f"{server.url}/v1",
        "max_retries": 0,
        **more,
    }


def _only(spans: Spans, gate: RecordingGate) -> Any:
    """Return the one settle there is, once callbacks of every thread have had their time."""
    eventually(lambda: gate.settled and spans.finished())
    litellm.utils.executor.submit(lambda: None).result()
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.call_id.hex() == attributes["llm_cost.call.id"]
    assert settled.actual_nano_usd == attributes.get("llm_cost.cost.nano_usd")
    assert len(gate.reserved) == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)
    return settled


async def _only_async(spans: Spans, gate: RecordingGate) -> Any:
    for _ in range(100):
        if gate.settled:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    return _only(spans, gate)


# --- attempts that litellm sends by itself -----------------------------------------------


def test_a_call_is_booked_once_with_its_cache(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.message()))

    litellm.completion(**_claude(server))

    settled = _only(spans, gate)
    assert settled.provider == "anthropic"
    assert settled.usage.buckets() == {
        "input_text_tokens": 100,
        "cache_read_text_tokens": 20,
        "cache_write_tokens": 10,
        "cache_write_1h_tokens": 20,
        "output_text_tokens": settled.usage.output_text_tokens,
        **(
            {"output_reasoning_tokens": settled.usage.output_reasoning_tokens}
            if settled.usage.output_reasoning_tokens
            else {}
        ),
    }
    assert settled.actual_nano_usd == CLAUDE_NANO_USD
    assert settled.usage_source == "reported"


async def test_an_async_call_asks_without_blocking_and_is_booked_once(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.message()))

    await litellm.acompletion(**_claude(server))

    settled = await _only_async(spans, gate)
    assert settled.actual_nano_usd == CLAUDE_NANO_USD
    assert gate.async_reserves == 1


def test_a_stream_is_booked_at_its_end(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.message_events()))

    stream = litellm.completion(**_claude(server, stream=True))
    assert type(stream) is litellm.CustomStreamWrapper
    list(stream)

    settled = _only(spans, gate)
    assert settled.usage.total_input_tokens == 150
    assert settled.usage.total_output_tokens == 50
    assert spans.only()["gen_ai.request.stream"] is True


async def test_an_async_stream_is_booked_at_its_end(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.message_events()))

    async for _ in await litellm.acompletion(**_claude(server, stream=True)):
        pass

    settled = await _only_async(spans, gate)
    assert settled.usage.total_output_tokens == 50
    assert gate.async_reserves == 1


def test_a_stream_left_early_is_estimated_when_its_time_is_over(
    server: LlmServer, gate: RecordingGate, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.will(Answer(events=says.message_events()), Answer(body=says.message()))

    stream = litellm.completion(**_claude(server, stream=True))
    next(iter(stream))
    del stream
    monkeypatch.setattr("llm_cost.providers.litellm._PATIENCE_S", 0)
    litellm.completion(**_claude(server))
    eventually(lambda: len(gate.settled) == len(spans.finished()) == 2)

    left = next(settled for settled in gate.settled if settled.outcome == "cancelled")
    assert left.usage_source == "estimated"
    assert left.usage.output_text_tokens == 100


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_refused_call_is_voided(
    status: int, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=status, body={"error": {"message": "no"}}))

    with pytest.raises(litellm.exceptions.openai.APIError):
        litellm.completion(**_claude(server))

    eventually(spans.finished)
    assert len(gate.voided) == len(gate.reserved) == len(spans.finished())
    assert not gate.settled


def test_a_call_that_timed_out_is_settled_at_its_estimate(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.message(), delay_s=0.6))

    with pytest.raises(litellm.Timeout):
        litellm.completion(**_claude(server, timeout=0.2))

    settled = _only(spans, gate)
    assert (settled.outcome, settled.usage_source) == ("error", "estimated")
    assert settled.usage.output_text_tokens == 100


# --- attempts that another patch of ours sees --------------------------------------------


def test_a_call_through_openais_client_is_booked_there_and_only_there(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat()))

    litellm.completion(**_gpt(server))

    assert _only(spans, gate).usage.total_input_tokens == 120


async def test_an_async_call_through_openais_client_is_booked_there_and_only_there(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    async for _ in await litellm.acompletion(**_gpt(server, stream=True)):
        pass

    assert (await _only_async(spans, gate)).usage.total_input_tokens == 120


def test_without_a_patch_of_openais_client_the_callback_books_it(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    OpenAIInstrumentor().uninstrument()
    server.will(Answer(body=says.chat()))

    litellm.completion(**_gpt(server))

    eventually(spans.finished)
    (settled,) = gate.settled
    assert settled.usage.total_input_tokens == 120
    assert settled.actual_nano_usd == spans.only()["llm_cost.cost.nano_usd"]
    assert not gate.reserved  # it was seen too late for that


# --- other endpoints and providers -------------------------------------------------------


def test_bedrock_is_named_and_priced_as_bedrock(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=bedrock_says.converse()))

    litellm.completion(
        model="bedrock/converse/amazon.nova-lite-v1:0",
        messages=MESSAGES,
        api_base=server.url,
        aws_access_key_id="k",
        aws_secret_access_key="s",
        aws_region_name="us-east-1",
    )

    settled = _only(spans, gate)
    assert (settled.provider, settled.model) == ("aws.bedrock", "amazon.nova-lite-v1:0")
    assert settled.usage.total_input_tokens == 150
    assert settled.actual_nano_usd


def test_gemini_is_named_as_gemini(server: LlmServer, gate: RecordingGate, spans: Spans) -> None:
    content = {"role": "model", "parts": [{"text": says.COMPLETION}]}
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13}
    server.will(
        Answer(
            body={
                "candidates": [{"content": content, "finishReason": "STOP"}],
                "usageMetadata": usage,
            }
        )
    )

    litellm.completion(
        model="gemini/gemini-2.5-flash", messages=MESSAGES, api_key="k", api_base=server.url
    )

    settled = _only(spans, gate)
    assert settled.provider == "gcp.gemini"
    assert settled.usage.buckets() == {"input_text_tokens": 10, "output_text_tokens": 3}


def test_a_model_without_a_price_of_ours_has_litellms_marked_as_such(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    meta = {"billed_units": {"search_units": 1}}
    results = [{"index": 0, "relevance_score": 0.9}]
    server.will(Answer(body={"id": "r", "results": results, "meta": meta}))

    litellm.rerank(
        model="cohere/rerank-v3.5", query="q", documents=["d"], api_key="k", api_base=server.url
    )

    settled = _only(spans, gate)
    assert settled.usage.buckets() == {"rerank_searches": 1}
    assert settled.actual_nano_usd == 2_000_000
    assert settled.price_version == "reported.litellm"
    assert spans.only()["gen_ai.usage.cost.source"] == "provider"


def test_a_model_that_nobody_has_a_price_for_is_unknown(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.message(model="claude-nobody-knows")))

    litellm.completion(**_claude(server, model="anthropic/claude-nobody-knows"))

    settled = _only(spans, gate)
    assert settled.actual_nano_usd is None
    assert settled.price_status == "unknown"


# --- the policy --------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [_claude, _gpt])
@pytest.mark.parametrize("stream", [False, True])
def test_a_blocked_call_is_not_sent_and_raises_our_error(
    asked: Any, stream: bool, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        list(litellm.completion(**asked(server, stream=stream)))

    assert not server.seen
    assert not gate.settled


@pytest.mark.parametrize("asked", [_claude, _gpt])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_async_call_is_not_sent_and_raises_our_error(
    asked: Any, stream: bool, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        await litellm.acompletion(**asked(server, stream=stream))

    assert not server.seen
    assert not gate.settled


def test_a_blocked_call_of_a_newer_endpoint_raises_our_error(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        litellm.completion(
            model="gemini/gemini-2.5-flash", messages=MESSAGES, api_key="k", api_base=server.url
        )
    with pytest.raises(PolicyBlocked):
        litellm.rerank(
            model="cohere/rerank-v3.5", query="q", documents=["d"], api_key="k", api_base=server.url
        )
    with pytest.raises(PolicyBlocked):
        litellm.responses(
            model="openai/gpt-4o-mini", input="x", api_key="k", api_base=f"{server.url}/v1"
        )

    assert not server.seen


# --- on and off --------------------------------------------------------------------------


def test_usage_of_an_empty_reply_is_told_by_nobody() -> None:
    assert usage_of(litellm.ModelResponse()) is None
    assert usage_of(None) is None


def test_uninstrument_leaves_litellm_as_it_was(server: LlmServer, gate: RecordingGate) -> None:
    other = CustomLogger()
    litellm.callbacks.append(other)
    server.will(Answer(body=says.message()))
    before = vars(HTTPHandler)["post"], vars(AsyncHTTPHandler)["post"]
    exceptions = list(litellm.LITELLM_EXCEPTION_TYPES)

    for _ in range(2):
        LiteLLMInstrumentor().instrument()
        litellm.completion(**_claude(server))
        assert vars(HTTPHandler)["post"] is not before[0]
        LiteLLMInstrumentor().uninstrument()
    litellm.completion(**_claude(server))

    assert (vars(HTTPHandler)["post"], vars(AsyncHTTPHandler)["post"]) == before
    assert exceptions == litellm.LITELLM_EXCEPTION_TYPES
    assert litellm.callbacks == [other]
    assert len(gate.reserved) == 2
    litellm.callbacks.remove(other)
