"""Google's client: one request, one span, one settle, on the Gemini API and on Vertex."""

import asyncio
import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import google.genai._api_client as api_client
import pytest
from google import genai
from google.genai import errors, live, types
from google.genai._gaos import basesdk
from google.genai._gaos.utils import eventstreaming, retries
from google.oauth2.credentials import Credentials
from opentelemetry import trace

from llm_cost import PolicyBlocked
from llm_cost import call as calls
from llm_cost.providers.gemini import interaction_usage_of, usage_of
from llm_cost.providers.google_genai import GoogleGenAIInstrumentor
from llm_cost.usage import Usage
from support import google_says as says
from support.llm_server import PROMPT, Answer, LlmServer
from support.recording import ALLOWED, BLOCKED, RecordingGate, Spans, eventually

MODEL = "gemini-2.5-flash"
ASKED: Any = {"model": MODEL, "contents": PROMPT}
BUCKETS = {
    "input_text_tokens": 100,
    "cache_read_text_tokens": 20,
    "output_text_tokens": 50,
    "output_reasoning_tokens": 10,
}
NANO_USD = 100 * 300 + 20 * 30 + 60 * 2_500  # $0.30, $0.03 and $2.50 a million
SHORT_S = 0.3


# A response over aiohttp that a test leaves unread may be collected only after the test's loop
# has closed, and aiohttp complains about that.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*ClientResponse:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _left_responses_are_collected_here() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    GoogleGenAIInstrumentor().instrument(tracer_provider=recording.provider)
    yield recording
    GoogleGenAIInstrumentor().uninstrument()
    calls.configure()


def _options(server: LlmServer, **more: Any) -> types.HttpOptions:
    return types.HttpOptions(base_url=server.url, timeout=5_000, **more)


@pytest.fixture
def client(server: LlmServer) -> genai.Client:
    return genai.Client(api_key="k", http_options=_options(server))


def _vertex(server: LlmServer, location: str = "global") -> genai.Client:
    return genai.Client(
        vertexai=True,
        project="p",
        location=location,
        credentials=Credentials(token="t"),
        http_options=_options(server),
    )


class Cell(NamedTuple):
    """One way to call. `nano_usd` None: the table has no price for the model."""

    name: str
    answer: Answer
    call: Callable[[Any], Any]
    buckets: dict[str, int]
    nano_usd: int | None = NANO_USD
    operation: str = "generate_content"
    is_vertex: bool = False
    usage_source: str = "reported"


EVENTS = Answer(events=says.answer_events())
CELLS = [
    Cell(
        "generate content",
        Answer(body=says.answer()),
        lambda c: c.models.generate_content(**ASKED),
        BUCKETS,
    ),
    Cell(
        "generate content, stream",
        EVENTS,
        lambda c: c.models.generate_content_stream(**ASKED),
        BUCKETS,
    ),
    Cell(
        "chat",
        Answer(body=says.answer()),
        lambda c: c.chats.create(model=MODEL).send_message(PROMPT),
        BUCKETS,
    ),
    Cell(
        "chat, stream",
        EVENTS,
        lambda c: c.chats.create(model=MODEL).send_message_stream(PROMPT),
        BUCKETS,
    ),
    Cell(
        "interaction",
        Answer(body=says.interaction()),
        lambda c: c.interactions.create(model=MODEL, input=PROMPT),
        BUCKETS,
    ),
    Cell(
        "interaction, stream",
        Answer(events=says.interaction_events()),
        lambda c: c.interactions.create(model=MODEL, input=PROMPT, stream=True),
        BUCKETS,
    ),
    Cell(
        "embeddings",
        Answer(body=says.embeddings()),
        lambda c: c.models.embed_content(model="gemini-embedding-001", contents=PROMPT),
        {"input_text_tokens": 120},
        120 * 150,
        "embeddings",
    ),
    Cell(
        "embeddings on Vertex",
        Answer(body=says.vertex_embeddings()),
        lambda c: c.models.embed_content(model="text-embedding-005", contents=PROMPT),
        {"input_text_tokens": 120},
        None,
        "embeddings",
        is_vertex=True,
    ),
    Cell(
        "generate content on Vertex",
        Answer(body=says.answer()),
        lambda c: c.models.generate_content(**ASKED),
        BUCKETS,
        is_vertex=True,
    ),
    Cell(
        "images",
        Answer(body=says.images()),
        lambda c: c.models.generate_images(model="imagen-4.0-generate-001", prompt=PROMPT),
        {"images": 2},  # and not the one that a filter held back
        None,
        is_vertex=True,
    ),
    Cell(
        "videos",
        Answer(body=says.video()),
        lambda c: c.models.generate_videos(
            model="veo-3.0-generate-001",
            prompt=PROMPT,
            config={"duration_seconds": 6, "number_of_videos": 2},
        ),
        {"output_video_ms": 12_000},
        None,
        is_vertex=True,
        usage_source="estimated",
    ),
]


