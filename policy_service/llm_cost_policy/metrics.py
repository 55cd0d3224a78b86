"""`/metrics` for Prometheus: decisions, tiers and the top users, read from the ledger."""

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llm_cost import attributes as names
from llm_cost.errors import ConfigurationError
from llm_cost.money import usd_display
from llm_cost.policy.decision import Action
from llm_cost_policy.ledger import Health, Ledger, StoreUnavailable, TierPeriod, UserPeriod
from llm_cost_policy.reports import TierRow, ranked_users, tier_rows

TOP_USERS: Final = 50  # the only metric with a user_id, so its series are bounded here
CACHE_S: Final = 5.0  # two scrapers must not double the reading
_STATS: Final = ("avg", "p50", "p95", "max")


class LedgerCollector(Collector):
    """Reads the ledger at a scrape, at most every `CACHE_S`."""

    def __init__(self, ledger: Ledger, *, cache_s: float = CACHE_S) -> None:
        self._ledger = ledger
        self._cache_s = cache_s
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._metrics: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Return the metrics; while the ledger cannot be read, its health alone."""
        with self._lock:
            if time.monotonic() - self._read_at >= self._cache_s:
                self._metrics = list(self._read())
                self._read_at = time.monotonic()
            return self._metrics

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the ledger."""
        return []

    def _read(self) -> Iterator[Metric]:
        yield from _health_metrics(self._ledger.health(), self._ledger.rules.policy.tiers)
        period = self._ledger.period_of("")
        assert period is not None  # there always is a current one
        try:
            tiers = tier_rows(self._ledger, period)
            users, _ = ranked_users(
                self._ledger, period, tier="", page_token="", page_size=TOP_USERS
            )
        except StoreUnavailable:
            return
        window = self._ledger.rules.policy.window.value
        yield from _tier_metrics(tiers, window)
        yield _top_users([row.user for row in users], window)


def _health_metrics(health: Health, tiers: Iterable[str]) -> Iterator[Metric]:
    decisions = CounterMetricFamily(
        names.METRIC_POLICY_DECISIONS,
        "Decisions by what was enforced.",
        labels=(names.LABEL_DECISION, names.LABEL_TIER),
    )
    # From zero on, so that a rate sees the first blocked call of a tier.
    zeros = {(action.value, tier): 0 for tier in tiers for action in Action}
    for (decision, tier), count in {**zeros, **health.decisions}.items():
        decisions.add_metric((decision, tier), count)
    yield decisions
    commits = CounterMetricFamily(names.METRIC_LEDGER_COMMITS, "Commits of the ledger.")
    commits.add_metric((), health.commits)
    yield commits
    seconds = CounterMetricFamily(
        names.METRIC_LEDGER_COMMIT_SECONDS, "Time spent in commits; by commits: the latency."
    )
    seconds.add_metric((), health.commit_seconds)
    yield seconds
    conflicts = CounterMetricFamily(
        names.METRIC_LEDGER_CONFLICTS, "Reports that contradicted an equal one; the first stands."
    )
    conflicts.add_metric((), health.conflicts)
    yield conflicts
    yield _gauge(names.METRIC_LEDGER_QUEUE, "Operations that wait for a commit.", health.queued)
    yield _gauge(names.METRIC_LEDGER_ROWS, "Rows of the ledger.", health.rows)


def _gauge(name: str, text: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(name, text)
    gauge.add_metric((), value)
    return gauge


def _tier_metrics(rows: list[TierRow], window: str) -> Iterator[Metric]:
    def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(name, text, labels=(names.LABEL_TIER, names.LABEL_WINDOW, *labels))

    spend = gauge(names.METRIC_TIER_SPEND_USD, "Spend of a tier in the current window.")
    calls = gauge(names.METRIC_TIER_CALLS, "Calls of a tier in the current window.")
    active = gauge(names.METRIC_TIER_ACTIVE_USERS, "Users of a tier who made a call.")
    per_user = gauge(names.METRIC_TIER_USER_SPEND_USD, "Spend per user.", names.LABEL_STAT)
    limit = gauge(names.METRIC_TIER_LIMIT_USD, "Limit per user; absent: none.")
    over = gauge(
        names.METRIC_TIER_USERS_OVER, "Users at a percentage of their limit.", names.LABEL_THRESHOLD
    )
    revenue = gauge(names.METRIC_TIER_REVENUE_USD, "Plan price by active users.")
    margin = gauge(names.METRIC_TIER_MARGIN_USD, "Revenue less spend.")
    for row in rows:
        labels = (row.sums.tier, window)
        spend.add_metric(labels, usd_display(row.sums.posted_nano_usd))
        calls.add_metric(labels, row.sums.calls)
        active.add_metric(labels, row.sums.users)
        for stat, nano_usd in zip(_STATS, _per_user(row.sums, row), strict=True):
            per_user.add_metric((*labels, stat), usd_display(nano_usd))
        if row.limit_nano_usd is not None:
            limit.add_metric(labels, usd_display(row.limit_nano_usd))
        over.add_metric((*labels, "80"), row.users_at_80_percent)
        over.add_metric((*labels, "100"), row.users_at_100_percent)
        if row.plan_price_nano_usd is not None:
            revenue_nano_usd = row.plan_price_nano_usd * row.sums.users
            revenue.add_metric(labels, usd_display(revenue_nano_usd))
            margin.add_metric(labels, usd_display(revenue_nano_usd - row.sums.posted_nano_usd))
    yield from (spend, calls, active, per_user, limit, over, revenue, margin)


def _per_user(sums: TierPeriod, row: TierRow) -> tuple[int, int, int, int]:
    return row.avg_per_user_nano_usd, sums.p50_nano_usd, sums.p95_nano_usd, sums.max_nano_usd


def _top_users(users: list[UserPeriod], window: str) -> Metric:
    top = GaugeMetricFamily(
        names.METRIC_TOP_USER_SPEND_USD,
        "Spend of the users who spent most in the current window.",
        labels=(names.LABEL_USER_ID, names.LABEL_TIER, names.LABEL_WINDOW),
    )
    for user in users:
        labels = (user.user_id, user.tier, window)
        top.add_metric(labels, usd_display(user.posted_nano_usd))
    return top


class MetricsEndpoint:
    """The HTTP server of `/metrics`."""

    def __init__(self, ledger: Ledger, *, address: str) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(LedgerCollector(ledger))
        host, _, port = address.rpartition(":")
        try:
            self._server: WSGIServer
            self._server, self._thread = start_http_server(
                int(port), host.strip("[]"), registry=registry
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {address} for metrics ({error}); choose another port, 0 for any"
            ) from None
        self.address = f"{host}:{self._server.server_port}"

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
