"""Our own prices for known gaps of the table, each with its source and the day it was recorded.

A row stands before the table's row for the same model and holds from `since` on; calls before
that keep the table's price. Only what a named source says is written here, never a guess.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from llm_cost.pricing.rows import Clause


class OverlayRow(NamedTuple):
    """A model's rates from a day on."""

    provider: str
    model: str
    clause: Clause
    since: str | None
    """First UTC day, None for always."""
    rates: Mapping[str, str]
    source: str
    recorded: str


class OverlayFactor(NamedTuple):
    """A multiple of every token rate, for those who ask for a region or a service tier."""

    provider: str
    clause: Clause
    region: str | None
    service_tier: str | None
    numerator: int
    denominator: int
    source: str
    recorded: str


PROVIDERS: Final = ("ollama",)
"""Providers that the table does not have."""

ROWS: Final[tuple[OverlayRow, ...]] = (
    OverlayRow(
        provider="ollama",
        model="any model on one's own machine",
        # Ollama's cloud runs the models with this ending, and sells them.
        clause=("r", r"^(?!.*[-:]cloud$)"),
        since=None,
        # Nobody sends a bill for a call, and what the machine costs is in no table: the request
        # is free and its tokens have no price, so that the cost is 0 and PARTIAL, not EXACT.
        rates={"requests_kcount": "0"},
        source="Ollama's own server: run by its user, without a charge",
        recorded="2026-11-24",
    ),
    OverlayRow(
        provider="openai",
        model="gpt-4o-audio-preview",
        clause=("^", "gpt-4o-audio-preview"),
        since=None,
        rates={
            "input_mtok": "2.5",
            "input_audio_mtok": "40",
            "output_mtok": "10",
            "output_audio_mtok": "80",
        },
        # The table has the text rates only, which prices a spoken call 8 times too low.
        source="OpenAI, model page of gpt-4o-audio-preview",
        recorded="2026-11-24",
    ),
    *(
        OverlayRow(
            provider="deepseek",
            model=model,
            clause=("=", model),
            since="2026-04-01",
            rates={"input_mtok": "0.28", "cache_read_mtok": "0.028", "output_mtok": "0.42"},
            # The table stops at the rates of early 2025 with their off-peak hours. The day of
            # the change is not known; April 2026 is when the new rates were seen.
            source="DeepSeek price list of April 2026, as recorded by benchlm.ai",
            recorded="2026-11-24",
        )
        for model in ("deepseek-chat", "deepseek-reasoner")
    ),
    *(
        OverlayRow(
            provider="openai",
            model=f"ft:{base}",
            # A fine-tuned name goes on with the organisation: "ft:gpt-4.1-2025-04-14:acme::1".
            clause=("^", f"ft:{base}"),
            since=None,
            rates={"input_mtok": rate, "cache_read_mtok": cached, "output_mtok": output},
            # The table knows the fine-tuned 4o models only.
            source="developers.openai.com/api/docs/pricing, as recorded by litellm 1.110.2",
            recorded="2026-11-24",
        )
        for base, rate, cached, output in (
            ("gpt-4.1-2025-04-14", "3", "0.75", "12"),
            ("gpt-4.1-mini-2025-04-14", "0.8", "0.2", "3.2"),
            ("gpt-4.1-nano-2025-04-14", "0.2", "0.05", "0.8"),
            ("o4-mini-2025-04-16", "4", "1", "16"),
        )
    ),
    OverlayRow(
        provider="mistral",
        model="mistral-large-latest",
        clause=("=", "mistral-large-latest"),
        since="2026-11-01",
        rates={"input_mtok": "0.5", "output_mtok": "1.5"},
        # The table still has the rates of the model that the alias used to point to.
        source="docs.mistral.ai, as recorded by litellm 1.110.2 and models.dev",
        recorded="2026-11-24",
    ),
)

FACTORS: Final[tuple[OverlayFactor, ...]] = (
    OverlayFactor(
        provider="anthropic",
        clause=("^", "claude-"),
        region="us",
        service_tier=None,
        numerator=11,
        denominator=10,
        source="Anthropic pricing, data residency: inference_geo us at 1.1 times every rate",
        recorded="2026-11-24",
    ),
    OverlayFactor(
        provider="anthropic",
        clause=("|", ("^", "claude-opus-4-6"), ("^", "claude-opus-4.6")),
        region=None,
        service_tier="fast",
        numerator=6,
        denominator=1,
        source="Anthropic pricing, fast mode: Opus 4.6 at $30/$150 for $5/$25",
        recorded="2026-11-24",
    ),
)
