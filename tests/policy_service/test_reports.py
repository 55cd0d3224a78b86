"""Reports against the same sums taken by hand."""

import random
from collections import defaultdict

from llm_cost import call_id
from llm_cost.money import round_half_even
from llm_cost.policy.v1 import policy_pb2 as pb
from support.policy import USD, PolicyUnderTest, settlement

Spend = dict[str, dict[str, list[int]]]  # by tier, by user: the calls' amounts


def _spend(service: PolicyUnderTest) -> Spend:
    seed = random.Random(7)
    spent: Spend = defaultdict(lambda: defaultdict(list))
    batch = pb.SettleBatchRequest()
    for _ in range(800):
        tier = seed.choice(["free", "pro", "gold"])
        user = f"{tier}-{seed.randrange(40)}"
        amount = seed.randrange(USD)
        spent[tier][user].append(amount)
        batch.settlements.append(settlement(call_id.new(), amount, user_id=user, tier=tier))
    service.policy.SettleBatch(batch)
    return spent


def _nearest_rank(values: list[int], percent: int) -> int:
    return sorted(values)[-(-len(values) * percent // 100) - 1]


def test_a_tier_report_equals_the_sums_by_hand(service: PolicyUnderTest) -> None:
    spent = _spend(service)
    report = {t.tier: t for t in service.policy.TierReport(pb.TierReportRequest()).tiers}

    for tier, users in spent.items():
        totals = [sum(amounts) for amounts in users.values()]
        calls = sum(len(amounts) for amounts in users.values())
        row = report[tier]
        limit = {"free": 5 * USD, "pro": 50 * USD, "gold": 5 * USD}[tier]
        assert (row.users, row.calls, row.spent_nano_usd) == (len(users), calls, sum(totals))
        assert row.avg_per_call_nano_usd == round_half_even(sum(totals), calls)
        assert row.avg_per_user_nano_usd == round_half_even(sum(totals), len(users))
        assert row.p50_per_user_nano_usd == _nearest_rank(totals, 50)
        assert row.p95_per_user_nano_usd == _nearest_rank(totals, 95)
        assert row.max_per_user_nano_usd == max(totals)
        assert row.limit_nano_usd == limit
        assert row.users_at_80_percent == sum(t * 100 >= limit * 80 for t in totals)
        assert row.users_at_100_percent == sum(t >= limit for t in totals)
    assert report["free"].users_at_80_percent > report["free"].users_at_100_percent > 0


def test_every_tier_of_the_policy_is_in_the_report_also_an_empty_one(
    service: PolicyUnderTest,
) -> None:
    report = service.policy.TierReport(pb.TierReportRequest(period="2026-10"))

    assert report.period == "2026-10"
    assert [(t.tier, t.users, t.plan_price_nano_usd) for t in report.tiers] == [
        ("free", 0, 0), ("pro", 0, 29 * USD), ("enterprise", 0, 499 * USD)
    ]  # fmt: skip
    assert report.tiers[2].action == pb.ACTION_DRY_RUN


def test_an_overridden_user_counts_against_their_own_limit(service: PolicyUnderTest) -> None:
    for user in ("ada", "bob"):
        service.settle(settlement(call_id.new(), 5 * USD, user_id=user))
    service.admin.PutOverride(
        pb.PutOverrideRequest(override=pb.Override(user_id="ada", limit_nano_usd=6 * USD))
    )
    row = service.policy.TierReport(pb.TierReportRequest()).tiers[0]

    assert (row.users_at_80_percent, row.users_at_100_percent) == (2, 1)


def test_decisions_and_unpriced_calls_are_in_the_report(service: PolicyUnderTest) -> None:
    service.reserve("ada", USD)
    service.reserve("ada", 9 * USD)
    service.reserve("max", 600 * USD, tier="enterprise")
    service.settle(settlement(call_id.new(), None))
    free, _, enterprise = service.policy.TierReport(pb.TierReportRequest()).tiers

    assert (free.decisions.allow, free.decisions.block, free.unpriced_calls) == (1, 1, 1)
    assert enterprise.decisions.dry_run == 1


def test_pages_of_users_are_the_whole_ranking_in_order(service: PolicyUnderTest) -> None:
    spent = _spend(service)
    for user in ("tie-a", "tie-b", "tie-c"):  # equal spend: by name
        service.settle(settlement(call_id.new(), 3 * USD, user_id=user))
    seen: list[tuple[int, str]] = []
    token = ""
    while True:
        page = service.policy.ListUsers(pb.ListUsersRequest(page_size=7, page_token=token))
        seen += [(u.spent_nano_usd, u.user_id) for u in page.users]
        token = page.next_page_token
        if not token:
            break

    by_hand = [(sum(a), u) for users in spent.values() for u, a in users.items()]
    by_hand += [(3 * USD, user) for user in ("tie-a", "tie-b", "tie-c")]
    assert seen == sorted(by_hand, key=lambda row: (-row[0], row[1]))


def test_users_of_one_tier_with_their_rule(service: PolicyUnderTest) -> None:
    _spend(service)
    users = service.policy.ListUsers(pb.ListUsersRequest(tier="gold")).users

    assert users
    assert {u.tier for u in users} == {"gold"}
    assert {u.rule for u in users} == {"default:gold"}


def test_a_user_without_a_call_has_an_empty_row(service: PolicyUnderTest) -> None:
    usage = service.usage("nobody")

    assert (usage.calls, usage.spent_nano_usd, usage.limit_nano_usd) == (0, 0, 5 * USD)
    assert usage.resets_at_unix_ms == 1_796_083_200_000


def test_a_refused_claim_of_another_tier_moves_nothing(service: PolicyUnderTest) -> None:
    service.settle(settlement(call_id.new(), 3 * USD, user_id="ada", tier="pro"))
    refused = service.reserve("ada", 9 * USD, tier="free")

    assert refused.decision.action == pb.ACTION_BLOCK
    assert service.usage("ada").tier == "pro"
