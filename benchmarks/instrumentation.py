"""What our patches add to a call, over an in-process transport: CPU, not network."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from llm_cost import attribute_to, policy, providers
from llm_cost.policy.decision import Action, Decision, Reservation, Settlement
from llm_cost.policy.gate import OpenGate

ROUNDS = 25  # many short ones, the best of which meets the least noise
CALLS = 16
STREAMS = 4
WARM_UP_CALLS = 3  # patching makes the interpreter forget what it has specialised
CHUNKS = 50
Row = tuple[str, str, str, str]

MESSAGES: Any = [
    {"role": "system", "content": "You are a helpful assistant. " * 10},
    {"role": "user", "content": "What does each plan tier cost to serve? " * 10},
]
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 50,
    "total_tokens": 170,
    "prompt_tokens_details": {"cached_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 10},
}
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "word " * 50},
        }
    ],
    "usage": USAGE,
}


def _events() -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
    }
    choices: list[Any] = [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]
    documents = [{**chunk, "choices": choices}] * (CHUNKS - 2)
    documents.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    documents.append({**chunk, "choices": [], "usage": USAGE})
    return b"".join(b"data: %s\n\n" % json.dumps(d).encode() for d in documents) + (
        b"data: [DONE]\n\n"
    )


EVENTS = _events()
DOCUMENT = json.dumps(REPLY).encode()


def _answer(request: httpx2.Request) -> httpx2.Response:
    if b'"stream":true' in request.content:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=EVENTS)
    return httpx2.Response(200, headers={"content-type": "application/json"}, content=DOCUMENT)


class _Ended(SpanProcessor):
    """Takes the ended spans, as a batch processor's queue would."""


class _Admitting:
    """A gate that decides in memory: what a lease costs, without the policy's own work."""

    _decision = Decision(action=Action.ALLOW, would_be=Action.ALLOW, policy_version=1)

    def reserve(self, reservation: Reservation) -> Decision:
        del reservation
        return self._decision

    async def reserve_async(self, reservation: Reservation) -> Decision:
        return self.reserve(reservation)

    def settle(self, settlement: Settlement) -> None:
        del settlement

    def void(self, call_id: bytes) -> None:
        del call_id

    def flush(self, timeout_s: float) -> bool:
        del timeout_s
        return True


def _client() -> openai.OpenAI:
    return openai.OpenAI(
        api_key="k",
        base_url="http://llm.invalid/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(_answer)),
    )


def _chat(client: openai.OpenAI) -> None:
    client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=100)


def _stream(client: openai.OpenAI) -> None:
    for _ in client.chat.completions.create(
        model="gpt-4o-mini", messages=MESSAGES, max_tokens=100, stream=True
    ):
        pass


def _cpu_us(call: Callable[[openai.OpenAI], None], client: openai.OpenAI, calls: int) -> float:
    for _ in range(WARM_UP_CALLS):
        call(client)
    started_ns = time.process_time_ns()
    for _ in range(calls):
        call(client)
    return (time.process_time_ns() - started_ns) / calls / 1000


def _added(call: Callable[[openai.OpenAI], None], calls: int) -> tuple[float, float]:
    """Return (uninstrumented, added): rounds alternate, so that both meet the same noise."""
    client = _client()
    spans = TracerProvider()
    spans.add_span_processor(_Ended())
    bare, ours = [], []
    for _ in range(ROUNDS):
        without = _cpu_us(call, client, calls)
        providers.instrument(tracer_provider=spans)
        with attribute_to(user_id="user-1", tier="pro", group="search"):
            with_us = _cpu_us(call, client, calls)
        providers.uninstrument()
        bare.append(without)
        ours.append(with_us)
    return min(bare), min(ours) - min(bare)


def _import_ms() -> float:
    """Return the time that our modules add to a process that has OpenTelemetry and openai."""
    code = (
        "import time, openai, opentelemetry.trace, opentelemetry.baggage\n"
        "t = time.perf_counter()\n"
        "import llm_cost.providers.openai as p\n"
        "p.OpenAIInstrumentor().instrument()\n"
        "print((time.perf_counter() - t) * 1000)\n"
    )
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    return statistics.median(runs)


def measure() -> list[Row]:
    """Return the rows of this part."""
    rows: list[Row] = []
    for name, gate in (("open gate", OpenGate()), ("deciding gate, with estimate", _Admitting())):
        with policy.use_gate(gate):
            chat_us, chat_added_us = _added(_chat, CALLS)
            stream_us, stream_added_us = _added(_stream, STREAMS)
        rows += [
            (
                f"added CPU per chat call, {name} (bare {chat_us:.0f} µs)",
                f"{chat_added_us:.0f} µs",
                "257 µs (best peer)",
                "100 µs",
            ),
            (
                f"added CPU per {CHUNKS}-chunk stream, {name} (bare {stream_us:.0f} µs)",
                f"{stream_added_us:.0f} µs",
                "558 µs (best peer)",
                "200 µs",
            ),
        ]
    rows.append(
        ("import time added to openai + OpenTelemetry", f"{_import_ms():.0f} ms", "80 ms", "40 ms")
    )
    return rows
