"""The demo's verdict finds every kind of difference, and nothing in a good run."""

from dataclasses import replace

import pytest

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost_cli.demo.outcome import Outcome, Sums
from llm_cost_cli.demo.pages import closing
from llm_cost_cli.terminal import Style

FREE = pb.TierUsage(
    tier="free",
    users=1,
    calls=2,
    spent_nano_usd=500_000_000,
    limit_nano_usd=5_000_000_000,
    action=pb.ACTION_BLOCK,
    decisions=pb.DecisionCounts(allow=1, warn=1, block=3, dry_run=1),
)
ADA = pb.UserUsage(
    user_id="ada",
    tier="free",
    spent_nano_usd=500_000_000,
    limit_nano_usd=500_000_000,
    action=pb.ACTION_BLOCK,
    calls=2,
)
AGREED = Sums(
    served_nano_usd=500_000_000,
    served_calls=2,
    ledger_nano_usd=500_000_000,
    ledger_calls=2,
    spans_nano_usd=500_000_000,
    spans=2,
)
GOOD = Outcome(
    sums=AGREED,
    tiers=[FREE],
    users=[ADA],
    policy_version=1,
    period="2026-11",
    wanted_calls=5,
    seen_blocked=3,
    failed_calls=0,
    first_failure="",
    provider_refusals=1,
    seconds=2.0,
)


@pytest.mark.parametrize(
    "field",
    ["served_nano_usd", "ledger_nano_usd", "spans_nano_usd", "served_calls", "ledger_calls",
     "spans"],
)  # fmt: skip
def test_a_sum_that_is_one_off_is_found(field: str) -> None:
    sums = replace(AGREED, **{field: getattr(AGREED, field) + 1})

    (finding,) = replace(GOOD, sums=sums).findings()

    assert finding.startswith("the sums differ")
    assert "$0.500000000" in finding


def test_a_user_one_nano_over_a_limit_that_blocks_is_found() -> None:
    over = pb.UserUsage()
    over.CopyFrom(ADA)
    over.spent_nano_usd += 1

    (finding,) = replace(GOOD, users=[over]).findings()

    assert "ada spent $0.500000001, over the limit of $0.500000000" in finding


def test_a_user_over_a_limit_that_warns_is_no_finding() -> None:
    over = pb.UserUsage()
    over.CopyFrom(ADA)
    over.spent_nano_usd += 1
    over.action = pb.ACTION_WARN

    assert replace(GOOD, users=[over]).findings() == []


@pytest.mark.parametrize(
    ("kind", "said"), [("warn", "was warned"), ("block", "was blocked"), ("dry_run", "was dry-run")]
)
def test_a_rule_that_never_showed_itself_is_found(kind: str, said: str) -> None:
    tier = pb.TierUsage()
    tier.CopyFrom(FREE)
    setattr(tier.decisions, kind, 0)

    findings = replace(GOOD, tiers=[tier], seen_blocked=tier.decisions.block).findings()

    assert len(findings) == 1
    assert said in findings[0]


def test_failed_calls_and_refusals_that_nobody_counted_are_found() -> None:
    failed = replace(GOOD, failed_calls=2, first_failure="/search answered 500: oops")

    assert failed.findings() == ["2 calls failed; the first: /search answered 500: oops"]
    assert "refused 4 calls" in replace(GOOD, seen_blocked=4).findings()[0]


def test_a_good_run_has_no_findings_and_says_so() -> None:
    assert GOOD.findings() == []
    assert "✓ equal to the nano-USD" in closing(GOOD, Style())


def test_a_bad_run_is_not_called_good() -> None:
    bad = replace(GOOD, sums=replace(AGREED, spans=3))

    assert "✓" not in closing(bad, Style())
    assert "✗ the sums differ" in closing(bad, Style())
    assert bad.document()["findings"] == bad.findings()
