"""The provider server's own price list, and its own arithmetic.

Independent of `llm_cost.pricing` on purpose: the demo compares the two. USD per million
tokens, as published by OpenAI and Anthropic; compared with genai-prices 0.2.3 on 2026-11-24
(a test repeats the comparison).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_NANO_USD_PER_USD_PER_MTOK: Final = 1_000  # $1 per million tokens = 1,000 nano-USD per token


@dataclass(frozen=True, slots=True)
class Rate:
    """What one model costs, in USD per million tokens; None: the model has no such thing."""

    provider: str
    snapshot: str  # the dated name that a reply carries
    input: Fraction
    output: Fraction
    cache_read: Fraction | None = None
    cache_write_5m: Fraction | None = None
    cache_write_1h: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one request is billed for, in exclusive buckets."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0  # reasoning included
    reasoning: int = 0  # of `output`

    @property
    def prompt(self) -> int:
        """Every input token, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


def _usd(text: str) -> Fraction:
    return Fraction(text)


def _anthropic(snapshot: str, rate_in: str, rate_out: str) -> Rate:
    # Anthropic prices its cache as multiples of the input rate.
    base = _usd(rate_in)
    return Rate(
        "anthropic", snapshot, base, _usd(rate_out),
        cache_read=base / 10, cache_write_5m=base * Fraction(5, 4), cache_write_1h=base * 2,
    )  # fmt: skip


def _openai(snapshot: str, rate_in: str, rate_out: str, cached: str | None = None) -> Rate:
    cache_read = _usd(cached) if cached else None
    return Rate("openai", snapshot, _usd(rate_in), _usd(rate_out), cache_read=cache_read)


RATES: Final = {
    "gpt-4o": _openai("gpt-4o-2024-08-06", "2.50", "10", "1.25"),
    "gpt-4o-mini": _openai("gpt-4o-mini-2024-07-18", "0.15", "0.60", "0.075"),
    "gpt-5-pro": _openai("gpt-5-pro-2025-10-06", "15", "120"),
    "o1-pro": _openai("o1-pro-2025-03-19", "150", "600"),
    "text-embedding-3-small": _openai("text-embedding-3-small", "0.02", "0"),
    "claude-sonnet-4-0": _anthropic("claude-sonnet-4-20250514", "3", "15"),
    "claude-haiku-4-5": _anthropic("claude-haiku-4-5-20251001", "1", "5"),
    "claude-opus-4-1": _anthropic("claude-opus-4-1-20250805", "15", "75"),
}
RATES_BY_NAME: Final = RATES | {rate.snapshot: rate for rate in RATES.values()}
"""Every model name that a request may carry."""


def price_nano_usd(rate: Rate, tokens: Tokens) -> int:
    """Return the price of `tokens`: each component rounded half to even, then added."""
    return sum(
        round(count * usd_per_mtok * _NANO_USD_PER_USD_PER_MTOK)  # Fraction rounds half to even
        for count, usd_per_mtok in (
            (tokens.input, rate.input),
            (tokens.cache_read, rate.cache_read),
            (tokens.cache_write_5m, rate.cache_write_5m),
            (tokens.cache_write_1h, rate.cache_write_1h),
            (tokens.output, rate.output),
        )
        if count and usd_per_mtok is not None
    )
