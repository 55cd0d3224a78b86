"""What `cost_of` promises: statuses, boundaries, bad input, bounds."""

import random
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_cost.money import round_half_even
from llm_cost.pricing import Cost, PriceStatus, buckets, cost_of, lookup, table
from llm_cost.pricing.catalog import BUNDLED, find
from llm_cost.pricing.compiled import MAX_COUNT, charges, general
from llm_cost.pricing.names import PROVIDER_ALIASES
from llm_cost.pricing.rows import read_rates
from llm_cost.pricing.straight_line import straight_line
from llm_cost.usage import Usage

EXACT, PARTIAL, FALLBACK, UNKNOWN = PriceStatus
TEXT = Usage(input_text_tokens=1_000, output_text_tokens=100)


def _price(usage: Usage, model: str, provider: str = "openai", **more: object) -> Cost:
    return cost_of(usage, provider=provider, model=model, **more)  # type: ignore[arg-type]  # as given


HOSTILE: list[dict[str, object]] = [
    {"provider": None},
    {"provider": 7},
    {"provider": b"openai"},
    {"provider": ["openai"]},
    {"model": None},
    {"model": {"gpt": 4}},
    {"model": "x" * 1_000_000},
    {"model": "\ud800"},
    {"usage": None},
    {"usage": (1, 2, 3)},
    {"usage": {"input_text_tokens": 5}},
    {"usage": Usage(input_text_tokens="many")},  # type: ignore[arg-type]  # hostile on purpose
    {"usage": Usage(output_text_tokens=1.5)},  # type: ignore[arg-type]  # hostile on purpose
    {"usage": Usage(web_searches=2.5)},  # type: ignore[arg-type]  # hostile on purpose
    {"usage": Usage(input_text_tokens=None)},  # type: ignore[arg-type]  # hostile on purpose
    {"at": "yesterday"},
    {"at": float("nan")},
    {"at": float("inf")},
    {"at": [1]},
    {"service_tier": 3},
    {"region": {"eu": 1}},
]


@pytest.mark.parametrize("odd", HOSTILE, ids=lambda odd: str(odd)[:40])
def test_wrong_types_are_unknown_and_never_raise(odd: dict[str, object]) -> None:
    given_ = {"usage": TEXT, "provider": "openai", "model": "gpt-4o", **odd}

    cost = cost_of(**given_)  # type: ignore[arg-type]  # hostile on purpose

    assert cost.status is UNKNOWN
    assert cost.total_nano_usd is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-not-yet"),
        ("openai", "my-gpt-4o"),
        ("openai", "ft:gpt-4.1"),
        ("openai", "ft:gpt-5-2025-08-07:acme::1"),
        ("openai", ""),
        ("", "gpt-4o"),
        ("nobody", "gpt-4o"),
        ("ibm.watsonx.ai", "granite"),
        ("azure", "gpt-4o-eu"),
    ],
)
def test_a_name_that_no_clause_matches_is_unknown_and_never_a_lookalike(
    provider: str, model: str
) -> None:
    assert _price(TEXT, model, provider) == Cost(None, 0, 0, 0, 0, 0, UNKNOWN, table.VERSION)


def test_negative_and_absurd_counts_are_clamped_and_marked() -> None:
    negative = _price(TEXT._replace(cache_read_text_tokens=-5), "gpt-4o")
    absurd = _price(Usage(input_text_tokens=10**30), "gpt-4o")

    assert (negative.total_nano_usd, negative.status) == (3_500_000, PARTIAL)
    assert (absurd.total_nano_usd, absurd.status) == (MAX_COUNT * 2_500, PARTIAL)


def test_the_largest_call_at_the_dearest_rates_fits_int64() -> None:
    largest = Usage(*([MAX_COUNT] * len(Usage._fields)))

    totals = [
        _price(largest, model).total_nano_usd for model in ("o1-pro", "gpt-4o", "gpt-5.4-pro")
    ]

    assert all(total is not None and 0 < total < 2**63 for total in totals)


