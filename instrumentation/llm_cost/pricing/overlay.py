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


ROWS: Final = (
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

FACTORS: Final = (
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
