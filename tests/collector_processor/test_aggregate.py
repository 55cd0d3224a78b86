"""The bounds of the metrics."""

from prometheus_client import CollectorRegistry, generate_latest

from llm_cost import attributes as names
from llm_cost_processor.aggregate import MAX_TIERS, Aggregate
from llm_cost_processor.batch import Enricher
from llm_cost_processor.dialects import SubjectNames
from llm_cost_processor.enrich import LlmCall
from llm_cost_processor.exposition import AggregateCollector
from support.otlp_traffic import OPENAI_CALL, Plain, request, span


def call(number: int = 1, **attributes: Plain) -> LlmCall:
    said = {name.replace("__", "."): value for name, value in attributes.items()}
    payload = request([span(OPENAI_CALL | said, number=number)]).SerializeToString()
    [found] = Enricher(SubjectNames()).enrich(payload).calls
    return found


def test_further_series_go_to_their_tier_s_overflow_and_no_money_is_lost() -> None:
    aggregate = Aggregate(max_series=3)

    aggregate.add(call(n, llm_cost__group=f"group {n}") for n in range(1, 11))

    series = aggregate.snapshot()
    assert len(series) == 4
    overflow = dict(series)[("free", "other", "other", "other", "other")]
    assert overflow.calls == 7
    assert sum(sums.cost_nano_usd for _, sums in series) == 10 * 270_000


def test_even_tiers_without_end_are_bounded() -> None:
    aggregate = Aggregate(max_series=2)

    for n in range(1, 200):
        aggregate.add([call(n, **{names.USER_TIER: f"tier {n}"})])

    assert len(aggregate.snapshot()) <= 2 + MAX_TIERS + 1
    assert sum(sums.calls for _, sums in aggregate.snapshot()) == 199


def test_a_repeat_within_the_window_is_counted_once() -> None:
    aggregate = Aggregate(dedup_window_calls=10)
    first = call(1)
    assert aggregate.add([first]) == 0

    aggregate.add(call(n) for n in range(2, 11))

    assert aggregate.add([first]) == 1
    assert sum(sums.calls for _, sums in aggregate.snapshot()) == 10


def test_no_user_id_is_ever_exposed_and_unsaid_tiers_are_visible() -> None:
    aggregate = Aggregate()
    aggregate.add([call(1, **{names.USER_ID: "secret-user", names.USER_TIER: ""})])
    registry = CollectorRegistry()
    registry.register(AggregateCollector(aggregate))

    text = generate_latest(registry).decode()

    assert "secret-user" not in text
    assert "llm_cost_usd_total{" in text
    assert 'tier="unattributed"' in text


def test_a_hostile_label_is_escaped() -> None:
    aggregate = Aggregate()
    aggregate.add([call(1, **{names.USER_TIER: 'a"\n} 1'})])
    registry = CollectorRegistry()
    registry.register(AggregateCollector(aggregate))

    assert r'tier="a\"\n} 1"' in generate_latest(registry).decode()