# Computed by hand from the published rates in USD per million tokens.
VECTORS = [
    # gpt-4o 2.50 / 1.25 cached / 10: 1000*2500 + 500*1250 + 320*10000
    (
        "openai",
        "gpt-4o",
        Usage(1000, cache_read_text_tokens=500, output_text_tokens=320),
        6_325_000,
    ),
    # gpt-4o-mini 0.15 / 0.075 / 0.60: 1*150 + 1*75 + 1*600
    ("openai", "gpt-4o-mini", Usage(1, cache_read_text_tokens=1, output_text_tokens=1), 825),
    # claude-sonnet-4-5 3 / 0.30 read / 3.75 5m / 6 1h / 15; 10 USD per 1000 searches
    (
        "anthropic",
        "claude-sonnet-4-5-20250929",
        Usage(
            input_text_tokens=100,
            cache_read_text_tokens=2_000,
            cache_write_tokens=300,
            cache_write_1h_tokens=400,
            output_text_tokens=50,
            web_searches=2,
        ),
        300_000 + 600_000 + 1_125_000 + 2_400_000 + 750_000 + 20_000_000,
    ),
    # gemini-2.5-pro 1.25 / 10, above 200k input tokens 2.50 / 15 for all of them
    ("google", "gemini-2.5-pro", Usage(200_000, output_text_tokens=10), 250_000_000 + 100_000),
    ("google", "gemini-2.5-pro", Usage(200_001, output_text_tokens=10), 500_002_500 + 150_000),
    # ft:gpt-4.1-mini 0.80 / 0.20 cached / 3.20, a row of the overlay
    (
        "openai",
        "ft:gpt-4.1-mini-2025-04-14:acme::Bx1",
        Usage(1_000, cache_read_text_tokens=500, output_text_tokens=10),
        800_000 + 100_000 + 32_000,
    ),
    # whisper-1 0.36 an hour: 90 s
    ("openai", "whisper-1", Usage(input_audio_ms=90_000), 9_000_000),
    # Groq bills ten seconds at least: 0.111 an hour
    ("groq", "whisper-large-v3", Usage(input_audio_ms=1_000), 308_333),
]


@pytest.mark.parametrize(("provider", "model", "usage", "nano_usd"), VECTORS)
def test_hand_checked_vectors(provider: str, model: str, usage: Usage, nano_usd: int) -> None:
    cost = _price(usage, model, provider)

    assert (cost.total_nano_usd, cost.status) == (nano_usd, EXACT)


STATUSES = [
    (TEXT, "gpt-4o", "openai", {}, EXACT),
    (TEXT, "gpt-4o", "openai", {"service_tier": "default"}, EXACT),
    (TEXT, "gpt-4o", "openai", {"service_tier": "batch"}, EXACT),
    (TEXT, "gpt-4o", "openai", {"service_tier": "scale"}, FALLBACK),
    (TEXT, "gpt-4o", "openai", {"region": "eu"}, FALLBACK),
    (TEXT, "gpt-4o", "openai", {"region": "global"}, EXACT),
    (TEXT, "gpt-5.6-sol-pro", "azure.ai.openai", {}, UNKNOWN),
    (TEXT, "claude-sonnet-4-5", "azure.ai.inference", {}, FALLBACK),
    (TEXT, "gemini-2.5-flash", "gcp.gemini", {"service_tier": "ON_DEMAND"}, EXACT),
    (TEXT, "gemini-2.5-flash", "gcp.vertex_ai", {"service_tier": "ON_DEMAND_FLEX"}, FALLBACK),
    (Usage(5, input_audio_tokens=5), "gpt-4o", "openai", {}, PARTIAL),
    (Usage(5, input_image_tokens=5), "gpt-4o", "openai", {}, EXACT),
    (Usage(5, images=1), "gpt-4o", "openai", {}, PARTIAL),
    (Usage(5, cache_write_tokens=5), "gpt-4o", "openai", {}, PARTIAL),
    (Usage(images=1), "gpt-4o", "openai", {}, UNKNOWN),
    (TEXT, "whisper-1", "openai", {}, UNKNOWN),
    (TEXT._replace(input_audio_ms=1_000), "whisper-1", "openai", {}, PARTIAL),
]


@pytest.mark.parametrize(("usage", "model", "provider", "more", "status"), STATUSES)
def test_statuses(
    usage: Usage, model: str, provider: str, more: dict[str, str], status: PriceStatus
) -> None:
    assert _price(usage, model, provider, **more).status is status


