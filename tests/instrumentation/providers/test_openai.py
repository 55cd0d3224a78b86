"""OpenAI's endpoints beside chat, responses and embeddings (those are in test_matrix.py)."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from llm_cost import receipts
from llm_cost.providers.openai_usage import usage_of
from support import llm_server as says
from support import openai_says
from support.llm_server import Answer, LlmServer
from support.recording import BLOCKED, RecordingGate, Spans
from support.ways import Way, assert_booked, marked, read, read_async

RESPONSE: Any = {"model": "gpt-4o-mini", "input": says.PROMPT}
MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
SOUND: Any = ("a.wav", b"sound")
PICTURE: Any = ("a.png", b"picture")
DRAWN = {"input_text_tokens": 10, "input_image_tokens": 40, "output_image_tokens": 1_000}
HEARD = {"input_text_tokens": 10, "input_audio_tokens": 100, "output_text_tokens": 20}
USED = {
    "input_text_tokens": 100,
    "cache_read_text_tokens": 20,
    "output_text_tokens": 40,
    "output_reasoning_tokens": 10,
}


def _searched() -> dict[str, Any]:
    item = {"id": "i", "status": "completed", "queries": ["q"], "results": None}
    return says.response(
        output=[
            {**item, "type": "file_search_call"},
            {**item, "type": "web_search_call", "action": {"type": "search", "query": "q"}},
            *says.response()["output"],
        ],
        tool_usage={"web_search": {"num_requests": 3}},
    )


WAYS = [
    Way(
        "legacy completions create",
        Answer(body=openai_says.TEXT_COMPLETION),
        lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt=says.PROMPT),
        {"input_text_tokens": 5, "output_text_tokens": 7},
    ),
    Way(
        "legacy completions stream",
        Answer(events=openai_says.text_completion_events()),
        lambda c: c.completions.create(
            model="gpt-3.5-turbo-instruct", prompt=says.PROMPT, stream=True
        ),
        {"input_text_tokens": 5, "output_text_tokens": 7},
    ),
    Way(
        "images generate",
        Answer(body=openai_says.IMAGES),
        lambda c: c.images.generate(model="gpt-image-1", prompt=says.PROMPT),
        DRAWN,
        price="partial",
    ),
    Way(
        "images generate stream",
        Answer(events=openai_says.image_events("image_generation")),
        lambda c: c.images.generate(model="gpt-image-1", prompt=says.PROMPT, stream=True),
        DRAWN,
        price="partial",
    ),
    Way(
        "images edit",
        Answer(body=openai_says.IMAGES),
        lambda c: c.images.edit(model="gpt-image-1", image=PICTURE, prompt=says.PROMPT),
        DRAWN,
        price="partial",
        model="gpt-image-1",
    ),
    Way(
        "images edit stream",
        Answer(events=openai_says.image_events("image_edit")),
        lambda c: c.images.edit(
            model="gpt-image-1", image=PICTURE, prompt=says.PROMPT, stream=True
        ),
        DRAWN,
        price="partial",
    ),
    Way(
        "images variation",
        Answer(body=openai_says.IMAGES_WITHOUT_USAGE),
        lambda c: c.images.create_variation(model="dall-e-2", image=PICTURE),
        {"images": 2},
        price="unknown",
    ),
    Way(
        "audio speech",
        Answer(body=b"sound", content_type="audio/mpeg"),
        lambda c: c.audio.speech.create(model="tts-1", voice="alloy", input="twelve chars"),
        {"input_characters": 12},
        source="estimated",  # counted by us: the provider tells nothing
    ),
    Way(
        "audio speech as events",
        openai_says.SPEECH_EVENTS,
        lambda c: c.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input=says.PROMPT, stream_format="sse"
        ),
        {"input_text_tokens": 14, "output_audio_tokens": 101},
        price="partial",
    ),
    Way(
        "audio transcription by tokens",
        Answer(body={"text": says.COMPLETION, "usage": openai_says.TOKENS_HEARD}),
        lambda c: c.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND),
        HEARD,
        model="gpt-4o-transcribe",
    ),
    Way(
        "audio transcription by seconds",
        Answer(body={"text": "x", "usage": {"type": "duration", "seconds": 60}}),
        lambda c: c.audio.transcriptions.create(model="whisper-1", file=SOUND),
        {"input_audio_ms": 60_000},
    ),
    Way(
        "audio transcription stream",
        Answer(events=openai_says.TRANSCRIPT_EVENTS),
        lambda c: c.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND, stream=True),
        HEARD,
    ),
    Way(
        "audio translation",
        Answer(body={"text": "x", "duration": 30.5, "language": "en", "segments": []}),
        lambda c: c.audio.translations.create(
            model="whisper-1", file=SOUND, response_format="verbose_json"
        ),
        {"input_audio_ms": 30_500},
    ),
    Way(
        "videos create",
        Answer(body=openai_says.VIDEO),
        lambda c: c.videos.create(model="sora-2", prompt=says.PROMPT),
        {"output_video_ms": 8_000},
        price="unknown",
    ),
    Way(
        "videos remix",
        Answer(body=openai_says.VIDEO),
        lambda c: c.videos.remix("video_1", prompt=says.PROMPT),
        {"output_video_ms": 8_000},
        price="unknown",
        model="sora-2",
    ),
    Way("videos retrieve", Answer(body=openai_says.VIDEO), lambda c: c.videos.retrieve("v"), None),
    Way(
        "responses compact",
        Answer(body=openai_says.COMPACTED),
        lambda c: c.responses.compact(model="gpt-4o-mini", input=says.PROMPT),
        USED,
    ),
    Way(
        "responses with tools",
        Answer(body=_searched()),
        lambda c: c.responses.create(**RESPONSE),
        {**USED, "web_searches": 3, "file_searches": 1},
    ),
    Way(
        "beta responses create",
        Answer(body=says.response()),
        lambda c: c.beta.responses.create(**RESPONSE),
        USED,
    ),
    Way(
        "responses retrieve",
        Answer(body=says.response()),
        lambda c: c.responses.retrieve("resp_1"),
        None,
    ),
    Way(
        "responses retrieve stream",
        Answer(events=says.response_events()),
        lambda c: c.responses.retrieve("resp_1", stream=True),
        None,
    ),
    Way(
        "responses count tokens",
        Answer(body={"object": "response.input_tokens", "input_tokens": 3}),
        lambda c: c.responses.input_tokens.count(model="gpt-4o-mini", input=says.PROMPT),
        None,
    ),
    Way(
        "moderations create",
        Answer(body={"id": "m", "model": "m", "results": []}),
        lambda c: c.moderations.create(input=says.PROMPT),
        None,
    ),
    Way(
        "batches create",
        Answer(body={**openai_says.BATCH, "status": "validating"}),
        lambda c: c.batches.create(
            completion_window="24h", endpoint="/v1/responses", input_file_id="file_1"
        ),
        None,
    ),
]


@pytest.fixture
def client(server: LlmServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", marked("openai", WAYS))
def test_a_call_is_booked_once_as_it_is_billed(
    way: Way, client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)

    read(way.call(client))

    assert_booked(way, server, gate, spans)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", marked("openai", WAYS))
async def test_an_async_call_is_booked_once_as_it_is_billed(
    way: Way, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(way.answer)
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as client:
        await read_async(way.call(client))

    assert_booked(way, server, gate, spans)


# --- background responses: billed when they are done ---------------------------------------

STARTED = {"background": True, "created_at": 1_790_000_000}
QUEUED = says.response(**STARTED, status="queued", output=[], usage=None)
FINISHED = says.response(**STARTED)
BACKGROUND: Any = {**RESPONSE, "background": True}


@pytest.mark.covers("openai", "responses create in the background")
def test_background_work_is_charged_at_its_estimate_when_it_begins(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=QUEUED))

    client.responses.create(**BACKGROUND)

    (settled,) = gate.settled
    assert settled.usage_source == "estimated"
    assert settled.actual_nano_usd
    assert gate.voided == [gate.reserved[0].call_id] != [settled.call_id]
    attributes = spans.only()
    assert attributes["gen_ai.operation.name"] == "start_job"
    assert attributes["gen_ai.response.id"] == "resp_1"
    assert attributes["llm_cost.call.id"] == settled.call_id.hex()
    assert not [name for name in attributes if "cost.nano_usd" in name or "usage" in name]


@pytest.mark.covers("openai", "responses create in the background")
async def test_async_background_work_is_charged_at_its_estimate_when_it_begins(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=QUEUED))
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as client:
        await client.responses.create(**BACKGROUND)

    assert gate.settled[0].usage_source == "estimated"


@pytest.mark.covers("openai", "responses retrieve of background work")
def test_whoever_reads_background_work_settles_that_very_call_once(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    running = says.response(**STARTED, status="in_progress", output=[], usage=None)
    server.will(*(Answer(body=body) for body in (QUEUED, running, FINISHED)))

    client.responses.create(**BACKGROUND)
    for _ in range(3):
        client.responses.retrieve("resp_1")

    begun, done = gate.settled
    assert begun.call_id == done.call_id
    assert (begun.usage_source, done.usage_source) == ("estimated", "reported")
    assert done.usage.buckets() == USED
    assert len(gate.reserved) == 1
    _, read_span = spans.finished()
    assert (read_span.attributes or {})["llm_cost.cost.nano_usd"] == done.actual_nano_usd


def test_another_process_that_reads_background_work_settles_the_same_call(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=FINISHED))

    client.responses.retrieve("resp_1")
    receipts._booked.clear()  # what another process remembers of this one
    client.responses.with_raw_response.retrieve("resp_1")

    here, there = gate.settled
    assert here.call_id == there.call_id
    assert (here.actual_nano_usd, here.usage) == (there.actual_nano_usd, there.usage)
    assert not gate.reserved


@pytest.mark.covers("openai", "responses retrieve of background work")
async def test_an_async_reader_of_background_work_settles_it(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=FINISHED))
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as client:
        await client.responses.retrieve("resp_1")

    assert gate.settled[0].usage.buckets() == USED
    assert len(spans.finished()) == 1


def _background_events() -> list[str]:
    return [
        event.replace('"object": "response"', '"object": "response", "background": true')
        for event in says.response_events()
    ]


@pytest.mark.covers("openai", "responses stream of background work, resumed")
def test_a_background_stream_left_early_is_settled_by_whoever_resumes_it(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=_background_events()))

    with client.responses.create(**BACKGROUND, stream=True) as stream:
        next(stream)
    list(client.responses.retrieve("resp_1", stream=True, starting_after=1))

    left, resumed = gate.settled
    assert left.call_id == resumed.call_id
    assert (left.usage_source, resumed.usage_source) == ("estimated", "reported")
    assert resumed.usage.buckets() == USED
    assert len(gate.reserved) == 1


def test_a_background_stream_read_to_its_end_is_settled_at_once(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=_background_events()))

    list(client.responses.create(**BACKGROUND, stream=True))

    (settled,) = gate.settled
    assert settled.usage.buckets() == USED
    assert spans.only()["llm_cost.cost.nano_usd"] == settled.actual_nano_usd


def test_background_work_that_failed_before_it_used_anything_costs_nothing(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    failed = says.response(**STARTED, status="failed", output=[], usage=None)
    server.will(Answer(body=QUEUED), Answer(body=failed))

    client.responses.create(**BACKGROUND)
    client.responses.retrieve("resp_1")

    assert gate.settled[-1].actual_nano_usd == 0
    assert gate.settled[-1].usage_source == "reported"


def test_reading_a_result_is_never_blocked(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED
    server.will(Answer(body=FINISHED))

    client.responses.retrieve("resp_1")

    assert len(gate.settled) == 1


# --- batches --------------------------------------------------------------------------------


@pytest.mark.covers("openai", "batches retrieve")
def test_a_batch_is_booked_once_at_half_the_price_when_it_is_done(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    running = {**openai_says.BATCH, "status": "in_progress", "usage": None}
    server.will(Answer(body=running), Answer(body=openai_says.BATCH))

    for _ in range(3):
        client.batches.retrieve("batch_1")

    (settled,) = gate.settled
    assert settled.usage.buckets() == {"input_text_tokens": 1_000, "output_text_tokens": 500}
    # gpt-4o-mini: $0.15 and $0.60 a million tokens, half of that in a batch.
    assert settled.actual_nano_usd == (1_000 * 150 + 500 * 600) // 2
    assert not gate.reserved


@pytest.mark.covers("openai", "batches retrieve")
async def test_a_batch_is_booked_by_an_async_client(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=openai_says.BATCH))
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as client:
        await client.batches.retrieve("batch_1")

    assert len(gate.settled) == len(spans.finished()) == 1


# --- what other models do inside a response --------------------------------------------------


@pytest.mark.covers("openai", "responses that draw images")
def test_images_drawn_inside_a_response_are_a_call_of_the_image_model(
    client: openai.OpenAI, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    tool_usage = {"web_search": {"num_requests": 0}, "image_gen": openai_says.IMAGE_USAGE}
    tools = [{"type": "image_generation", "model": "gpt-image-1-mini"}]
    server.will(Answer(body=says.response(tool_usage=tool_usage, tools=tools)))

    client.responses.create(**RESPONSE)

    whole, drawn = gate.settled
    assert (whole.model, drawn.model) == ("gpt-4o-mini-2024-07-18", "gpt-image-1-mini")
    assert whole.usage.buckets() == USED
    assert drawn.usage.buckets() == DRAWN
    assert drawn.call_id != whole.call_id
    assert len(gate.reserved) == 1
    assert len(spans.finished()) == 2


# --- the usage rule --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "buckets"),
    [
        (says.CHAT_USAGE, USED),
        (says.RESPONSE_USAGE, USED),
        ({"prompt_tokens": 9, "total_tokens": 9}, {"input_text_tokens": 9}),
        ({"type": "duration", "seconds": 1.5}, {"input_audio_ms": 1_500}),
        (
            {"prompt_tokens": 100, "prompt_cache_hit_tokens": 60, "completion_tokens": 1},
            {"input_text_tokens": 40, "cache_read_text_tokens": 60, "output_text_tokens": 1},
        ),
        (
            {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 30},
                "output_tokens": 1,
            },
            {
                "input_text_tokens": 50,
                "cache_read_text_tokens": 20,
                "cache_write_tokens": 30,
                "output_text_tokens": 1,
            },
        ),
        (
            {
                "input_tokens": 100,
                "input_token_details": {
                    "audio_tokens": 60,
                    "cached_tokens": 30,
                    "cached_tokens_details": {"audio_tokens": 20, "text_tokens": 10},
                },
                "output_tokens": 50,
                "output_token_details": {"audio_tokens": 40, "text_tokens": 10},
            },
            {
                "input_text_tokens": 30,
                "input_audio_tokens": 40,
                "cache_read_text_tokens": 10,
                "cache_read_audio_tokens": 20,
                "output_text_tokens": 10,
                "output_audio_tokens": 40,
            },
        ),
    ],
)
def test_totals_become_exclusive_buckets(told: Any, buckets: dict[str, int]) -> None:
    usage = usage_of(told)

    assert usage is not None
    assert usage.buckets() == buckets
