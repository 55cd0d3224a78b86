"""Threads, tasks and forked children: each call one span, one settle, its own payer."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from llm_cost import attribute_to
from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import RecordingGate, Spans, eventually

CALLS = 24


def _payers(gate: RecordingGate) -> list[str | None]:
    return sorted(str(settled.identity.user_id) for settled in gate.settled)


def _assert_one_each(gate: RecordingGate, spans: Spans) -> None:
    users = sorted(f"user-{number}" for number in range(CALLS))
    on_spans = sorted(str((span.attributes or {})["user.id"]) for span in spans.finished())

    assert _payers(gate) == on_spans == users
    assert len({settled.call_id for settled in gate.settled}) == CALLS


def test_threads_share_a_client(server: LlmServer, gate: RecordingGate, spans: Spans) -> None:
    server.will(Answer(events=says.chat_events()))
    client = openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0)

    def ask(number: int) -> None:
        with attribute_to(user_id=f"user-{number}"):
            list(client.chat.completions.create(model="gpt-4o-mini", messages=[], stream=True))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(CALLS)))

    _assert_one_each(gate, spans)


async def test_gathered_tasks_share_a_client(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(body=says.chat()))

    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as client:

        async def ask(number: int) -> None:
            with attribute_to(user_id=f"user-{number}"):
                await client.chat.completions.create(model="gpt-4o-mini", messages=[])

        await asyncio.gather(*(ask(number) for number in range(CALLS)))

    _assert_one_each(gate, spans)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_its_own_calls(
    server: LlmServer, gate: RecordingGate, spans: Spans
) -> None:
    server.will(Answer(events=says.chat_events()))

    def ask() -> None:
        client = openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0)
        for _ in client.chat.completions.create(model="gpt-4o-mini", messages=[], stream=True):
            break

    ask()
    eventually(spans.finished)
    child = os.fork()
    if child == 0:
        try:
            ask()
            eventually(lambda: len(spans.finished()) == 2)
            os._exit(0 if len(gate.settled) == 2 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert len(gate.settled) == len(spans.finished()) == 1
