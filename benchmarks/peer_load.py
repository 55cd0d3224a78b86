"""One process beside one peer: does calls on command and prints the CPU that each took.

Usage: peer_load.py PEER. Reads "chat N" or "stream N" a line, prints microseconds a call.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import openai
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from llm_cost import policy, providers
from llm_cost.policy.decision import Reservation
from support import llm_server as says
from support.peer_process import PEERS
from support.recording import ALLOWED, RecordingGate

if openai.__version__.split(".")[0] >= "3":
    import httpx2 as http
else:
    import httpx as http

PIECES = 48  # and one chunk for the reason, one for the usage
EVENTS = "".join(says.chat_events(pieces=PIECES)).encode()
DOCUMENT = json.dumps(says.chat()).encode()
MESSAGES: Any = [{"role": "user", "content": "What does each plan tier cost to serve? " * 10}]


class _Ended(SpanProcessor):
    """Takes the ended spans, as a batch processor's queue would."""


class _Deciding(RecordingGate):
    """Answers from memory and forgets."""

    def reserve(self, reservation: Reservation) -> Any:
        del reservation
        return ALLOWED

    def settle(self, settlement: Any) -> None:
        del settlement


def _answer(request: Any) -> Any:
    is_stream = b'"stream":true' in request.content
    kind = "text/event-stream" if is_stream else "application/json"
    body = EVENTS if is_stream else DOCUMENT
    return http.Response(200, headers={"content-type": kind}, content=body)


def _chat(client: openai.OpenAI) -> None:
    client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, max_tokens=100)


def _stream(client: openai.OpenAI) -> None:
    for _ in client.chat.completions.create(
        model="gpt-4o-mini",
        messages=MESSAGES,
        max_tokens=100,
        stream=True,
        stream_options={"include_usage": True},
    ):
        pass


def _switch_on(peer: str) -> None:
    if peer == "logfire":
        import logfire

        logfire.configure(send_to_logfire=False, console=False)
    else:
        provider = TracerProvider()
        provider.add_span_processor(_Ended())
        trace.set_tracer_provider(provider)
    if peer.startswith("ours"):
        providers.instrument()
        if peer == "ours-deciding":
            policy.use_gate(_Deciding()).__enter__()
    else:
        PEERS[peer]()


def main(peer: str) -> None:
    _switch_on(peer)
    client = openai.OpenAI(
        api_key="k",
        base_url="http://llm.invalid/v1",
        http_client=http.Client(transport=http.MockTransport(_answer)),
    )
    calls: dict[str, Callable[[openai.OpenAI], None]] = {"chat": _chat, "stream": _stream}
    for line in sys.stdin:
        kind, _, count = line.strip().partition(" ")
        started_ns = time.process_time_ns()
        for _ in range(int(count)):
            calls[kind](client)
        print((time.process_time_ns() - started_ns) / int(count) / 1000, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