def _plain(result: Any) -> Any:
    return result.model_dump(exclude={"sdk_http_response"}) if hasattr(result, "model_dump") else 0


def _is_stream(result: Any) -> bool:
    return hasattr(result, "__next__") or hasattr(result, "__anext__")


def _read(result: Any) -> Any:
    return [_plain(chunk) for chunk in result] if _is_stream(result) else _plain(result)


async def _read_async(result: Any) -> Any:
    if not _is_stream(result):
        result = await result
    if _is_stream(result):
        return [_plain(chunk) async for chunk in result]
    return _plain(result)


def _assert_one_call(cell: Cell, spans: Spans, gate: RecordingGate, server: LlmServer) -> None:
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.usage.buckets() == cell.buckets
    assert settled.usage_source == attributes["llm_cost.usage.source"] == cell.usage_source
    assert settled.actual_nano_usd == cell.nano_usd
    assert attributes.get("llm_cost.cost.nano_usd") == cell.nano_usd
    assert settled.outcome == "ok"
    assert attributes["gen_ai.provider.name"] == (
        "gcp.vertex_ai" if cell.is_vertex else "gcp.gemini"
    )
    assert attributes["gen_ai.operation.name"] == cell.operation
    assert len(gate.reserved) == len(server.seen) - 1 == 1
    assert not gate.voided
    assert "secret" not in repr(attributes)
    assert trace.get_current_span() is trace.INVALID_SPAN


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.filterwarnings("ignore::google.genai.errors.ExperimentalWarning")
def test_a_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell,
    client: genai.Client,
    server: LlmServer,
    gate: RecordingGate,
    request: pytest.FixtureRequest,
) -> None:
    asked = _vertex(server) if cell.is_vertex else client
    server.will(cell.answer)
    unpatched = _read(cell.call(asked))
    spans: Spans = request.getfixturevalue("spans")

    patched = _read(cell.call(asked))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate, server)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.filterwarnings("ignore::google.genai.errors.ExperimentalWarning")
async def test_an_async_call_is_seen_once_and_returns_what_it_always_did(
    cell: Cell,
    client: genai.Client,
    server: LlmServer,
    gate: RecordingGate,
    request: pytest.FixtureRequest,
) -> None:
    asked = (_vertex(server) if cell.is_vertex else client).aio
    server.will(cell.answer)
    unpatched = await _read_async(cell.call(asked))
    spans: Spans = request.getfixturevalue("spans")

    patched = await _read_async(cell.call(asked))

    assert patched == unpatched
    _assert_one_call(cell, spans, gate, server)
    assert gate.async_reserves == 1


