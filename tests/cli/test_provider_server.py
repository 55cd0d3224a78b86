"""The provider server answers the real clients, and bills what it reports."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import anthropic
import openai
import pytest
from genai_prices import Usage, calc_price

from llm_cost_cli.demo.provider import Fault, Provider, running
from llm_cost_cli.demo.rates import RATES, Tokens, price_nano_usd

PROMPT = [{"role": "user", "content": "What is new in the northern region? " * 20}]
LONG_PROMPT = [{"role": "user", "content": "What is new in the northern region? " * 400}]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running(seed=7) as server:
        yield server


@pytest.fixture
def chat(provider: Provider) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.openai_base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(provider: Provider) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=provider.anthropic_base_url, api_key="any", max_retries=0
    ) as client:
        yield client


def _nano(*parts: tuple[int, str]) -> int:
    """Tokens times USD per million of them, each rounded half to even."""
    return sum(round(Fraction(count) * Fraction(usd) * 1_000) for count, usd in parts)


def _eventually(holds: Any, timeout_s: float = 5) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


# --- what goes wrong --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [(429, openai.RateLimitError), (500, openai.InternalServerError)],
)
def test_a_refusal_reaches_the_client_and_is_not_billed(
    provider: Provider, chat: openai.OpenAI, status: int, expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        chat.chat.completions.create(
            model="gpt-4o", messages=PROMPT, extra_headers={"x-fault-status": str(status)}
        )

    assert provider.record.rows == []
    assert provider.record.refused == 1


def test_an_unknown_model_and_a_missing_key_and_a_missing_limit_are_refused(
    provider: Provider, chat: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    with pytest.raises(openai.NotFoundError):
        chat.chat.completions.create(model="gpt-nowhere", messages=PROMPT)
    with pytest.raises(openai.NotFoundError):
        chat.chat.completions.create(model="claude-haiku-4-5", messages=PROMPT)
    with pytest.raises(anthropic.BadRequestError):
        claude.post(
            "/v1/messages", cast_to=object, body={"model": "claude-haiku-4-5", "messages": []}
        )
    request = urllib.request.Request(
        f"{provider.openai_base_url}/responses", data=b'{"model":"gpt-4o"}', method="POST"
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)

    assert provider.record.rows == []
    assert provider.record.refused == 4


def test_a_dropped_stream_fails_in_the_client_and_is_billed_in_part(
    provider: Provider, chat: openai.OpenAI
) -> None:
    provider.fail_next(Fault(drop_after_events=4))
    stream = chat.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True)
    received: list[object] = []

    with pytest.raises(openai.APIConnectionError):
        received.extend(stream)

    assert len(received) == 4
    (row,) = provider.record.rows
    assert row.outcome == "cut"
    assert row.price_nano_usd > 0
    provider.fail_next(Fault())
    list(chat.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))
    assert provider.record.rows[1].tokens.output > row.tokens.output


def test_a_malformed_event_fails_in_the_client(provider: Provider, chat: openai.OpenAI) -> None:
    provider.fail_next(Fault(malformed_after_events=2))

    with pytest.raises(ValueError, match="Expecting property name"):
        list(chat.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True))


def test_a_stream_that_the_client_leaves_is_billed_as_cancelled(
    provider: Provider, chat: openai.OpenAI
) -> None:
    provider.fail_next(Fault(slow_ms=50))

    stream = chat.chat.completions.create(model="gpt-4o", messages=PROMPT, stream=True)
    next(stream)
    stream.close()
    chat.close()

    _eventually(lambda: provider.record.rows)
    assert provider.record.rows[0].outcome == "cancelled"


def test_every_nth_request_is_refused_and_the_client_tries_again() -> None:
    provider = Provider(refuse_every=2)

    async def two_calls() -> None:
        await provider.start()
        async with openai.AsyncOpenAI(
            base_url=provider.openai_base_url, api_key="any", max_retries=2
        ) as client:
            for _ in range(2):
                await client.embeddings.create(model="text-embedding-3-small", input="a")

    asyncio.run(two_calls())

    assert provider.record.refused == 1
    assert len(provider.record.rows) == 2


# --- OpenAI -----------------------------------------------------------------------------------


def test_a_chat_completion_is_billed_as_its_usage_says(
    provider: Provider, chat: openai.OpenAI
) -> None:
    completion = chat.chat.completions.create(model="gpt-4o", messages=LONG_PROMPT, max_tokens=40)

    used = completion.usage
    assert used is not None
    assert used.prompt_tokens_details is not None
    cached = used.prompt_tokens_details.cached_tokens or 0
    assert completion.model == "gpt-4o-2024-08-06"
    assert completion.choices[0].finish_reason == "length"
    assert used.completion_tokens == 40
    assert provider.record.total_nano_usd == _nano(
        (used.prompt_tokens - cached, "2.50"), (cached, "1.25"), (used.completion_tokens, "10")
    )
    assert provider.record.rows[0].response_id == completion.id


def test_long_prompts_are_partly_cached_in_steps_of_128(chat: openai.OpenAI) -> None:
    cached = set()
    for number in range(12):
        prompt = [{"role": "user", "content": f"{number} " + "northern region " * 400}]
        completion = chat.chat.completions.create(model="gpt-4o", messages=prompt, max_tokens=5)
        assert completion.usage is not None
        assert completion.usage.prompt_tokens_details is not None
        cached.add(completion.usage.prompt_tokens_details.cached_tokens)

    assert len(cached) == 2
    assert 0 in cached
    assert all(count is not None and count % 128 == 0 for count in cached)


def test_a_stream_ends_with_usage_only_if_asked(provider: Provider, chat: openai.OpenAI) -> None:
    plain = list(chat.chat.completions.create(model="gpt-4o-mini", messages=PROMPT, stream=True))
    asked = list(
        chat.chat.completions.create(
            model="gpt-4o-mini",
            messages=PROMPT,
            stream=True,
            stream_options={"include_usage": True},
        )
    )

    assert all(chunk.usage is None for chunk in plain)
    assert plain[-1].choices[0].finish_reason == "stop"
    assert asked[-1].choices == []
    assert asked[-1].usage is not None
    assert provider.record.rows[1].price_nano_usd == _nano(
        (asked[-1].usage.prompt_tokens, "0.15"), (asked[-1].usage.completion_tokens, "0.60")
    )
    assert len(provider.record.rows) == 2


def test_the_same_request_costs_the_same_and_another_seed_costs_another(
    provider: Provider, chat: openai.OpenAI
) -> None:
    for _ in range(2):
        chat.chat.completions.create(model="gpt-4o", messages=PROMPT)
    with (
        running(seed=8) as other,
        openai.OpenAI(base_url=other.openai_base_url, api_key="any") as client,
    ):
        client.chat.completions.create(model="gpt-4o", messages=PROMPT)

    first, second = provider.record.rows
    assert first.tokens == second.tokens
    assert first.response_id != second.response_id
    assert other.record.rows[0].tokens != first.tokens


async def test_a_streamed_response_carries_reasoning_and_usage(provider: Provider) -> None:
    async with openai.AsyncOpenAI(base_url=provider.openai_base_url, api_key="any") as client:
        stream = await client.responses.create(
            model="o1-pro", input="Audit this. " * 50, max_output_tokens=12_500, stream=True
        )
        events = [event async for event in stream]

    last = events[-1]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert last.type == "response.incomplete"
    used = last.response.usage
    assert used is not None
    assert used.output_tokens == 12_500
    assert used.output_tokens_details.reasoning_tokens == 12_500 * 93 // 100
    assert provider.record.total_nano_usd == _nano(
        (used.input_tokens, "150"), (used.output_tokens, "600")
    )


def test_the_response_helper_reads_the_stream(chat: openai.OpenAI) -> None:
    with chat.responses.stream(model="gpt-5-pro", input="Report, please.") as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert final.status == "completed"
    assert "".join(deltas) == final.output_text
    assert final.usage is not None
    visible_tokens = final.usage.output_tokens - final.usage.output_tokens_details.reasoning_tokens
    assert len(final.output_text) == visible_tokens * 4


def test_embeddings_have_vectors_and_are_billed_by_input(
    provider: Provider, chat: openai.OpenAI
) -> None:
    found = chat.embeddings.create(model="text-embedding-3-small", input=["north " * 50, "south"])

    assert [len(item.embedding) for item in found.data] == [1_536, 1_536]
    assert provider.record.total_nano_usd == _nano((found.usage.prompt_tokens, "0.02"))


# --- Anthropic --------------------------------------------------------------------------------


@pytest.mark.parametrize(("lifetime", "write_usd"), [("5m", "3.75"), ("1h", "6")])
def test_cached_input_stands_apart_from_input_and_is_billed_by_lifetime(
    provider: Provider, claude: anthropic.Anthropic, lifetime: str, write_usd: str
) -> None:
    style = {
        "type": "text",
        "text": "Plain words. " * 600,
        "cache_control": {"type": "ephemeral", "ttl": lifetime},
    }
    expected = reads = writes = 0
    for number in range(16):
        used = claude.messages.create(
            model="claude-sonnet-4-0",
            max_tokens=50,
            system=[style],  # type: ignore[list-item]
            messages=[{"role": "user", "content": f"Question {number}"}],
        ).usage
        assert used.cache_creation is not None
        written = (
            used.cache_creation.ephemeral_5m_input_tokens
            + used.cache_creation.ephemeral_1h_input_tokens
        )
        assert written == used.cache_creation_input_tokens
        reads += bool(used.cache_read_input_tokens)
        writes += bool(written)
        expected += _nano(
            (used.input_tokens, "3"),
            (used.cache_read_input_tokens or 0, "0.3"),
            (written, write_usd),
            (used.output_tokens, "15"),
        )

    assert provider.record.total_nano_usd == expected
    assert reads
    assert writes
    assert reads + writes == 16


async def test_a_streamed_message_reports_cumulative_output(provider: Provider) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=provider.anthropic_base_url, api_key="any"
    ) as client:
        async with client.messages.stream(
            model="claude-haiku-4-5",
            max_tokens=30,
            messages=[{"role": "user", "content": "Hello"}],
        ) as stream:
            message = await stream.get_final_message()
        events = [
            event
            async for event in await client.messages.create(
                model="claude-haiku-4-5",
                max_tokens=30,
                messages=[{"role": "user", "content": "Hello"}],
                stream=True,
            )
        ]

    assert message.stop_reason == "max_tokens"
    assert message.usage.output_tokens == 30
    start, delta = events[0], events[-2]
    assert start.type == "message_start"
    assert delta.type == "message_delta"
    assert start.message.usage.output_tokens == 1
    assert delta.usage.output_tokens == 30
    assert provider.record.rows[0].price_nano_usd == _nano(
        (message.usage.input_tokens, "1"), (30, "5")
    )


# --- the bill ---------------------------------------------------------------------------------


def test_the_bill_is_complete_after_concurrent_calls(provider: Provider) -> None:
    sums: list[int] = []

    def calls() -> None:
        with openai.OpenAI(base_url=provider.openai_base_url, api_key="any") as client:
            for number in range(20):
                used = client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": f"{number}"}]
                ).usage
                assert used is not None
                sums.append(_nano((used.prompt_tokens, "0.15"), (used.completion_tokens, "0.60")))

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with urllib.request.urlopen(f"http://{provider.endpoint}/served") as answer:
        served = json.load(answer)
    assert served["total_nano_usd"] == sum(sums)
    assert served["calls"] == len(served["rows"]) == 80
    assert len({row["request_id"] for row in served["rows"]}) == 80


@pytest.mark.parametrize("model", RATES)
def test_the_rates_are_those_of_genai_prices(model: str) -> None:
    rate = RATES[model]
    tokens = Tokens(
        input=1_003,
        cache_read=507 if rate.cache_read is not None else 0,
        cache_write_5m=211 if rate.cache_write_5m is not None else 0,
        output=401 if rate.output else 0,
    )

    known = calc_price(
        Usage(
            input_tokens=tokens.prompt,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write_5m,
            output_tokens=tokens.output,
        ),
        model_ref=rate.snapshot,
        provider_id=rate.provider,
    )
    assert price_nano_usd(rate, tokens) == round(known.total_price * 10**9)