def test_the_batch_tier_costs_half_and_an_unsold_tier_the_standard_price() -> None:
    standard = _price(TEXT, "gpt-4o").total_nano_usd

    assert standard == 3_500_000
    assert _price(TEXT, "gpt-4o", service_tier="batch").total_nano_usd == 1_750_000
    assert _price(TEXT, "gpt-4o", service_tier="scale").total_nano_usd == standard


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("openai", "openai"),
        ("anthropic", "anthropic"),
        ("aws.bedrock", "aws"),
        ("azure.ai.inference", "azure"),
        ("azure.ai.openai", "azure"),
        ("cohere", "cohere"),
        ("deepseek", "deepseek"),
        ("fireworks_ai", "fireworks"),
        ("gcp.gemini", "google"),
        ("gcp.gen_ai", "google"),
        ("gcp.vertex_ai", "google"),
        ("groq", "groq"),
        ("ibm.watsonx.ai", None),
        ("mistral_ai", "mistral"),
        ("moonshot_ai", "moonshotai"),
        ("perplexity", "perplexity"),
        ("x_ai", "x-ai"),
        (" OpenAI ", "openai"),
    ],
)
def test_provider_names_of_the_conventions(name: str, found: str | None) -> None:
    assert BUNDLED.provider_id(name) == found


def test_aliases_lead_to_providers_that_exist() -> None:
    assert set(PROVIDER_ALIASES.values()) <= set(table.PROVIDERS)


@pytest.mark.parametrize(
    ("provider", "spelling", "model"),
    [
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-4o-20241120", "gpt-4o"),
        ("openai", "gpt-4o-2024-11-20", "gpt-4o"),
        ("google", "models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("litellm", "openai/gpt-4o", "gpt-4o"),
    ],
)
def test_spellings_of_a_model(provider: str, spelling: str, model: str) -> None:
    found = find(BUNDLED, provider, spelling)

    assert found is not None
    assert found.row.model == model


def _nano(day: datetime, model: str, provider: str) -> int | None:
    return _price(TEXT, model, provider, at=day).total_nano_usd


def test_a_price_changes_at_midnight_utc_of_its_first_day_and_not_a_second_before() -> None:
    start = datetime(2026, 4, 1, tzinfo=UTC).timestamp()

    before = _price(TEXT, "deepseek-chat", "deepseek", at=start - 1)
    after = _price(TEXT, "deepseek-chat", "deepseek", at=start)
    before_again = _price(TEXT, "deepseek-chat", "deepseek", at=start - 0.5)

    assert after.total_nano_usd == 280_000 + 42_000
    assert after.price_version == "overlay.2026-11-24"
    assert before == before_again != after
    assert before.price_version == table.VERSION


def test_an_off_peak_hour_begins_and_ends_on_the_second() -> None:
    def at(hour: int, minute: int, second: int) -> int | None:
        return _nano(
            datetime(2025, 3, 1, hour, minute, second, tzinfo=UTC), "deepseek-chat", "deepseek"
        )

    night, day = 135_000 + 55_000, 270_000 + 110_000

    assert [at(0, 29, 59), at(0, 30, 0), at(16, 29, 59), at(16, 30, 0)] == [night, day, day, night]


def test_a_datetime_without_a_zone_is_utc() -> None:
    aware = datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)

    assert _nano(aware.replace(tzinfo=None), "deepseek-chat", "deepseek") == _nano(
        aware, "deepseek-chat", "deepseek"
    )


def test_overlay_rows_and_factors() -> None:
    spoken = Usage(input_audio_tokens=1_000, output_audio_tokens=1_000)
    us = _price(TEXT, "claude-opus-4-8", "anthropic", region="us")
    fast = _price(TEXT, "claude-opus-4-6", "anthropic", service_tier="fast")

    assert _price(spoken, "gpt-4o-audio-preview").total_nano_usd == 120_000_000
    assert (us.total_nano_usd, us.status) == (5_500_000 + 2_750_000, EXACT)
    assert (fast.total_nano_usd, fast.status) == (30_000_000 + 15_000_000, EXACT)


decimals = st.decimals(0, 100, places=7, allow_nan=False).map(lambda usd: format(usd, "f"))
keys = sorted(buckets.PRICE_KEYS)
rates = st.dictionaries(
    st.sampled_from(keys),
    st.one_of(decimals, st.builds(lambda base, usd: [base, [200_000, usd]], decimals, decimals)),
)
TEXT_BUCKETS = (
    "input_text_tokens", "cache_read_text_tokens", "cache_write_tokens", "cache_write_1h_tokens",
    "output_text_tokens", "output_reasoning_tokens",
)  # fmt: skip


