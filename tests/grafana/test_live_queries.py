"""Every query of every panel against a real Prometheus that scrapes known spend."""

import time
from collections.abc import Iterator

import pytest

from llm_cost import attributes as names
from llm_cost_dashboards import queries
from support import known_spend
from support.dashboards import EVERY_TARGET, Target, ask, filled_in, target_of
from support.known_spend import DECISIONS_PER_S, STREAMS, TIERS
from support.prometheus import Prometheus, prometheus

SCRAPES_NEEDED = 7
TIER_TABLE = "Cost to serve by tier, this month"
TOP_USERS = "Top 10 users by spend, this month"


@pytest.fixture(scope="module")
def server() -> Iterator[Prometheus]:
    with known_spend.serving() as target, prometheus([target]) as running:
        running.wait_for(f"count_over_time(up[1m]) >= {SCRAPES_NEEDED}")
        yield running


def _by_tier(server: Prometheus, ref_id: str) -> dict[str, float]:
    answers = ask(server, target_of(TIER_TABLE, ref_id), end=time.time())
    return {answer.labels[names.LABEL_TIER]: answer.value for answer in answers}


def _last(server: Prometheus, panel: str, ref_id: str, label: str) -> dict[str, float]:
    answers = ask(server, target_of(panel, ref_id), end=time.time())
    return {answer.labels.get(label, ""): answer.value for answer in answers}


def test_an_expression_that_prometheus_refuses_fails_with_its_reason(server: Prometheus) -> None:
    with pytest.raises(AssertionError, match="parse error"):
        server.instant("sum(")


@pytest.mark.parametrize("target", EVERY_TARGET, ids=str)
def test_every_query_of_every_panel_has_data(server: Prometheus, target: Target) -> None:
    answers = ask(server, target, end=time.time())

    assert answers, f"{target} shows nothing: {filled_in(target.expression)}"
    assert all(answer.value == answer.value for answer in answers), f"{target} shows NaN"


def test_the_tier_table_shows_what_each_tier_costs_and_brings(server: Prometheus) -> None:
    assert _by_tier(server, "users") == {t.name: t.users for t in TIERS}
    assert _by_tier(server, "calls") == {t.name: t.calls for t in TIERS}
    assert _by_tier(server, "spend") == {t.name: t.spend_usd for t in TIERS}
    assert _by_tier(server, "average") == {t.name: t.average_usd for t in TIERS}
    assert _by_tier(server, "p95") == {t.name: t.p95_usd for t in TIERS}
    assert _by_tier(server, "costliest") == {t.name: t.max_usd for t in TIERS}
    assert _by_tier(server, "revenue") == {t.name: t.revenue_usd for t in TIERS}
    assert _by_tier(server, "margin") == {"free": -50.0, "pro": 580.0, "enterprise": 1850.0}


def test_a_tier_without_a_limit_has_no_share_of_one(server: Prometheus) -> None:
    assert _by_tier(server, "limit") == {"free": 1.0, "pro": 20.0}
    assert _by_tier(server, "costliest_share") == pytest.approx({"free": 1.0, "pro": 0.92})
    assert _by_tier(server, "average_share") == pytest.approx({"free": 0.25, "pro": 0.275})


def test_users_near_and_at_their_limit_are_counted(server: Prometheus) -> None:
    assert _by_tier(server, "at_80") == {"free": 31, "pro": 3, "enterprise": 0}
    assert _by_tier(server, "at_100") == {"free": 12, "pro": 0, "enterprise": 0}


def test_the_ten_costliest_users_are_shown_with_their_share(server: Prometheus) -> None:
    spend = _last(server, TOP_USERS, "spend", names.LABEL_USER_ID)
    share = _last(server, TOP_USERS, "share", names.LABEL_USER_ID)

    assert spend == {f"user-{r:04}": known_spend.TOP_USERS_SPEND_USD[r] for r in range(10)}
    assert share == pytest.approx({user: spend[user] / 20 for user in list(share)})
    assert set(share) == {f"user-{r:04}" for r in range(5, 10)}, "enterprise has no limit"


def test_spend_this_month_is_the_ledgers_sum(server: Prometheus) -> None:
    (month,) = ask(server, target_of("Spend this month", "value"), end=time.time())

    assert month.value == 50.0 + 220.0 + 650.0


def test_spend_in_range_is_all_that_was_counted(server: Prometheus) -> None:
    now = time.time()

    (shown,) = ask(server, target_of("Spend in range", "value"), end=now)
    (counted,) = server.instant(f"sum({names.METRIC_COST_USD})", at=now)
    assert shown.value == pytest.approx(counted.value)
    assert shown.value > 0


def test_the_run_rate_is_the_pace_of_an_hour(server: Prometheus) -> None:
    (shown,) = ask(server, target_of("Run rate per hour", "value"), end=time.time())

    assert shown.value == pytest.approx(3600 * sum(s.usd_per_s for s in STREAMS), rel=0.05)


def test_spend_per_hour_adds_up_by_tier_and_by_group(server: Prometheus) -> None:
    by_tier = _last(server, "Spend per hour by tier", "spend", names.LABEL_TIER)
    by_group = _last(server, "Spend per hour by group", "spend", names.LABEL_GROUP)

    assert by_tier == pytest.approx(
        {t.name: 3600 * sum(s.usd_per_s for s in STREAMS if s.tier == t.name) for t in TIERS},
        rel=0.05,
    )
    assert queries.WITHOUT in by_group, "calls without a group are shown, not dropped"
    assert sum(by_group.values()) == pytest.approx(sum(by_tier.values()), rel=0.05)


def test_dry_runs_stand_apart_from_what_was_enforced(server: Prometheus) -> None:
    panel = "Policy decisions per minute"
    enforced = _last(server, panel, "enforced", names.LABEL_DECISION)
    dry_run = _last(server, panel, "dry_run", names.LABEL_DECISION)

    assert set(enforced) == {"allow", "warn", "block"}
    assert dry_run == pytest.approx({"dry_run": 60 * DECISIONS_PER_S["pro", "dry_run"]}, rel=0.05)


def test_blocked_calls_leave_dry_runs_out(server: Prometheus) -> None:
    now = time.time()

    (shown,) = ask(server, target_of("Blocked calls", "value"), end=now)
    (counted,) = server.instant(f'{names.METRIC_POLICY_DECISIONS}{{decision="block"}}', at=now)
    assert shown.value == pytest.approx(counted.value)


def test_choosing_a_tier_leaves_the_others_out(server: Prometheus) -> None:
    expression = target_of("Spend per hour by tier", "spend").expression

    answers = server.instant(filled_in(expression, chosen={"tier": "free|pro"}))

    assert {answer.labels[names.LABEL_TIER] for answer in answers} == {"free", "pro"}
