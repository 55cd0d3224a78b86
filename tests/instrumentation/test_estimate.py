"""Estimates: a bound where the output is bounded, else an expectation, never a guess at a price."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost import estimate
from llm_cost.estimate import OutputHistory, expected, input_size, nano_usd
from llm_cost.settings import Settings

KEY = ("openai", "gpt-4o-mini", "search")
TEXT: dict[str, Any] = {"messages": [{"role": "user", "content": "héllo wörld " * 100}]}


def _expected(
    body: dict[str, Any],
    *,
    max_output_tokens: int | None = None,
    choices: int = 1,
    settings: Settings | None = None,
) -> estimate.Expected:
    return expected(
        input_size(body),
        key=KEY,
        max_output_tokens=max_output_tokens,
        choices=choices,
        settings=settings or Settings(),
    )


@given(st.text(max_size=2_000))
def test_a_bound_holds_at_least_a_token_a_byte(text: str) -> None:
    usage, is_bound = _expected({"messages": [{"content": text}]}, max_output_tokens=1)

    assert is_bound
    assert usage.input_text_tokens >= len(text.encode("utf-8", "surrogatepass"))


def test_a_bound_holds_every_choice() -> None:
    assert _expected(TEXT, max_output_tokens=100, choices=3).usage.output_text_tokens == 300


def test_worst_case_holds_the_cap_where_the_caller_gives_no_limit() -> None:
    settings = Settings(worst_case_estimates=True, estimate_max_output_tokens=9_000)

    assert _expected(TEXT, settings=settings) == _expected(TEXT, max_output_tokens=9_000)


def test_what_is_expected_follows_what_was_seen_and_stops_at_the_cap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimate, "history", OutputHistory())
    before = _expected(TEXT).usage.output_text_tokens
    for output_tokens in range(1, 101):
        estimate.history.observe(KEY, output_tokens)
    after = _expected(TEXT).usage.output_text_tokens
    capped = _expected(TEXT, settings=Settings(estimate_max_output_tokens=50))

    assert before == estimate.UNSEEN_OUTPUT_TOKENS
    assert 90 <= after <= 100
    assert capped.usage.output_text_tokens == 50
    assert not capped.is_bound


def test_the_history_is_bounded_and_keeps_the_newest() -> None:
    history = OutputHistory(keys=2)
    for name in ("a", "b", "c"):
        history.observe(("openai", name, None), 7)

    assert history.expect(("openai", "a", None)) == estimate.UNSEEN_OUTPUT_TOKENS
    assert history.expect(("openai", "c", None)) == 7


def test_one_long_answer_is_forgotten_in_time() -> None:
    history = OutputHistory(length=16)
    history.observe(KEY, 5_000)
    for _ in range(32):
        history.observe(KEY, 10)

    assert history.expect(KEY) == 10


def test_pictures_count_by_the_picture_and_not_by_their_bytes() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 500_000}}

    size = input_size({"messages": [{"role": "user", "content": [picture, picture]}]})

    assert size.images == 2
    assert size.text_bytes < 100


def test_attachments_count_by_a_share_of_their_size() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 80_000, "format": "wav"}}

    size = input_size({"messages": [{"role": "user", "content": [sound]}]})

    assert size.attachment_bytes == 80_000
    assert size.text_bytes < 100


def test_a_huge_request_is_not_walked_for_ever() -> None:
    size = input_size({"input": [[1] * 1_000] * 1_000})

    assert size.text_bytes <= estimate.MAX_WALKED_VALUES * estimate.NUMBER_BYTES


def test_cache_control_and_searches_are_noticed() -> None:
    size = input_size(
        {
            "system": [{"type": "text", "text": "x", "cache_control": {"ttl": "1h"}}],
            "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 4}],
        }
    )

    assert size.writes_cache_1h
    assert size.searches == 4
    assert size.has_tools


def _price(body: dict[str, Any], model: str) -> int | None:
    return nano_usd(
        _expected(body, max_output_tokens=10).usage,
        provider="anthropic",
        model=model,
        at=1_764_000_000.0,
        service_tier=None,
        size=input_size(body),
    )


def test_a_request_that_writes_the_cache_is_estimated_at_its_price() -> None:
    plain = {"system": [{"type": "text", "text": "x" * 9_000}]}
    cached = {"system": [{"type": "text", "text": "x" * 9_000, "cache_control": {"ttl": "1h"}}]}

    plain_nano_usd = _price(plain, "claude-sonnet-4-5")
    cached_nano_usd = _price(cached, "claude-sonnet-4-5")

    assert plain_nano_usd is not None
    assert cached_nano_usd is not None
    assert cached_nano_usd > plain_nano_usd * 1.5


def test_an_unknown_price_has_no_estimate() -> None:
    assert _price(TEXT, "homemade-7b") is None
