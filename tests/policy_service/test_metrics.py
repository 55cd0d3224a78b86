from prometheus_client import CollectorRegistry

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost_policy.metrics import LedgerCollector
from support.policy import USD, PolicyUnderTest, settlement


def scrape(service: PolicyUnderTest) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(service.ledger, cache_s=0))
    return registry


def decisions(registry: CollectorRegistry, decision: str, tier: str) -> float | None:
    return registry.get_sample_value(
        names.METRIC_POLICY_DECISIONS, {names.LABEL_DECISION: decision, names.LABEL_TIER: tier}
    )


def test_every_decision_of_every_tier_counts_from_zero(service: PolicyUnderTest) -> None:
    before = decisions(scrape(service), "block", "free")
    service.reserve("ada", 6 * USD)
    after = decisions(scrape(service), "block", "free")

    assert (before, after) == (0, 1)
    assert decisions(scrape(service), "dry_run", "enterprise") == 0


def test_no_counter_carries_a_user(service: PolicyUnderTest) -> None:
    service.settle(settlement(call_id.new(), USD))

    with_user = {
        metric.name
        for metric in scrape(service).collect()
        for sample in metric.samples
        if names.LABEL_USER_ID in sample.labels
    }
    assert with_user == {names.METRIC_TOP_USER_SPEND_USD}


def test_margin_is_revenue_less_spend(service: PolicyUnderTest) -> None:
    service.settle(settlement(call_id.new(), 3 * USD, user_id="ada", tier="pro"))
    service.settle(settlement(call_id.new(), 5 * USD, user_id="bo", tier="pro"))

    pro = {names.LABEL_TIER: "pro", names.LABEL_WINDOW: "month"}
    registry = scrape(service)
    assert registry.get_sample_value(names.METRIC_TIER_REVENUE_USD, pro) == 58
    assert registry.get_sample_value(names.METRIC_TIER_MARGIN_USD, pro) == 50
