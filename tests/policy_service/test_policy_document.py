import pytest

from llm_cost.policy.decision import Action, OutageMode
from llm_cost_policy.periods import Window
from llm_cost_policy.policies import UnknownPriceMode
from llm_cost_policy.policy_document import (
    LARGEST_DOCUMENT_BYTES,
    PolicyDocumentError,
    example_document,
    parse_policy,
)

ONE_TIER = "default_tier: free\ntiers: {free: {%s}}"


def _errors(document: str) -> tuple[str, ...]:
    with pytest.raises(PolicyDocumentError) as refused:
        parse_policy(document)
    return refused.value.errors


def test_every_error_is_told_at_once_with_path_and_value() -> None:
    errors = _errors(
        "time_zone: Mars/Olympus\nwindow: year\ndefault_tier: gold\nlimits: 3\n"
        "tiers: {free: {limit: -5, action: stop, warn_at: [0], on_unavailable: maybe, price: 1}}"
    )

    told = "\n".join(errors)
    for path, value in [
        ("time_zone", "Mars/Olympus"), ("window", "year"), ("default_tier", "gold"),
        ("limits", "limits"), ("tiers.free.limit", "-5"), ("tiers.free.action", "stop"),
        ("tiers.free.warn_at[0]", "0"), ("tiers.free.on_unavailable", "maybe"),
        ("tiers.free.price", "price"),
    ]:  # fmt: skip
        assert f"{path}: '{value}'" in told
    assert len(errors) == 9


@pytest.mark.parametrize(
    "fields",
    ["limit: nan", "limit: inf", "limit: 0.0000000001", "limit: 1e30", "limit: [5]", "limit: five",
     "unknown_price: ceiling", "unknown_price: ceiling:x", "on_unavailable: {allow_up_to: -1}",
     "on_unavailable: {allow_up_to: 1, block: 2}", "warn_at: 80", "warn_at: [101]",
     "warn_at: [80.5]", "limit: 5, limit: 6"],
)  # fmt: skip
def test_a_field_that_cannot_be_read_is_refused(fields: str) -> None:
    assert len(_errors(ONE_TIER % fields)) == 1


@pytest.mark.parametrize(
    "document", ["", "- a", "tiers: [", "a: !!python/object:os.system x", "[" * 5_000, "tiers: {}"]
)
def test_what_is_no_policy_is_refused(document: str) -> None:
    assert _errors(document)


def test_a_document_beyond_the_limit_is_refused_unread() -> None:
    assert _errors("#" * (LARGEST_DOCUMENT_BYTES + 1)) == (
        f"the document is larger than {LARGEST_DOCUMENT_BYTES} bytes",
    )


def test_amounts_are_exact_however_they_are_written() -> None:
    for written in ("5.10", "'5.10'", "$5.10", "5.1"):
        policy = parse_policy(ONE_TIER % f"limit: {written}")
        assert policy.tiers["free"].limit_nano_usd == 5_100_000_000


@pytest.mark.parametrize("written", ["limit: none", "limit:", "limit: ~", "action: warn"])
def test_no_limit_is_no_limit(written: str) -> None:
    assert parse_policy(ONE_TIER % written).tiers["free"].limit_nano_usd is None


def test_the_shipped_example_says_what_its_comments_say() -> None:
    policy = parse_policy(example_document())
    free, pro, enterprise = (policy.tiers[name] for name in ("free", "pro", "enterprise"))

    assert (policy.zone.key, policy.window, policy.default_tier) == ("UTC", Window.MONTH, "free")
    assert (free.limit_nano_usd, free.action) == (5 * 10**9, Action.BLOCK)
    assert free.on_unavailable.mode is OutageMode.BLOCK
    assert free.plan_price_nano_usd == 0
    assert (pro.limit_nano_usd, pro.action) == (50 * 10**9, Action.WARN)
    assert pro.on_unavailable.allowance_nano_usd == 250_000_000
    assert enterprise.action is Action.DRY_RUN
    assert enterprise.on_unavailable.mode is OutageMode.ALLOW
    assert {tier.warn_at_percents for tier in policy.tiers.values()} == {(80,)}


def test_a_ceiling_and_thresholds_are_read() -> None:
    tier = parse_policy(ONE_TIER % "unknown_price: ceiling:0.05, warn_at: [90, 50%, 90]").tiers[
        "free"
    ]

    assert tier.unknown_price.mode is UnknownPriceMode.CEILING
    assert tier.unknown_price.ceiling_nano_usd == 50_000_000
    assert tier.warn_at_percents == (50, 90)
