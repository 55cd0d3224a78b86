"""Groq's and Together's own clients: OpenAI's protocol under other names and prices."""

import json
from typing import Any

import groq
import pytest
import together

from llm_cost import PolicyBlocked
from support import llm_server as says
from support.llm_server import Answer, LlmServer, sse
from support.recording import BLOCKED, RecordingGate, Spans
from support.ways import Way, assert_booked, marked, read, read_async

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
SOUND: Any = ("a.wav", b"sound")
GROQ_MODEL = "openai/gpt-oss-120b"
GROQ_CHAT: Any = {"model": GROQ_MODEL, "messages": MESSAGES}
TOGETHER_MODEL = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
TOGETHER_CHAT: Any = {"model": TOGETHER_MODEL, "messages": MESSAGES}
USED = {
    "input_text_tokens": 100,
    "cache_read_text_tokens": 20,
    "output_text_tokens": 40,
    "output_reasoning_tokens": 10,
}
PLAIN_USAGE = {"prompt_tokens": 120, "completion_tokens": 50, "total_tokens": 170}
PLAIN = {"input_text_tokens": 120, "output_text_tokens": 50}


def _renamed(events: list[str], model: str) -> list[str]:
    return [event.replace("gpt-4o-mini-2024-07-18", model) for event in events]


def _groq_tells_at_the_end() -> list[str]:
    """Return a stream of Groq's where nobody asked for usage: it is in `x_groq` all the same."""
    *chunks, done = _renamed(says.chat_events(with_usage=False), GROQ_MODEL)
    last = json.loads(chunks[-1].removeprefix("data: "))
    last["x_groq"] = {"id": "req_1", "usage": says.CHAT_USAGE}
    return [*chunks[:-1], *sse(last), done]


def _together_chat() -> dict[str, Any]:
    return says.chat(model=TOGETHER_MODEL, usage=PLAIN_USAGE)


