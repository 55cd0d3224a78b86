"""Counters of LLM calls by tier, provider, model, group and operation, bounded and exact.

Money is integer nano-USD in here. Never a user id: what users spend comes from the ledger,
bounded. Counters start at zero with the process, as Prometheus counters do.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from llm_cost.attributes import OVERFLOW_LABEL_VALUE, UNATTRIBUTED
from llm_cost.usage import Usage
from llm_cost_processor.enrich import Kind, LlmCall

MAX_SERIES: Final = 1_000
"""Label combinations; each is about 25 lines of exposition. Further ones go to the overflow
series of their tier."""

MAX_TIERS: Final = 50
"""Tiers that keep a name in the overflow series: a tier is a plan, and nobody sells more."""

DEDUP_WINDOW_CALLS: Final = 200_000
"""A span that is delivered again within this many calls is counted once: 200 s at 1,000 calls a
second, in about 40 MB. The ledger has no such window."""

DURATION_BUCKETS_S: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""The bucket bounds that the GenAI conventions advise for an operation's duration."""

TOKEN_KINDS: Final = ("input", "cache_read", "cache_write", "output", "reasoning")
"""Exclusive, so that their sum is all tokens."""


class Labels(NamedTuple):
    """What a series is told apart by."""

    tier: str
    provider: str
    model: str
    group: str
    operation: str


@dataclass(slots=True)
class Series:
    """The sums of one label combination."""

    calls: int = 0
    cost_nano_usd: int = 0
    tokens: list[int] = field(default_factory=lambda: [0] * len(TOKEN_KINDS))
    unpriced: dict[str, int] = field(default_factory=dict)
    duration_s: float = 0.0
    duration_counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_S) + 1))

    def add(self, calls: Sequence[LlmCall]) -> None:
        """Count calls."""
        self.calls += len(calls)
        for call in calls:
            unpriced = call.price.unpriced
            if unpriced is not None:
                self.unpriced[unpriced] = self.unpriced.get(unpriced, 0) + 1
            if call.nano_usd is not None:
                self.cost_nano_usd += call.nano_usd
            self.duration_s += call.duration_s
            self.duration_counts[bisect_left(DURATION_BUCKETS_S, call.duration_s)] += 1
        # Bucket by bucket and not call by call: a sum over a column is one step.
        used = Usage._make(map(sum, zip(*(call.usage for call in calls), strict=True)))
        told = (
            sum(used[:4]),
            used.cache_read_tokens,
            used.cache_write_tokens + used.cache_write_1h_tokens,
            used.total_output_tokens - used.output_reasoning_tokens,
            used.output_reasoning_tokens,
        )
        self.tokens = [before + more for before, more in zip(self.tokens, told, strict=True)]

    def copy(self) -> "Series":
        """Return a copy that no later call changes."""
        return Series(
            self.calls,
            self.cost_nano_usd,
            list(self.tokens),
            dict(self.unpriced),
            self.duration_s,
            list(self.duration_counts),
        )


class Aggregate:
    """All series of this process. Written by the receiver, read by a scrape's thread."""

    def __init__(
        self, *, max_series: int = MAX_SERIES, dedup_window_calls: int = DEDUP_WINDOW_CALLS
    ) -> None:
        self._max_series = max_series
        self._dedup_window_calls = dedup_window_calls
        self._series: dict[Labels, Series] = {}
        self._tiers: set[str] = set()
        # Two generations: when the young one is full it becomes the old one, so that at least
        # a whole window is remembered without keeping an order.
        self._seen: set[bytes] = set()
        self._seen_before: set[bytes] = set()
        self._lock = threading.Lock()

    def add(self, calls: Iterable[LlmCall]) -> int:
        """Count calls; return how many had been counted already."""
        repeated = 0
        by_kind: dict[Kind, list[LlmCall]] = {}
        with self._lock:
            seen, seen_before = self._seen, self._seen_before
            for call in calls:
                call_id = call.call_id
                if call_id in seen or call_id in seen_before:
                    repeated += 1
                    continue
                seen.add(call_id)
                by_kind.setdefault(call.kind, []).append(call)
            for kind, new in by_kind.items():
                self._series_of(kind).add(new)
            if len(seen) >= self._dedup_window_calls:
                self._seen_before, self._seen = seen, set()
        return repeated

    def snapshot(self) -> list[tuple[Labels, Series]]:
        """Return every series as it stands between two requests."""
        with self._lock:
            return [(labels, series.copy()) for labels, series in self._series.items()]

    def _series_of(self, kind: Kind) -> Series:
        labels = Labels(
            kind.tier or UNATTRIBUTED,
            kind.provider,
            kind.model,
            kind.group or UNATTRIBUTED,
            kind.operation,
        )
        series = self._series.get(labels)
        if series is None:
            series = self._series.setdefault(self._admitted(labels), Series())
        return series

    def _admitted(self, labels: Labels) -> Labels:
        """The labels themselves while there is room, else those of an overflow series."""
        if len(self._tiers) < MAX_TIERS:
            self._tiers.add(labels.tier)
        if len(self._series) < self._max_series:
            return labels
        tier = labels.tier if labels.tier in self._tiers else OVERFLOW_LABEL_VALUE
        return Labels(tier, *(OVERFLOW_LABEL_VALUE,) * 4)
