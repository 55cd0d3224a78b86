"""An exposition of the system's metrics with values known beforehand, under the declared names.

Counters grow steadily with time, so their rates are known too; gauges stand still.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from llm_cost import attributes as names


@dataclass(frozen=True)
class Tier:
    """A row of the ledger's tier report; None where the tier has no limit or price."""

    name: str
    users: int
    calls: int
    average_usd: float
    p50_usd: float
    p95_usd: float
    max_usd: float
    limit_usd: float | None
    users_at_80: int
    users_at_100: int
    revenue_usd: float | None

    @property
    def spend_usd(self) -> float:
        return self.users * self.average_usd

    @property
    def margin_usd(self) -> float | None:
        return None if self.revenue_usd is None else self.revenue_usd - self.spend_usd


@dataclass(frozen=True)
class Stream:
    """Calls of one kind and what a second of them brings."""

    tier: str
    provider: str
    model: str
    group: str
    usd_per_s: float
    calls_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    call_duration_s: float


TIERS = (
    Tier("free", 200, 9_400, 0.25, 0.11, 0.98, 1.0, 1.0, 31, 12, 0.0),
    Tier("pro", 40, 15_200, 5.5, 4.2, 14.0, 18.4, 20.0, 3, 0, 800.0),
    Tier("enterprise", 5, 21_000, 130.0, 120.0, 210.0, 244.0, None, 0, 0, 2_500.0),
)
STREAMS = (
    Stream("free", "openai", "gpt-5-mini", "chat", 0.0004, 0.8, 900, 240, 0.7),
    Stream("free", "openai", "gpt-5-mini", "search", 0.0001, 0.3, 300, 60, 0.4),
    Stream("pro", "openai", "gpt-5", "chat", 0.0011, 0.5, 800, 300, 2.4),
    Stream("pro", "anthropic", "claude-sonnet-4-5", "summary", 0.0009, 0.2, 1_400, 90, 3.6),
    Stream("enterprise", "anthropic", "claude-sonnet-4-5", "chat", 0.0019, 0.4, 2_100, 380, 4.2),
    Stream("enterprise", "openai", "gpt-5-mini", "", 0.0002, 0.6, 700, 110, 0.9),
)
UNPRICED_PER_S = 0.05
DECISIONS_PER_S = {
    ("free", "allow"): 0.9,
    ("free", "warn"): 0.12,
    ("free", "block"): 0.1,
    ("pro", "allow"): 0.68,
    ("pro", "dry_run"): 0.04,
    ("enterprise", "allow"): 1.0,
}
ENTERPRISE_USERS_SPEND_USD = (244.0, 150.0, 110.0, 86.0, 60.0)
PRO_USERS_SPEND_USD = (18.4, 17.2, 16.5, 15.1, 13.9, 13.0, 12.4, 11.8)
TOP_USERS_SPEND_USD = ENTERPRISE_USERS_SPEND_USD + PRO_USERS_SPEND_USD
BUCKETS_S = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CACHED_SHARE = 0.4

_CALL_LABELS = (
    names.LABEL_TIER,
    names.LABEL_PROVIDER,
    names.LABEL_MODEL,
    names.LABEL_GROUP,
    names.LABEL_OPERATION,
)
_MONTH = "month"