GROQ_WAYS = [
    Way(
        "chat create",
        Answer(body=says.chat(model=GROQ_MODEL)),
        lambda c: c.chat.completions.create(**GROQ_CHAT),
        USED,
        model=GROQ_MODEL,
    ),
    Way(
        "chat stream",
        Answer(events=_groq_tells_at_the_end()),
        lambda c: c.chat.completions.create(**GROQ_CHAT, stream=True),
        USED,
    ),
    Way(
        "chat raw",
        Answer(body=says.chat(model=GROQ_MODEL)),
        lambda c: c.chat.completions.with_raw_response.create(**GROQ_CHAT),
        USED,
    ),
    Way(
        "embeddings create",
        Answer(body={**says.embeddings(), "model": "nomic-embed-text-v1_5"}),
        lambda c: c.embeddings.create(model="nomic-embed-text-v1_5", input=says.PROMPT),
        {"input_text_tokens": 120},
        price="unknown",
    ),
    Way(
        "audio transcription, verbose",
        Answer(body={"text": "x", "duration": 60.0}),
        lambda c: c.audio.transcriptions.create(
            model="whisper-large-v3", file=SOUND, response_format="verbose_json"
        ),
        {"input_audio_ms": 60_000},
    ),
    Way(
        "audio speech",
        Answer(body=b"sound", content_type="audio/wav"),
        lambda c: c.audio.speech.create(
            model="canopylabs/orpheus-v1-english", voice="tara", input="twelve chars"
        ),
        {"input_characters": 12},
        source="estimated",
    ),
    Way(
        "batches retrieve",
        Answer(body={"id": "b", "object": "batch", "status": "completed", "created_at": 1}),
        lambda c: c.batches.retrieve("b"),
        None,
    ),
]
TOGETHER_WAYS = [
    Way(
        "chat create",
        Answer(body=_together_chat()),
        lambda c: c.chat.completions.create(**TOGETHER_CHAT),
        PLAIN,
        model=TOGETHER_MODEL,
    ),
    Way(
        "chat stream",
        Answer(events=_renamed(says.chat_events(), TOGETHER_MODEL)),
        lambda c: c.chat.completions.create(**TOGETHER_CHAT, stream=True),
        USED,
        price="partial",
    ),
    Way(
        "completions create",
        Answer(body={**_together_chat(), "choices": [{"text": says.COMPLETION}]}),
        lambda c: c.completions.create(model=TOGETHER_MODEL, prompt=says.PROMPT),
        PLAIN,
    ),
    Way(
        "embeddings create",
        Answer(body={**says.embeddings(), "model": "BAAI/bge-base-en-v1.5"}),
        lambda c: c.embeddings.create(model="BAAI/bge-base-en-v1.5", input=says.PROMPT),
        {"input_text_tokens": 120},
        price="unknown",
    ),
    Way(
        "rerank",
        Answer(
            body={
                "model": "Salesforce/Llama-Rank-V1",
                "object": "rerank",
                "results": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9},
            }
        ),
        lambda c: c.rerank.create(
            model="Salesforce/Llama-Rank-V1", query=says.PROMPT, documents=["a", "b"]
        ),
        {"input_text_tokens": 9},
        price="unknown",
    ),
    Way(
        "images generate",
        Answer(
            body={"id": "i", "model": "m", "object": "list", "data": [{"index": 0, "url": "u"}]}
        ),
        lambda c: c.images.generate(model="black-forest-labs/FLUX.1-schnell", prompt=says.PROMPT),
        {"images": 1},
        price="unknown",
    ),
    Way(
        "videos create",
        Answer(
            body={
                "id": "v",
                "model": "google/veo-3.0",
                "seconds": "8",
                "size": "720p",
                "status": "in_progress",
                "created_at": 1,
            }
        ),
        lambda c: c.videos.create(model="google/veo-3.0", prompt=says.PROMPT),
        {"output_video_ms": 8_000},
        price="unknown",
    ),
]
WAYS = marked("groq", GROQ_WAYS) + marked("together", TOGETHER_WAYS)


def _client(way: Way, server: LlmServer, *, is_async: bool) -> Any:
    if way in GROQ_WAYS:
        of_groq = groq.AsyncGroq if is_async else groq.Groq
        return of_groq(api_key="k", base_url=server.url, max_retries=0)
    of_together = together.AsyncTogether if is_async else together.Together
    return of_together(api_key="k", base_url=server.url, max_retries=0)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_booked_once_as_it_is_billed(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    read(way.call(_client(way, server, is_async=False)))

    assert_booked(way, server, gate, spans)


@pytest.mark.parametrize("way", WAYS)
async def test_an_async_call_is_booked_once_as_it_is_billed(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)
    async with _client(way, server, is_async=True) as client:
        await read_async(way.call(client))

    assert_booked(way, server, gate, spans)


@pytest.mark.parametrize("way", [GROQ_WAYS[0], TOGETHER_WAYS[0]], ids=["groq", "together"])
def test_the_provider_is_the_clients_own(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    way.call(_client(way, server, is_async=False))

    expected = "groq" if way in GROQ_WAYS else "together"
    assert spans.only()["gen_ai.provider.name"] == gate.reserved[0].provider == expected


@pytest.mark.parametrize("way", [GROQ_WAYS[1], TOGETHER_WAYS[1]], ids=["groq", "together"])
def test_a_stream_left_early_is_estimated(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    with way.call(_client(way, server, is_async=False)) as stream:
        next(stream)

    (settled,) = gate.settled
    assert (settled.outcome, settled.usage_source) == ("cancelled", "estimated")
    assert settled.usage.output_text_tokens == 2


@pytest.mark.parametrize("way", [GROQ_WAYS[0], TOGETHER_WAYS[0]], ids=["groq", "together"])
def test_a_blocked_call_never_reaches_the_provider(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        way.call(_client(way, server, is_async=False))

    assert not server.seen
