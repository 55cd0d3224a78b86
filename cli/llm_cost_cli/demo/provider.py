"""OpenAI and Anthropic on loopback: real shapes, deterministic usage, an exact bill.

`python -m llm_cost_cli.demo.provider --listen 127.0.0.1:0` prints one JSON ready line;
`running()` is the same in this process, in a thread of its own.
A request may script its own fault by headers, see `fault.py`.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from llm_cost_cli.demo import anthropic_api, openai_api, refusal
from llm_cost_cli.demo.answer import Answer, Event
from llm_cost_cli.demo.fault import Fault
from llm_cost_cli.demo.http_server import Reply, Request, serve
from llm_cost_cli.demo.metering import draw, tokens_of, visible_text
from llm_cost_cli.demo.rates import RATES_BY_NAME, Tokens
from llm_cost_cli.demo.record import Record

__all__ = ["Fault", "Provider", "running"]

_START_LIMIT_S: Final = 10
_AFTER_THE_ANSWER: Final = 2  # the last events of every stream: nothing is produced any more


_Events = Callable[[Answer], Iterator[Event]]


@dataclass(frozen=True, slots=True)
class _Endpoint:
    provider: str
    operation: str
    whole: Callable[[Answer], dict[str, Any]]
    events: _Events | None = None


@dataclass(frozen=True, slots=True)
class _Exchange:
    endpoint: _Endpoint
    answer: Answer
    fault: Fault
    headers: Mapping[str, str]


_ENDPOINTS: Final = {
    "/v1/chat/completions": _Endpoint(
        "openai", "chat", openai_api.chat_completion, openai_api.chat_events
    ),
    "/v1/responses": _Endpoint(
        "openai", "responses", openai_api.response, openai_api.response_events
    ),
    "/v1/embeddings": _Endpoint("openai", "embeddings", openai_api.embeddings),
    "/v1/messages": _Endpoint(
        "anthropic", "messages", anthropic_api.message, anthropic_api.message_events
    ),
}


class Provider:
    """Both providers behind one address; `record` is what they would bill."""

    def __init__(self, *, seed: int = 0, refuse_every: int = 0) -> None:
        self.record = Record()
        self.endpoint = ""  # host:port, once started
        self._seed = seed
        self._refuse_every = refuse_every  # each so many requests is one too many; 0: never
        self._count = 0
        self._faults: deque[Fault] = deque()

    @property
    def anthropic_base_url(self) -> str:
        """What `anthropic.Anthropic(base_url=...)` takes."""
        return f"http://{self.endpoint}"

    @property
    def openai_base_url(self) -> str:
        """What `openai.OpenAI(base_url=...)` takes."""
        return f"http://{self.endpoint}/v1"

    def fail_next(self, fault: Fault, *, times: int = 1) -> None:
        """Let `fault` happen to the next `times` requests."""
        self._faults.extend([fault] * times)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Start answering until the event loop ends; `endpoint` says where."""
        self._server, self.endpoint = await serve(self.handle, host, port)

    async def handle(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        if request.method == "GET" and request.path in ("/served", "/healthz"):
            reply.send(self.record.document(with_rows="rows=0" not in request.query))
            return
        endpoint = _ENDPOINTS.get(request.path)
        if endpoint is None or request.method != "POST":
            reply.send(refusal.document(404, f"{request.method} {request.path}"), status=404)
            return
        fault = self._faults.popleft() if self._faults else Fault.from_headers(request.headers)
        await asyncio.sleep(fault.slow_ms / 1000)
        self._count += 1
        headers = {refusal.REQUEST_ID_HEADER[endpoint.provider]: f"req_{self._number()}"}
        too_busy = self._refuse_every and self._count % self._refuse_every == 0
        status = fault.status or refusal.status_of(request, endpoint.provider)
        status = status or (503 if too_busy else 0)
        if status:
            self.record.refused += 1
            document = refusal.document(status, request.path)
            reply.send(document, status=status, headers=headers)
            return
        exchange = _Exchange(endpoint, self._answer(request), fault, headers)
        if exchange.answer.request.get("stream") is True and endpoint.events is not None:
            await self._stream(exchange, endpoint.events, reply)
        else:
            self._bill(exchange, exchange.answer.tokens, outcome="ok")
            reply.send(endpoint.whole(exchange.answer), headers=headers)

    def _number(self) -> str:
        text = f"{self._seed}:{self._count}".encode()
        return blake2b(text, digest_size=14).hexdigest()

    def _answer(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        rate = RATES_BY_NAME[asked["model"]]
        name = next(name for name, known in RATES_BY_NAME.items() if known is rate)
        tokens = tokens_of(name, asked, draw(self._seed, request.body), rate)
        limits = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        return Answer(
            request=asked,
            rate=rate,
            tokens=tokens,
            text=visible_text(tokens),
            number=self._number(),
            created_unix_s=int(time.time()),
            is_cut_by_limit=any(asked.get(limit) == tokens.output for limit in limits),
        )

    async def _stream(self, exchange: _Exchange, shape: _Events, reply: Reply) -> None:
        answer, fault = exchange.answer, exchange.fault
        events = list(shape(answer))
        sent, outcome = 0, "cancelled"  # until shown otherwise
        try:
            reply.start_stream(exchange.headers)
            for event in events:
                if sent == len(events) - _AFTER_THE_ANSWER:
                    # On the bill before the client can see its usage and compare.
                    outcome = "ok"
                    self._bill(exchange, answer.tokens, outcome=outcome)
                data = event.data if isinstance(event.data, str) else _json(event.data)
                await reply.event(data, name=event.name)
                sent += 1
                if sent == fault.drop_after_events:
                    outcome = "cut" if outcome != "ok" else outcome
                    reply.drop()
                    return
                if sent == fault.malformed_after_events:
                    await reply.raw("data: {this is not JSON\n\n")
                await asyncio.sleep(fault.slow_ms / 1000)
            reply.end_stream()
        finally:
            if outcome != "ok":
                self._bill(exchange, _part(answer.tokens, sent, len(events)), outcome=outcome)

    def _bill(self, exchange: _Exchange, tokens: Tokens, *, outcome: str) -> None:
        answer, endpoint = exchange.answer, exchange.endpoint
        self.record.bill(
            answer.rate,
            tokens,
            request_id=f"req_{answer.number}",
            response_id=str(endpoint.whole(answer).get("id", "")),
            provider=endpoint.provider,
            model=answer.rate.snapshot,
            operation=endpoint.operation,
            streamed=answer.request.get("stream") is True,
            outcome=outcome,
        )


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _part(tokens: Tokens, sent: int, of: int) -> Tokens:
    """Return what was produced when a stream ended after `sent` of its events."""
    output = tokens.output * sent // of
    return replace(tokens, output=output, reasoning=min(tokens.reasoning, output))


@contextlib.contextmanager
def running(*, seed: int = 0) -> Iterator[Provider]:
    """A provider server in a thread of its own, for clients that block."""
    provider = Provider(seed=seed)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve_until_ended() -> None:
        ended = asyncio.Event()
        await provider.start()
        started.set_result((asyncio.get_running_loop(), ended))
        await ended.wait()

    # asyncio.run ends the connections that a client has left open.
    thread = threading.Thread(target=lambda: asyncio.run(serve_until_ended()), name="provider")
    thread.start()
    loop, ended = started.result(timeout=_START_LIMIT_S)
    try:
        yield provider
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


async def _main(arguments: argparse.Namespace) -> None:
    host, _, port = arguments.listen.rpartition(":")
    provider = Provider(seed=arguments.seed, refuse_every=arguments.refuse_every)
    await provider.start(host, int(port))
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    print(json.dumps({"ready": True, "provider": provider.endpoint}), flush=True)
    await ended.wait()


def main() -> None:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(prog="python -m llm_cost_cli.demo.provider")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--refuse-every", type=int, default=0, metavar="N", help="answer each Nth request with 503"
    )
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
