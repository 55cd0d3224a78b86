"""The outage rule alone: allowances to the nano-USD, sticky blocks, bounded memory."""

from datetime import UTC, datetime, timedelta

import pytest

from llm_cost.policy import outage
from llm_cost.policy.decision import Action, Decision, Identity, OutageMode, OutagePolicy
from llm_cost.policy.outage import OutageRules
from support.policy_calls import reservation

NOW = datetime(2026, 11, 24, tzinfo=UTC)
FREE = Identity(user_id="anna", tier="free")
UP_TO_2500 = OutagePolicy(OutageMode.ALLOW_UP_TO, 2_500)
ALLOWED = Decision(action=Action.ALLOW, would_be=Action.ALLOW)


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


def rules_of(policy: OutagePolicy, clock: Clock | None = None) -> OutageRules:
    return OutageRules(lambda tier: policy, clock or Clock())


def actions(rules: OutageRules, *estimates_nano_usd: int | None) -> list[Action]:
    return [
        rules.judge(reservation(FREE, estimate_nano_usd=e), "away").action
        for e in estimates_nano_usd
    ]


def blocked_until(resets_at: datetime | None) -> Decision:
    return Decision(
        action=Action.BLOCK, would_be=Action.BLOCK, reason="over the limit", resets_at=resets_at
    )


def test_a_call_without_a_price_gets_nothing_of_an_allowance() -> None:
    assert actions(rules_of(UP_TO_2500), None) == [Action.BLOCK]


def test_an_allowance_is_spent_to_the_nano_usd_and_no_further() -> None:
    rules = rules_of(UP_TO_2500)

    assert actions(rules, 1_000, 1_000, 501, 500, 1) == [
        Action.ALLOW, Action.ALLOW, Action.BLOCK, Action.ALLOW, Action.BLOCK,
    ]  # fmt: skip


def test_an_allowance_is_per_user() -> None:
    rules = rules_of(UP_TO_2500)
    actions(rules, 2_500)

    other = rules.judge(reservation(Identity(user_id="ben"), estimate_nano_usd=2_500), "away")

    assert other.action is Action.ALLOW


def test_an_answer_ends_the_outage_and_renews_allowances() -> None:
    rules = rules_of(UP_TO_2500)
    actions(rules, 2_500)
    rules.answered(reservation(FREE), ALLOWED, "free", None)

    assert actions(rules, 2_500) == [Action.ALLOW]


def test_users_beyond_what_can_be_counted_are_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_ALLOWANCES_KEPT", 2)
    rules = rules_of(UP_TO_2500)

    judged = [
        rules.judge(reservation(Identity(user_id=f"u{n}"), estimate_nano_usd=1), "away").action
        for n in (1, 2, 3, 1)
    ]

    assert judged == [Action.ALLOW, Action.ALLOW, Action.BLOCK, Action.ALLOW]


def test_a_block_lasts_until_the_window_ends() -> None:
    clock = Clock()
    rules = rules_of(OutagePolicy(OutageMode.ALLOW), clock)
    rules.answered(reservation(FREE), blocked_until(NOW + timedelta(hours=1)), "free", None)
    before = actions(rules, 1)
    clock.now = NOW + timedelta(hours=1)

    assert (before, actions(rules, 1)) == ([Action.BLOCK], [Action.ALLOW])


def test_a_block_without_an_end_lasts_until_an_answer_says_otherwise() -> None:
    rules = rules_of(OutagePolicy(OutageMode.ALLOW))
    rules.answered(reservation(FREE), blocked_until(None), "free", None)
    before = actions(rules, 1)
    rules.answered(reservation(FREE), ALLOWED, "free", None)

    assert (before, actions(rules, 1)) == ([Action.BLOCK], [Action.ALLOW])


def test_a_call_blocked_for_its_unknown_price_does_not_condemn_the_user() -> None:
    rules = rules_of(OutagePolicy(OutageMode.ALLOW))
    unpriced = reservation(FREE, estimate_nano_usd=None)
    rules.answered(unpriced, blocked_until(None), "free", None)

    assert actions(rules, 1) == [Action.ALLOW]


def test_the_tier_that_the_service_books_names_the_rule_and_not_the_claimed_one() -> None:
    rules = rules_of(OutagePolicy(OutageMode.BLOCK))
    rules.answered(reservation(FREE), ALLOWED, "vip", OutagePolicy(OutageMode.ALLOW))
    other = rules.judge(reservation(Identity(user_id="ben", tier="free")), "away")

    assert actions(rules, 1) == [Action.ALLOW]
    assert other.action is Action.BLOCK


def test_remembered_users_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_USERS_KEPT", 3)
    rules = rules_of(OutagePolicy(OutageMode.ALLOW))
    for n in range(10):
        asked = reservation(Identity(user_id=f"u{n}", tier="free"))
        rules.answered(asked, blocked_until(None), "free", None)

    judged = [
        rules.judge(reservation(Identity(user_id=f"u{n}", tier="free")), "away").action
        for n in range(10)
    ]

    assert judged.count(Action.BLOCK) == 3


def test_a_decision_of_an_outage_says_so() -> None:
    decision = rules_of(OutagePolicy(OutageMode.ALLOW)).judge(reservation(FREE), "it is away")

    assert (decision.available, decision.rule) == (False, "outage:allow")
    assert "it is away" in decision.reason
