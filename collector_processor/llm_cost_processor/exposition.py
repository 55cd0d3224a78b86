"""The aggregate as Prometheus metrics. Floats appear here, where they are printed."""

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from llm_cost import attributes as names
from llm_cost.money import usd_display
from llm_cost_processor.aggregate import DURATION_BUCKETS_S, TOKEN_KINDS, Aggregate, Labels, Series

LABELS: Final = (
    names.LABEL_TIER,
    names.LABEL_PROVIDER,
    names.LABEL_MODEL,
    names.LABEL_GROUP,
    names.LABEL_OPERATION,
)
_BUCKET_BOUNDS: Final = (*(str(bound) for bound in DURATION_BUCKETS_S), "+Inf")


class AggregateCollector(Collector):
    """Reads the aggregate whenever it is scraped."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._aggregate = aggregate

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that registering scrapes nothing."""
        return _families([])

    def collect(self) -> Iterable[Metric]:
        """Return every family with one sample per series."""
        return _families(self._aggregate.snapshot())


def _families(series: list[tuple[Labels, Series]]) -> Iterator[Metric]:
    cost = CounterMetricFamily(names.METRIC_COST_USD, "Spend on LLM calls in USD.", labels=LABELS)
    calls = CounterMetricFamily(names.METRIC_CALLS, "LLM calls.", labels=LABELS)
    tokens = CounterMetricFamily(
        names.METRIC_TOKENS,
        "Tokens by exclusive kind: the kinds add up.",
        labels=(*LABELS, names.LABEL_KIND),
    )
    unpriced = CounterMetricFamily(
        names.METRIC_UNPRICED_CALLS,
        "LLM calls whose cost is unknown, which is not zero.",
        labels=(*LABELS, names.LABEL_REASON),
    )
    duration = HistogramMetricFamily(
        names.METRIC_CALL_DURATION, "Duration of LLM calls.", labels=LABELS
    )
    for labels, sums in series:
        cost.add_metric(labels, usd_display(sums.cost_nano_usd))
        calls.add_metric(labels, sums.calls)
        for kind, count in zip(TOKEN_KINDS, sums.tokens, strict=True):
            tokens.add_metric((*labels, kind), count)
        for reason, count in sums.unpriced.items():
            unpriced.add_metric((*labels, reason), count)
        duration.add_metric(labels, _cumulative(sums.duration_counts), sum_value=sums.duration_s)
    yield from (cost, calls, tokens, unpriced, duration)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(_BUCKET_BOUNDS, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