class KnownSpend(Collector):
    """The metrics after `seconds_of(tier)` seconds of calls."""

    def __init__(self, seconds_of: Callable[[str], float]) -> None:
        self._seconds_of = seconds_of

    def collect(self) -> Iterator[Metric]:
        yield from self._calls()
        yield self._durations()
        yield self._decisions()
        yield from _tiers()
        yield _top_users()

    def _calls(self) -> Iterator[Metric]:
        cost = _counter(names.METRIC_COST_USD, _CALL_LABELS)
        calls = _counter(names.METRIC_CALLS, _CALL_LABELS)
        tokens = _counter(names.METRIC_TOKENS, (*_CALL_LABELS, names.LABEL_KIND))
        unpriced = _counter(names.METRIC_UNPRICED_CALLS, (*_CALL_LABELS, names.LABEL_REASON))
        for stream in STREAMS:
            seconds = self._seconds_of(stream.tier)
            labels = _labels(stream)
            cost.add_metric(labels, stream.usd_per_s * seconds)
            calls.add_metric(labels, stream.calls_per_s * seconds)
            for kind, per_s in (
                ("input", stream.input_tokens_per_s * (1 - CACHED_SHARE)),
                ("cache_read", stream.input_tokens_per_s * CACHED_SHARE),
                ("output", stream.output_tokens_per_s),
            ):
                tokens.add_metric([*labels, kind], per_s * seconds)
        unpriced.add_metric(
            ["pro", "openai", "gpt-6-preview", "chat", "chat", "unknown_model"],
            UNPRICED_PER_S * self._seconds_of("pro"),
        )
        yield from (cost, calls, tokens, unpriced)

    def _durations(self) -> Metric:
        durations = HistogramMetricFamily(names.METRIC_CALL_DURATION, "Known.", labels=_CALL_LABELS)
        for stream in STREAMS:
            calls = stream.calls_per_s * self._seconds_of(stream.tier)
            buckets = [(str(b), calls * (b >= stream.call_duration_s)) for b in BUCKETS_S]
            durations.add_metric(
                _labels(stream), [*buckets, ("+Inf", calls)], calls * stream.call_duration_s
            )
        return durations

    def _decisions(self) -> Metric:
        decisions = _counter(
            names.METRIC_POLICY_DECISIONS, (names.LABEL_TIER, names.LABEL_DECISION)
        )
        for (tier, decision), per_s in DECISIONS_PER_S.items():
            decisions.add_metric([tier, decision], per_s * self._seconds_of(tier))
        return decisions


def _labels(stream: Stream) -> list[str]:
    return [stream.tier, stream.provider, stream.model, stream.group, "chat"]


def _counter(name: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(name, "Known.", labels=labels)


def _tiers() -> Iterator[Metric]:
    for name, value_of in (
        (names.METRIC_TIER_ACTIVE_USERS, lambda t: t.users),
        (names.METRIC_TIER_CALLS, lambda t: t.calls),
        (names.METRIC_TIER_SPEND_USD, lambda t: t.spend_usd),
        (names.METRIC_TIER_LIMIT_USD, lambda t: t.limit_usd),
        (names.METRIC_TIER_REVENUE_USD, lambda t: t.revenue_usd),
        (names.METRIC_TIER_MARGIN_USD, lambda t: t.margin_usd),
    ):
        gauge = GaugeMetricFamily(name, "Known.", labels=(names.LABEL_TIER, names.LABEL_WINDOW))
        for tier in TIERS:
            if (value := value_of(tier)) is not None:
                gauge.add_metric([tier.name, _MONTH], value)
        yield gauge
    yield _tier_details(
        names.METRIC_TIER_USER_SPEND_USD,
        names.LABEL_STAT,
        lambda t: {"avg": t.average_usd, "p50": t.p50_usd, "p95": t.p95_usd, "max": t.max_usd},
    )
    yield _tier_details(
        names.METRIC_TIER_USERS_OVER,
        names.LABEL_THRESHOLD,
        lambda t: {"80": t.users_at_80, "100": t.users_at_100},
    )


def _tier_details(name: str, label: str, values_of: Callable[[Tier], dict[str, float]]) -> Metric:
    gauge = GaugeMetricFamily(name, "Known.", labels=(names.LABEL_TIER, names.LABEL_WINDOW, label))
    for tier in TIERS:
        for key, value in values_of(tier).items():
            gauge.add_metric([tier.name, _MONTH, key], value)
    return gauge


def _top_users() -> Metric:
    gauge = GaugeMetricFamily(
        names.METRIC_TOP_USER_SPEND_USD,
        "Known.",
        labels=(names.LABEL_USER_ID, names.LABEL_TIER, names.LABEL_WINDOW),
    )
    for rank, spend_usd in enumerate(TOP_USERS_SPEND_USD):
        tier = "enterprise" if rank < len(ENTERPRISE_USERS_SPEND_USD) else "pro"
        gauge.add_metric([f"user-{rank:04}", tier, _MONTH], spend_usd)
    return gauge


@contextmanager
def serving() -> Iterator[str]:
    """Serve known spend that began now; yields its host:port."""
    began = time.time()
    registry = CollectorRegistry()
    registry.register(KnownSpend(lambda _tier: time.time() - began))
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
