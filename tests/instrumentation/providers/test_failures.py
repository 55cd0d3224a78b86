"""What goes wrong: refused by policy or provider, lost in the network, or a fault of ours."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from pydantic import BaseModel

from llm_cost import PolicyBlocked, attribute_to, faults
from llm_cost.call import Call
from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import ALLOWED, BLOCKED, RecordingGate, Spans

CHAT: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": says.PROMPT}]}
STREAMED: Any = {**CHAT, "stream": True}
SHORT_S = 0.3


@pytest.fixture
def client(server: LlmServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


def _assert_voided(spans: Spans, gate: RecordingGate, error_type: str) -> None:
    attributes = spans.only()

    assert attributes["error.type"] == error_type
    assert "llm_cost.cost.nano_usd" not in attributes
    assert [call_id.hex() for call_id in gate.voided] == [attributes["llm_cost.call.id"]]
    assert not gate.settled


@pytest.mark.parametrize("body", [CHAT, STREAMED])
def test_a_blocked_call_never_reaches_the_provider(
    body: Any, client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with attribute_to(user_id="u1", tier="free"), pytest.raises(PolicyBlocked) as raised:
        client.chat.completions.create(**body)

    assert not server.seen
    assert (raised.value.user_id, raised.value.tier) == ("u1", "free")
    attributes = spans.only()
    assert attributes["llm_cost.policy.decision"] == "block"
    assert attributes["error.type"] == "PolicyBlocked"
    assert attributes["user.id"] == "u1"
    assert not gate.settled


async def test_a_blocked_async_call_never_reaches_the_provider(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url) as client:
        with pytest.raises(PolicyBlocked):
            await client.messages.create(**CHAT, max_tokens=10)

    assert not server.seen
    assert spans.only()["llm_cost.policy.decision"] == "block"


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_a_refusal_of_the_provider_costs_nothing(
    status: int, client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=status, body={"error": {"message": "no", "code": "x"}}))

    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(**CHAT)

    assert raised.value.status_code == status
    assert raised.value.body == {"message": "no", "code": "x"}
    _assert_voided(spans, gate, type(raised.value).__name__)


def test_a_provider_that_cannot_be_reached_costs_nothing(gate: RecordingGate, spans: Spans) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = openai.OpenAI(api_key="k", base_url=url, max_retries=0)

        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(**CHAT)

    _assert_voided(spans, gate, "APIConnectionError")


def test_a_request_that_could_not_be_built_costs_nothing(
    client: openai.OpenAI, gate: RecordingGate, spans: Spans
) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        client.chat.completions.create(**CHAT, extra_body={"seed": object()})

    _assert_voided(spans, gate, "TypeError")


def test_a_timeout_after_sending_is_charged_at_the_estimate(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(), delay_s=2 * SHORT_S))

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=SHORT_S).chat.completions.create(**CHAT, max_tokens=70)

    (settled,) = gate.settled
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 70
    assert settled.actual_nano_usd is not None
    assert 0 < settled.actual_nano_usd <= (gate.reserved[0].estimate_nano_usd or 0)
    assert settled.outcome == "error"
    assert spans.only()["error.type"] == "APITimeoutError"


def test_a_retry_after_a_refusal_is_one_call(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    refusal = Answer(status=429, body={"error": {}}, headers={"retry-after-ms": "1"})
    server.will(refusal, refusal, Answer(body=says.chat()))

    client.with_options(max_retries=2).chat.completions.create(**CHAT)

    assert len(server.seen) == 3
    assert len(gate.reserved) == len(gate.settled) == len(spans.finished()) == 1
    assert gate.settled[0].usage_source == "reported"


def test_a_retry_after_a_timeout_is_two_calls(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(), delay_s=2 * SHORT_S), Answer(body=says.chat()))

    client.with_options(max_retries=1, timeout=SHORT_S).chat.completions.create(**CHAT)

    assert [settled.usage_source for settled in gate.settled] == ["estimated", "reported"]
    assert [settled.outcome for settled in gate.settled] == ["error", "ok"]
    assert len({settled.call_id for settled in gate.settled}) == len(gate.reserved) == 2
    assert len(spans.finished()) == 2


def test_a_fallback_from_a_timeout_elsewhere_is_not_taken_for_one(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    refusal = Answer(status=529, body={"error": {}}, headers={"retry-after-ms": "1"})
    server.will(refusal, Answer(body=says.message()))
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=1)

    try:
        raise openai.APITimeoutError(request=httpx2.Request("POST", server.url))
    except openai.APITimeoutError:
        client.messages.create(**{**CHAT, "model": "claude-sonnet-4-6"}, max_tokens=10)

    assert [settled.usage_source for settled in gate.settled] == ["reported"]
    assert len(spans.finished()) == 1


def test_a_retry_of_a_message_after_a_timeout_is_two_calls(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.message(), delay_s=2 * SHORT_S), Answer(body=says.message()))
    client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=1, timeout=SHORT_S)

    client.messages.create(**{**CHAT, "model": "claude-sonnet-4-6"}, max_tokens=10)

    assert [settled.usage_source for settled in gate.settled] == ["estimated", "reported"]
    assert len(spans.finished()) == 2


async def test_a_retry_that_the_policy_blocks_is_not_sent(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(), delay_s=2 * SHORT_S))
    gate.decision, gate.later = ALLOWED, [BLOCKED]
    async with openai.AsyncOpenAI(
        api_key="k", base_url=server.url, max_retries=1, timeout=SHORT_S
    ) as client:
        with pytest.raises(PolicyBlocked):
            await client.chat.completions.create(**CHAT)

    assert len(server.seen) == len(gate.settled) == 1
    assert len(spans.finished()) == 2


async def test_a_request_cancelled_in_mid_air_is_charged_at_the_estimate(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(), delay_s=SHORT_S))
    async with openai.AsyncOpenAI(api_key="k", base_url=server.url, max_retries=0) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT_S / 3):
                await client.chat.completions.create(**CHAT)

    (settled,) = gate.settled
    assert (settled.outcome, settled.usage_source) == ("cancelled", "estimated")
    assert "llm_cost.cost.nano_usd" in spans.only()


class Shape(BaseModel):
    answer: str


def test_an_answer_that_cannot_be_parsed_is_billed_as_reported(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    choice = {**says.chat()["choices"][0], "finish_reason": "length"}
    server.will(Answer(body=says.chat(choices=[choice])))

    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**CHAT, response_format=Shape)

    (settled,) = gate.settled
    assert settled.usage_source == "reported"
    assert settled.usage.total_output_tokens == 50
    assert spans.only()["error.type"] == "LengthFinishReasonError"


def test_an_answer_without_usage_is_charged_at_the_estimate(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(usage=None)))

    client.chat.completions.create(**CHAT, max_tokens=30)

    assert gate.settled[0].usage_source == "estimated"
    assert gate.settled[0].usage.output_text_tokens == 30


def test_a_model_without_a_price_is_unknown_and_never_zero(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat(model="homemade-7b")))

    client.chat.completions.create(**{**CHAT, "model": "homemade-7b"})

    assert gate.reserved[0].estimate_nano_usd is None
    assert gate.settled[0].actual_nano_usd is None
    assert gate.settled[0].usage.total_input_tokens == 120
    attributes = spans.only()
    assert attributes["llm_cost.price.status"] == "unknown"
    assert not [name for name in attributes if "cost.nano_usd" in name or "cost.amount" in name]


def test_a_fault_in_the_estimate_does_not_open_the_gate(
    client: openai.OpenAI,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(_: object) -> int:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(faults, "reraise", False)
    monkeypatch.setattr(Call, "_estimate", fault)
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        client.chat.completions.create(**CHAT)

    assert not server.seen
    assert gate.reserved[0].estimate_nano_usd is None


@pytest.mark.parametrize("broken", ["_start_span", "_settle", "reservation", "_end_span", "_price"])
def test_a_fault_of_ours_changes_nothing_for_the_caller(
    broken: str,
    client: openai.OpenAI,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(faults, "reraise", False)
    monkeypatch.setattr(Call, broken, fault)
    server.will(Answer(body=says.chat()), Answer(events=says.chat_events()))

    reply = client.chat.completions.create(**CHAT)
    chunks = list(client.chat.completions.create(**STREAMED))

    assert reply.choices[0].message.content == says.COMPLETION
    assert len(chunks) == 5


def test_what_is_free_or_already_paid_makes_no_span(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.response()), Answer(body={"id": "m", "model": "m", "results": []}))

    client.responses.retrieve("resp_1")
    client.moderations.create(input="x")

    assert not spans.finished()
    assert not gate.reserved


def test_speech_without_usage_is_never_silent(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=b"sound", content_type="audio/mpeg"))

    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="hello")

    assert spoken.read() == b"sound"
    assert spans.only()["llm_cost.usage.input_characters"] == 5
    assert gate.settled[0].usage.input_characters == 5


def test_a_video_has_an_unknown_price(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    video = {"id": "v", "object": "video", "model": "sora-2", "status": "queued", "progress": 0}
    server.will(Answer(body=video))

    client.videos.create(model="sora-2", prompt=says.PROMPT)

    assert gate.settled[0].actual_nano_usd is None
    assert spans.only()["llm_cost.price.status"] == "unknown"


def test_the_clients_own_user_field_is_the_last_resort(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat()))

    client.chat.completions.create(**CHAT, safety_identifier="from-the-request")
    with attribute_to(user_id="from-the-context"):
        client.chat.completions.create(**CHAT, user="from-the-request")

    assert [one.identity.user_id for one in gate.settled] == [
        "from-the-request",
        "from-the-context",
    ]