def _usages(names: tuple[str, ...], smallest: int) -> st.SearchStrategy[Usage]:
    counts = st.one_of(st.just(0), st.integers(smallest, 3_000_000))
    return st.builds(Usage, **dict.fromkeys(names, counts))


usages = st.one_of(
    _usages(TEXT_BUCKETS, 0),
    _usages(Usage._fields, 0),
    _usages(Usage._fields, -3),
    st.sampled_from(Usage._fields).map(lambda name: Usage(**{name: MAX_COUNT})),
    st.sampled_from(Usage._fields).map(lambda name: Usage(**{name: MAX_COUNT + 1})),
)


@settings(max_examples=500, deadline=None)
@given(usage=usages, raw=rates, least_ms=st.sampled_from([0, 10_000]))
def test_the_straight_line_equals_the_general_function_and_parts_add_up(
    usage: Usage, raw: dict[str, object], least_ms: int
) -> None:
    paid = charges(read_rates(raw), status=EXACT, version="v", minimum_audio_ms=least_ms)

    cost = straight_line(paid)(usage)

    assert cost == general(paid)(usage)
    assert (cost.total_nano_usd is None) == (cost.status is UNKNOWN)
    assert (cost.total_nano_usd or 0) == sum(cost[1:6])


@pytest.mark.parametrize("numerator", range(12))
@pytest.mark.parametrize("denominator", [1, 2, 4, 5, 8, 1_000])
def test_the_straight_line_rounds_by_the_one_rule(numerator: int, denominator: int) -> None:
    # One token at so many nano-USD, whatever the power of ten between the two.
    usd = format(Decimal(numerator) / denominator / 1_000, "f")
    paid = charges(read_rates({"input_mtok": usd}), status=EXACT, version="v")

    cost = straight_line(paid)(Usage(input_text_tokens=1))

    assert cost.input_nano_usd == round_half_even(numerator, denominator)


@settings(max_examples=100, deadline=None)
@given(tokens=st.integers(0, 2_000_000), usd=decimals)
def test_one_component_is_the_exact_product_rounded_half_to_even(tokens: int, usd: str) -> None:
    paid = charges(read_rates({"input_mtok": usd}), status=EXACT, version="v")

    cost = straight_line(paid)(Usage(input_text_tokens=tokens))

    assert cost.input_nano_usd == round(Fraction(usd) * 1_000 * tokens)


def test_names_are_kept_within_a_bound_whatever_tenants_send() -> None:
    for number in range(3 * lookup.MAX_CACHED_NAMES):
        _price(TEXT, f"no-such-model-{number}")
        _price(TEXT, "gpt-4o")

    assert len(lookup.in_use()) <= 2 * lookup.MAX_CACHED_NAMES
    assert len(lookup.in_use().recent) <= lookup.MAX_CACHED_NAMES
    assert "gpt-4o" in lookup.in_use().recent
    assert _price(TEXT, "gpt-4o").total_nano_usd == 3_500_000


def test_threads_see_right_prices_while_names_and_moments_change() -> None:
    moments = [datetime(2026, month, 1, tzinfo=UTC).timestamp() for month in (3, 5)]
    expected = [_price(TEXT, "deepseek-chat", "deepseek", at=at) for at in moments]
    wrong: list[Cost] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for number in range(1_500):
            index = chance.randrange(2)
            cost = _price(TEXT, "deepseek-chat", "deepseek", at=moments[index])
            if cost != expected[index]:
                wrong.append(cost)
            _price(TEXT, f"thread-{seed}-{number}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong


def test_the_rules_stand_in_the_order_of_the_buckets() -> None:
    assert tuple(buckets.RULES) == Usage._fields


def test_an_application_imports_neither_the_source_of_the_data_nor_its_dependencies() -> None:
    code = (
        "import sys; before = set(sys.modules); import llm_cost.pricing as p; "
        "from llm_cost.usage import Usage; p.cost_of(Usage(5), provider='openai', model='gpt-4o'); "
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert "llm_cost" in loaded
    assert not {"pydantic", "httpx", "httpx2", "genai_prices"} & set(loaded)
    assert not {"grpc", "opentelemetry", "wrapt", "fractions"} & set(loaded)


def test_spellings_of_one_row_share_one_compiled_function() -> None:
    before = straight_line.cache_info().misses
    for number in range(50):
        _price(TEXT, f"claude-opus-4-8-2026{number:04}", "anthropic")

    assert straight_line.cache_info().misses - before <= 1
