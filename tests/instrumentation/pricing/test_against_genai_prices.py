"""genai-prices as the oracle: every model of the table, priced by both.

One bucket alone must agree exactly, after one half-even rounding. A mixture has five components
of which each may round by half a nano-USD.
"""

import random
import subprocess
import sys
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path

import pytest
from genai_prices import Usage as OracleUsage
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from llm_cost.pricing import PriceStatus, cost_of, overlay, table
from llm_cost.pricing.rows import matches
from llm_cost.usage import Usage

ROOT = Path(__file__).parents[3]
AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
MOMENTS = [AT, datetime(2024, 1, 1, tzinfo=UTC), datetime(2027, 3, 1, 17, tzinfo=UTC)]
NANO = Decimal(1_000_000_000)
WIDE = Context(prec=60, rounding=ROUND_HALF_EVEN)
TIERS: dict[str, dict[str, str]] = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast", "speed": "fast"},
}


def _models() -> list[tuple[types.Provider, types.ModelInfo]]:
    """Every model that its own id finds and that the overlay does not replace."""
    return [
        (provider, model)
        for provider in get_snapshot().providers
        for model in provider.models
        if provider.find_model(model.id) is model
        and not any(
            row.provider == provider.id and matches(row.clause, model.id.lower())
            for row in overlay.ROWS
        )
    ]


MODELS = _models()


def _oracle_usage(u: Usage) -> OracleUsage:
    spoken_s, played_s = u.input_audio_ms // 1000, u.output_audio_ms // 1000
    return OracleUsage(
        input_tokens=u.total_input_tokens,
        output_tokens=u.total_output_tokens,
        cache_read_tokens=u.cache_read_tokens,
        cache_write_tokens=u.cache_write_tokens + u.cache_write_1h_tokens,
        cache_write_1h_tokens=u.cache_write_1h_tokens,
        input_audio_tokens=u.input_audio_tokens + u.cache_read_audio_tokens,
        input_image_tokens=u.input_image_tokens + u.cache_read_image_tokens,
        input_video_tokens=u.input_video_tokens,
        cache_audio_read_tokens=u.cache_read_audio_tokens,
        cache_image_read_tokens=u.cache_read_image_tokens,
        output_reasoning_tokens=u.output_reasoning_tokens,
        output_audio_tokens=u.output_audio_tokens,
        output_image_tokens=u.output_image_tokens,
        output_video_tokens=u.output_video_tokens,
        web_searches=u.web_searches,
        storage_searches=u.file_searches,
        rerank_searches=u.rerank_searches,
        input_document_pages=u.pages + u.annotated_pages,
        input_annotated_document_pages=u.annotated_pages,
        input_characters=u.input_characters,
        audio_seconds=spoken_s + played_s,
        input_audio_seconds=spoken_s,
        output_audio_seconds=played_s,
    )


def _oracle_nano(
    provider: types.Provider,
    model: types.ModelInfo,
    usage: Usage,
    at: datetime,
    context: dict[str, str] | None = None,
) -> Decimal:
    found = model.calc_price(
        _oracle_usage(usage), provider, genai_request_timestamp=at, price_context=context
    )
    return WIDE.multiply(found.total_price, NANO)


UNPRICED_IN_BOTH = {"images", "output_video_ms"}
BUCKETS = [name for name in Usage._fields if name not in UNPRICED_IN_BOTH]


def _count(chance: random.Random, bucket: str) -> int:
    count = chance.choice([1, 7, 999, 60_000, 199_999, 200_001, 272_001, 1_100_000])
    return count * 1000 if bucket.endswith("_ms") else count


def _mixture(chance: random.Random, buckets: list[str]) -> Usage:
    return Usage(**{name: _count(chance, name) for name in buckets if chance.random() < 0.6})


TEXT = [
    "input_text_tokens",
    "cache_read_text_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_text_tokens",
    "output_reasoning_tokens",
]


def test_most_models_are_compared() -> None:
    assert len(MODELS) > 2_200


@pytest.mark.parametrize("seed", range(2))
def test_every_model_agrees_on_mixed_usage(seed: int) -> None:
    chance = random.Random(seed)
    for provider, model in MODELS:
        for buckets in (TEXT, BUCKETS):
            usage = _mixture(chance, buckets)
            if provider.id == "groq":
                # The ten seconds are the least for a transcription, which speaks nothing.
                usage = usage._replace(output_audio_ms=0)
            at = chance.choice(MOMENTS)
            expected = _oracle_nano(provider, model, usage, at)

            cost = cost_of(usage, provider=provider.id, model=model.id, at=at)

            if cost.total_nano_usd is None:
                assert expected == 0, (provider.id, model.id, usage)
            else:
                assert abs(cost.total_nano_usd - expected) <= Decimal("2.5"), (model.id, usage)
                assert cost.total_nano_usd == sum(cost[1:6])


def test_every_model_agrees_exactly_on_one_bucket_after_one_rounding() -> None:
    chance = random.Random(3)
    for provider, model in MODELS:
        bucket = chance.choice(BUCKETS)
        usage = Usage(**{bucket: _count(chance, bucket)})
        fee = _oracle_nano(provider, model, Usage(), AT)
        expected = _oracle_nano(provider, model, usage, AT) - fee

        cost = cost_of(usage, provider=provider.id, model=model.id, at=AT)

        if cost.total_nano_usd is None:
            assert expected == 0, (model.id, usage)
        else:
            rounded = int(expected.quantize(Decimal(1), context=WIDE))
            assert cost.total_nano_usd == rounded + int(fee), (model.id, usage, expected)


@pytest.mark.parametrize("tier", TIERS)
def test_every_model_with_a_tier_agrees_and_the_others_say_fallback(tier: str) -> None:
    chance = random.Random(tier)
    context = TIERS[tier]
    exact = 0
    for provider, model in MODELS:
        if not model.price_variants or (provider.id, model.id) == ("anthropic", "claude-opus-4-6"):
            continue
        usage = _mixture(chance, ["input_text_tokens", "output_text_tokens"])
        expected = _oracle_nano(provider, model, usage, AT, context)

        cost = cost_of(usage, provider=provider.id, model=model.id, at=AT, service_tier=tier)

        if cost.total_nano_usd is None:
            continue
        assert abs(cost.total_nano_usd - expected) <= 1, (model.id, usage)
        sold = any(
            variant.when.items() <= context.items()
            and (variant.constraint is None or variant.constraint.active(AT))
            for variant in model.price_variants
        )
        if cost.status is not PriceStatus.PARTIAL:
            assert cost.status is (PriceStatus.EXACT if sold else PriceStatus.FALLBACK)
        exact += cost.status is PriceStatus.EXACT
    assert exact >= 5


def test_the_committed_table_is_what_the_generator_makes(tmp_path: Path) -> None:
    made = tmp_path / "table.py"
    subprocess.run([sys.executable, str(ROOT / "tools/generate_prices.py"), str(made)], check=True)

    assert table.__file__ is not None
    assert made.read_text() == Path(table.__file__).read_text(), "run `make prices`"
