from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_cost.policy.decision import Action, OutageMode, OutagePolicy
from llm_cost_policy.engine import Spend, decide
from llm_cost_policy.policies import Rule, UnknownPrice, UnknownPriceMode

RULE = Rule(
    name="tier:free",
    note="",
    tier="free",
    limit_nano_usd=1_000,
    action=Action.BLOCK,
    warn_at_percents=(50, 80),
    unknown_price=UnknownPrice(),
    on_unavailable=OutagePolicy(OutageMode.BLOCK),
)
NOTHING = Spend(0, 0)


def test_one_nano_over_the_limit_is_blocked_and_holds_nothing() -> None:
    verdict = decide(RULE, Spend(900, 0), 101)

    assert verdict.enforced is Action.BLOCK
    assert verdict.hold_nano_usd == 0


def test_exactly_the_limit_is_admitted_with_a_warning() -> None:
    verdict = decide(RULE, Spend(900, 0), 100)

    assert verdict.enforced is Action.WARN
    assert verdict.threshold_percent == 80
    assert verdict.hold_nano_usd == 100


def test_what_others_hold_counts_against_the_limit() -> None:
    assert decide(RULE, Spend(0, 1_000), 1).enforced is Action.BLOCK


def test_a_dry_run_says_what_it_would_have_done_and_holds_the_estimate() -> None:
    verdict = decide(replace(RULE, action=Action.DRY_RUN), Spend(1_000, 0), 1)

    assert (verdict.enforced, verdict.judged) == (Action.DRY_RUN, Action.BLOCK)
    assert verdict.hold_nano_usd == 1
    assert "would block" in verdict.reason


def test_a_warn_rule_never_blocks() -> None:
    verdict = decide(replace(RULE, action=Action.WARN), Spend(5_000, 0), 1)

    assert (verdict.enforced, verdict.judged) == (Action.WARN, Action.WARN)


def test_a_blocked_call_does_not_reach_a_threshold() -> None:
    assert decide(RULE, NOTHING, 5_000).threshold_percent == 0


def test_below_every_threshold_is_plainly_allowed() -> None:
    assert decide(RULE, NOTHING, 499).enforced is Action.ALLOW


def test_without_a_limit_anything_passes() -> None:
    assert decide(replace(RULE, limit_nano_usd=None), Spend(10**18, 0), 10**18).enforced is (
        Action.ALLOW
    )


@pytest.mark.parametrize(
    ("unknown", "enforced", "hold_nano_usd"),
    [
        (UnknownPrice(UnknownPriceMode.DENY), Action.BLOCK, 0),
        (UnknownPrice(UnknownPriceMode.ALLOW), Action.ALLOW, 0),
        (UnknownPrice(UnknownPriceMode.CEILING, 400), Action.ALLOW, 400),
        (UnknownPrice(UnknownPriceMode.CEILING, 1_001), Action.BLOCK, 0),
    ],
)
def test_a_call_without_a_price_follows_its_rule(
    unknown: UnknownPrice, enforced: Action, hold_nano_usd: int
) -> None:
    verdict = decide(replace(RULE, unknown_price=unknown), NOTHING, None)

    assert verdict.enforced is enforced
    assert verdict.hold_nano_usd == hold_nano_usd


def test_the_reason_names_rule_amounts_and_limit() -> None:
    reason = decide(replace(RULE, limit_nano_usd=10**9), Spend(10**9, 0), 10**8).reason

    assert reason == (
        "tier:free: $1.0000 spent, $0.0000 held and $0.1000 for this call "
        "exceed the limit of $1.0000"
    )


AMOUNT = st.integers(min_value=0, max_value=2**62)


@given(AMOUNT, AMOUNT, AMOUNT, AMOUNT)
def test_a_block_rule_never_commits_more_than_its_limit(
    limit: int, posted: int, held: int, estimate: int
) -> None:
    verdict = decide(replace(RULE, limit_nano_usd=limit), Spend(posted, held), estimate)

    admitted = verdict.enforced is not Action.BLOCK
    assert admitted == (posted + held + estimate <= limit)
    assert verdict.reached_nano_usd == posted + held + (estimate if admitted else 0)