def test_each_request_of_automatic_function_calling_is_a_call(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    def weather_in(city: str) -> str:
        """Return the weather."""
        return f"sunny in {city}"

    server.will(Answer(body=says.tool_call()), Answer(body=says.answer()))
    client.models.generate_content(**ASKED, config={"tools": [weather_in]})

    assert len(server.seen) == len(spans.finished()) == len(gate.settled) == 2
    assert len({settled.call_id for settled in gate.settled}) == 2


@pytest.mark.parametrize("name", ["generate_content", "generate_content_stream"])
async def test_a_blocked_call_never_reaches_the_provider(
    name: str, client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    gate.decision = BLOCKED

    with pytest.raises(PolicyBlocked):
        _read(getattr(client.models, name)(**ASKED))
    with pytest.raises(PolicyBlocked):
        await _read_async(getattr(client.aio.models, name)(**ASKED))
    with pytest.raises(PolicyBlocked):
        client.interactions.create(model=MODEL, input=PROMPT)

    assert not server.seen
    assert len(spans.finished()) == 3
    assert not gate.settled


@pytest.mark.parametrize("name", ["generate_content", "generate_content_stream"])
def test_a_refusal_costs_nothing(
    name: str, client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(status=429, body=says.ERROR))

    with pytest.raises(errors.ClientError) as raised:
        _read(getattr(client.models, name)(**ASKED))

    assert raised.value.code == 429
    assert spans.only()["error.type"] == "ClientError"
    assert len(gate.voided) == 1
    assert not gate.settled


def test_a_timeout_after_sending_is_charged_at_the_estimate(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.answer(), delay_s=2 * SHORT_S))
    config: Any = {"max_output_tokens": 70, "http_options": {"timeout": int(SHORT_S * 1000)}}

    with pytest.raises(Exception, match="timed out"):
        client.models.generate_content(**ASKED, config=config)

    (settled,) = gate.settled
    assert settled.usage_source == "estimated"
    assert settled.usage.output_text_tokens == 70
    assert settled.outcome == "error"


RETRIES: Any = {"attempts": 3, "initial_delay": 0.01, "max_delay": 0.01, "jitter": 0}


def test_a_retry_after_a_refusal_is_one_call(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    client = genai.Client(api_key="k", http_options=_options(server, retry_options=RETRIES))
    refusal = Answer(status=429, body=says.ERROR)
    server.will(refusal, refusal, Answer(body=says.answer()))

    client.models.generate_content(**ASKED)

    assert len(server.seen) == 3
    assert len(gate.reserved) == len(gate.settled) == len(spans.finished()) == 1
    assert not gate.voided


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("is_blocked", [False, True])
async def test_a_retry_after_a_timeout_is_asked_for_again(
    is_async: bool,
    is_blocked: bool,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Over aiohttp, where that is installed, the client does not retry a timeout.
    monkeypatch.setattr(api_client.BaseApiClient, "_use_aiohttp", lambda _: False)
    options = types.HttpOptions(
        base_url=server.url, timeout=int(SHORT_S * 1000), retry_options=RETRIES
    )
    client = genai.Client(api_key="k", http_options=options)
    gate.decision, gate.later = ALLOWED, [BLOCKED if is_blocked else ALLOWED]
    server.will(Answer(body=says.answer(), delay_s=2 * SHORT_S), Answer(body=says.answer()))

    async def ask() -> None:
        if is_async:
            await client.aio.models.generate_content(**ASKED)
        else:
            client.models.generate_content(**ASKED)

    if is_blocked:
        with pytest.raises(PolicyBlocked):
            await ask()
    else:
        await ask()

    outcomes = [settled.outcome for settled in gate.settled]
    assert outcomes == (["error"] if is_blocked else ["error", "ok"])
    assert len(server.seen) == len(gate.settled)
    assert len({held.call_id for held in gate.reserved}) == len(spans.finished()) == 2


def _assert_cut_once(spans: Spans, gate: RecordingGate, *, outcome: str = "cancelled") -> None:
    (settled,) = gate.settled

    assert settled.outcome == outcome
    assert settled.usage_source == spans.only()["llm_cost.usage.source"] == "estimated"
    assert settled.usage.buckets() == {
        "input_text_tokens": 100,  # told by the first chunk already
        "cache_read_text_tokens": 20,
        "output_text_tokens": 2,
    }
    assert not gate.voided
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_stream_left_by_break_ends_when_it_is_dropped(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    stream = client.models.generate_content_stream(**ASKED)
    for _ in stream:
        break
    del stream, _
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


async def _eventually_async(spans: Spans) -> None:
    """Wait while the loop closes generators within generators, each in a turn of its own."""
    for _ in range(20):
        if spans.finished():
            break
        gc.collect()
        await asyncio.sleep(0.05)
    # The client leaves its response to the collector; let that run while there is a loop.
    gc.collect()
    await asyncio.sleep(0)


@pytest.mark.parametrize("uses_aiohttp", [api_client.has_aiohttp, False])
async def test_an_async_stream_dropped_in_mid_air_ends(
    uses_aiohttp: bool,
    client: genai.Client,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_client.BaseApiClient, "_use_aiohttp", lambda _: uses_aiohttp)
    server.will(EVENTS)

    stream = await client.aio.models.generate_content_stream(**ASKED)
    async for _ in stream:
        break
    del stream, _
    await _eventually_async(spans)

    _assert_cut_once(spans, gate)


async def test_an_async_stream_nobody_ever_read_was_never_asked_for(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    await client.aio.models.generate_content_stream(**ASKED)
    gc.collect()

    assert not server.seen
    assert not gate.reserved


async def test_an_open_response_nobody_ever_read_ends_when_it_is_dropped(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(EVENTS)

    path = f"models/{MODEL}:streamGenerateContent?alt=sse"
    await client._api_client.async_request_streamed("post", path, {"contents": []})
    await _eventually_async(spans)

    assert [settled.outcome for settled in gate.settled] == ["cancelled"]


async def test_a_cancelled_task_ends_its_stream(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.answer_events(pieces=50), pause_s=0.05))
    seen = asyncio.Event()

    async def read() -> None:
        async for _ in await client.aio.models.generate_content_stream(**ASKED):
            seen.set()

    task = asyncio.create_task(read())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    eventually(spans.finished)

    _assert_cut_once(spans, gate)


def test_an_error_in_mid_stream_is_the_clients_own(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.answer_events()[:1] + says.sse(says.ERROR)))

    with pytest.raises(errors.ClientError):
        _read(client.models.generate_content_stream(**ASKED))

    _assert_cut_once(spans, gate, outcome="error")
    assert spans.only()["error.type"] == "ClientError"


def test_an_interaction_left_early_ends_once(
    client: genai.Client, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.interaction_events()))

    with client.interactions.create(model=MODEL, input=PROMPT, stream=True) as stream:
        for event in stream:
            if event.event_type == "step.delta":
                break

    assert gate.settled[0].outcome == "cancelled"
    assert gate.settled[0].usage.output_text_tokens == 2
    assert len(spans.finished()) == 1


@pytest.mark.parametrize(
    ("traffic", "status"),
    [("ON_DEMAND", "exact"), ("ON_DEMAND_PRIORITY", "fallback"), ("ON_DEMAND_FLEX", "fallback")],
)
def test_the_traffic_type_is_the_service_tier(
    traffic: str, status: str, server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    usage = {**says.USAGE, "trafficType": traffic}
    server.will(Answer(body=says.answer(usageMetadata=usage)))

    client = _vertex(server)
    client.models.generate_content(**ASKED)

    assert gate.settled[0].price_status == status
    assert spans.only()["llm_cost.response.service_tier"] == traffic


def test_a_price_in_a_region_is_not_said_to_be_exact(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.answer()))

    client = _vertex(server, "us-central1")
    client.models.generate_content(**ASKED)

    assert gate.settled[0].price_status == "fallback"


@pytest.mark.parametrize(("model", "searches"), [(MODEL, 1), ("gemini-3-pro-preview", 2)])
def test_grounding_is_counted_as_the_model_bills_it(
    model: str,
    searches: int,
    client: genai.Client,
    server: LlmServer,
    gate: RecordingGate,
    spans: Spans,
) -> None:
    body = says.answer(modelVersion=model)
    body["candidates"][0]["groundingMetadata"] = {"webSearchQueries": ["one", "two"]}
    server.will(Answer(body=body), Answer(events=says.sse(body)))

    client.models.generate_content(**ASKED)
    _read(client.models.generate_content_stream(**ASKED))

    assert [settled.usage.web_searches for settled in gate.settled] == [searches] * 2


def test_counting_tokens_has_no_span(client: genai.Client, server: LlmServer, spans: Spans) -> None:
    server.will(Answer(body={"totalTokens": 3}))

    client.models.count_tokens(**ASKED)

    assert not spans.finished()


# --- live sessions -----------------------------------------------------------------------

LIVE_USAGE = {
    "promptTokenCount": 100,
    "candidatesTokenCount": 40,  # Vertex; the Gemini API says responseTokenCount
    "totalTokenCount": 140,
    "promptTokensDetails": [
        {"modality": "AUDIO", "tokenCount": 90},
        {"modality": "TEXT", "tokenCount": 10},
    ],
    "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
}


async def test_a_live_session_costs_the_sum_of_its_turns(gate: RecordingGate, spans: Spans) -> None:
    async with says.live_server([LIVE_USAGE, LIVE_USAGE]) as url:
        client = genai.Client(vertexai=True, http_options={"base_url": url})
        client._api_client._websocket_ssl_ctx = {}  # the client knows of wss only
        async with client.aio.live.connect(model="gemini-3.8-live") as session:
            for _ in range(2):
                await session.send_client_content(turns={"parts": [{"text": PROMPT}]})
                assert [message async for message in session.receive()]

    (settled,) = gate.settled
    assert settled.usage.buckets() == {
        "input_text_tokens": 20,
        "input_audio_tokens": 180,
        "output_audio_tokens": 80,
    }
    assert settled.usage_source == "reported"
    assert settled.actual_nano_usd == 20 * 750 + 180 * 3_000 + 80 * 12_000
    assert spans.only()["gen_ai.request.model"] == "gemini-3.8-live"
    assert len(gate.reserved) == 1


async def test_a_blocked_live_session_never_connects(gate: RecordingGate, spans: Spans) -> None:
    gate.decision = BLOCKED
    client = genai.Client(api_key="k", http_options={"base_url": "http://127.0.0.1:9"})

    with pytest.raises(PolicyBlocked):
        async with client.aio.live.connect(model="gemini-3.8-live"):
            pass

    assert not gate.settled


async def test_a_live_session_that_cannot_connect_costs_nothing(
    gate: RecordingGate, spans: Spans
) -> None:
    client = genai.Client(api_key="k", http_options={"base_url": "http://127.0.0.1:9"})

    with pytest.raises(OSError, match="Connect"):
        async with client.aio.live.connect(model="gemini-3.8-live"):
            pass

    assert len(gate.voided) == len(spans.finished()) == 1


# --- patches -----------------------------------------------------------------------------


def test_patches_come_off_and_go_on_again() -> None:
    owners: list[Any] = [
        api_client.BaseApiClient,
        live.AsyncLive,
        live.AsyncSession,
        basesdk.BaseSDK,
        basesdk.AsyncBaseSDK,
        eventstreaming.Stream,
        eventstreaming.AsyncStream,
        retries,
    ]
    found = [dict(vars(owner)) for owner in owners]

    for _ in range(2):
        GoogleGenAIInstrumentor().instrument()
        assert all(dict(vars(o)) != f for o, f in zip(owners, found, strict=True))
        GoogleGenAIInstrumentor().uninstrument()

        assert [dict(vars(owner)) for owner in owners] == found


def test_the_generated_client_is_patched_when_it_is_loaded_and_not_before() -> None:
    loading = (
        "import sys\n"
        "from llm_cost.providers.google_genai import GoogleGenAIInstrumentor as Ours\n"
        "Ours().instrument()\n"
        "print('google.genai._gaos.basesdk' in sys.modules)\n"
        "from google.genai._gaos.basesdk import BaseSDK\n"
        "print(hasattr(BaseSDK.do_request, '__wrapped__'))\n"
        "Ours().uninstrument()\n"
        "print(hasattr(BaseSDK.do_request, '__wrapped__'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", loading], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["False", "True", "False"]


def test_a_missing_client_is_a_module_not_found() -> None:
    hidden = (
        "import sys; sys.modules['google.genai'] = None\n"
        "from llm_cost.providers import _is_missing\n"
        "from llm_cost.providers.google_genai import GoogleGenAIInstrumentor as Ours\n"
        "try:\n    Ours().instrument()\n"
        "except ModuleNotFoundError as e: print(_is_missing(e.name, Ours.module))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=True
    )

    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (None, None),
        ({}, None),
        ({"promptTokenCount": -1, "candidatesTokenCount": "many"}, Usage()),
        (
            {"promptTokenCount": 10, "responseTokenCount": 7},  # a live turn
            Usage(input_text_tokens=10, output_text_tokens=7),
        ),
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 7},
            Usage(input_text_tokens=15, output_text_tokens=7),
        ),
        (
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 10},
                    {"modality": "AUDIO", "tokenCount": 40},
                    {"modality": "IMAGE", "tokenCount": 30},
                    {"modality": "VIDEO", "tokenCount": 20},
                ],
                "cacheTokensDetails": [
                    {"modality": "AUDIO", "tokenCount": 30},
                    {"modality": "IMAGE", "tokenCount": 20},
                    {"modality": "VIDEO", "tokenCount": 10},
                ],
            },
            Usage(
                input_text_tokens=10,
                input_audio_tokens=10,
                input_image_tokens=10,
                input_video_tokens=10,
                cache_read_text_tokens=10,  # the frames
                cache_read_audio_tokens=30,
                cache_read_image_tokens=20,
            ),
        ),
        (
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 1_295,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
                "thoughtsTokenCount": 8,
            },
            Usage(
                input_text_tokens=10,
                output_text_tokens=5,
                output_reasoning_tokens=8,
                output_image_tokens=1_290,
            ),
        ),
    ],
)
def test_usage_is_read_by_geminis_rule(told: Any, usage: Usage | None) -> None:
    assert usage_of(told) == usage


def test_an_interaction_counts_what_its_tools_took() -> None:
    told = {
        **says.INTERACTION_USAGE,
        "total_tool_use_tokens": 30,
        "grounding_tool_count": [
            {"type": "google_search", "count": 2},
            {"type": "google_maps", "count": 1},
        ],
    }

    assert interaction_usage_of(told) == Usage(
        input_text_tokens=130,
        cache_read_text_tokens=20,
        output_text_tokens=50,
        output_reasoning_tokens=10,
        web_searches=2,
    )
