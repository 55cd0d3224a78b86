"""Makes every kind of call beside a peer and prints what came of each, a line a call.

Usage: peer_calls.py PEER ours-first|theirs-first [KIND OF CALL]...
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import anthropic
import openai

from llm_cost import attribute_to, policy
from support import llm_server as says
from support.llm_server import Answer, LlmServer, llm_server
from support.peer_process import Watched, switch_on

MESSAGES: Any = [{"role": "user", "content": says.PROMPT}]
CHAT: Any = {"model": "gpt-4o-mini", "messages": MESSAGES}
RESPONSE: Any = {"model": "gpt-4o-mini", "input": says.PROMPT}
MESSAGE: Any = {"model": "claude-sonnet-4-6", "messages": MESSAGES, "max_tokens": 100}
EMBEDDING: Any = {
    "model": "text-embedding-3-small",
    "input": says.PROMPT,
    "encoding_format": "float",
}


class Clients(NamedTuple):
    openai: Any
    anthropic: Any
    url: str


class Scenario(NamedTuple):
    answers: tuple[Answer, ...]
    call: Callable[[Clients], Any]
    attempts: int = 1


def _abandoned(stream: Any) -> None:
    for _ in stream:
        break


def _left(stream: Any) -> None:
    with stream:
        next(iter(stream))


def _async_stream(clients: Clients) -> None:
    async def read() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{clients.url}/v1") as client:
            async for _ in await client.chat.completions.create(**CHAT, stream=True):
                pass

    asyncio.run(read())


def _async(clients: Clients) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=f"{clients.url}/v1") as client:
            await client.chat.completions.create(**CHAT)

    asyncio.run(ask())


def _failing(clients: Clients) -> None:
    try:
        clients.openai.chat.completions.create(**CHAT)
    except openai.APIStatusError:
        return
    raise AssertionError("it did not fail")


def _retried(clients: Clients) -> None:
    clients.openai.with_options(max_retries=1, timeout=0.3).chat.completions.create(**CHAT)


_ASKED: Any = {"stream": True, "stream_options": {"include_usage": True}}
_DOCUMENT, _EVENTS = (Answer(body=says.chat()),), (Answer(events=says.chat_events()),)
_MESSAGE_EVENTS = (Answer(events=says.message_events()),)
_RESPONSE_EVENTS = (Answer(events=says.response_events()),)

SCENARIOS: dict[str, Scenario] = {
    "chat": Scenario(_DOCUMENT, lambda c: c.openai.chat.completions.create(**CHAT)),
    "chat async": Scenario(_DOCUMENT, _async),
    "chat parse": Scenario(_DOCUMENT, lambda c: c.openai.chat.completions.parse(**CHAT)),
    "chat raw": Scenario(
        _DOCUMENT, lambda c: c.openai.chat.completions.with_raw_response.create(**CHAT).parse()
    ),
    "chat stream": Scenario(
        _EVENTS, lambda c: list(c.openai.chat.completions.create(**CHAT, stream=True))
    ),
    "chat stream with usage": Scenario(
        _EVENTS, lambda c: list(c.openai.chat.completions.create(**CHAT, **_ASKED))
    ),
    "chat stream async": Scenario(_EVENTS, _async_stream),
    "chat stream dropped": Scenario(
        _EVENTS, lambda c: _abandoned(c.openai.chat.completions.create(**CHAT, stream=True))
    ),
    "chat stream left": Scenario(
        _EVENTS, lambda c: _left(c.openai.chat.completions.create(**CHAT, stream=True))
    ),
    "chat refused": Scenario((Answer(status=400, body={"error": {"message": "no"}}),), _failing, 0),
    "chat timed out once": Scenario(
        (Answer(body=says.chat(), delay_s=1.0), Answer(body=says.chat())), _retried, 2
    ),
    "response": Scenario(
        (Answer(body=says.response()),), lambda c: c.openai.responses.create(**RESPONSE)
    ),
    "response raw": Scenario(
        (Answer(body=says.response()),),
        lambda c: c.openai.responses.with_raw_response.create(**RESPONSE).parse(),
    ),
    "response stream": Scenario(
        _RESPONSE_EVENTS, lambda c: list(c.openai.responses.create(**RESPONSE, stream=True))
    ),
    "response stream left": Scenario(
        _RESPONSE_EVENTS, lambda c: _left(c.openai.responses.create(**RESPONSE, stream=True))
    ),
    "response raw stream": Scenario(
        _RESPONSE_EVENTS,
        lambda c: list(
            c.openai.responses.with_raw_response.create(**RESPONSE, stream=True).parse()
        ),
    ),
    "embeddings": Scenario(
        (Answer(body=says.embeddings()),), lambda c: c.openai.embeddings.create(**EMBEDDING)
    ),
    "message": Scenario(
        (Answer(body=says.message()),), lambda c: c.anthropic.messages.create(**MESSAGE)
    ),
    "message stream": Scenario(
        _MESSAGE_EVENTS, lambda c: list(c.anthropic.messages.create(**MESSAGE, stream=True))
    ),
    "message stream dropped": Scenario(
        _MESSAGE_EVENTS, lambda c: _abandoned(c.anthropic.messages.create(**MESSAGE, stream=True))
    ),
}


def _one(name: str, clients: Clients, server: LlmServer, watched: Watched) -> None:
    scenario = SCENARIOS[name]
    watched.clear()
    server.will(*scenario.answers)
    raised = ""
    with attribute_to(user_id="user-7", tier="pro"):
        try:
            scenario.call(clients)
        except Exception as error:  # noqa: BLE001 - reported, to be judged by the test
            raised = f"{type(error).__name__}: {error}"
    watched.wait(scenario.attempts)
    watched.report(scenario=name, attempts=scenario.attempts, raised=raised)


def main(peer: str, order: str, *only: str) -> None:
    watched = Watched(peer)
    switch_on(peer, ours_first=order == "ours-first")
    with policy.use_gate(watched.gate), llm_server() as server:
        clients = Clients(
            openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0),
            anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0),
            server.url,
        )
        for name in only or SCENARIOS:
            _one(name, clients, server, watched)


if __name__ == "__main__":
    main(*sys.argv[1:])
