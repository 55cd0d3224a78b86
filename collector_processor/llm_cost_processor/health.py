"""How the processor itself is doing, as metrics named `llm_cost_processor_*`."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_PREFIX: Final = "llm_cost_processor_"

REQUEST_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Health:
    """The processor's own counters, in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(_PREFIX + name, what, labels, registry=registry)

        self.spans_received = counter("spans_received", "Spans that arrived, repeats included.")
        self.spans_forwarded = counter("spans_forwarded", "Spans that the next hop accepted.")
        self.spans_rejected = counter("spans_rejected", "Spans that can never be accepted.", "by")
        self.calls = counter("llm_spans", "LLM attempts, by where their price comes from.", "price")
        self.passed = counter("passed_spans", "Spans of LLM libraries left alone.", "reason")
        self.repeated = counter("repeated_calls", "LLM calls that arrived again.")
        self.subjects_refused = counter(
            "refused_subjects", "Calls with a user, tier or group that is too long or malformed."
        )
        self.refused = counter("refused_requests", "Requests that were not accepted.", "code")
        self.discarded = counter(
            "discarded_requests", "Metrics and logs requests that had nowhere to go.", "signal"
        )
        self.settlements = counter("settlements", "Answers of the ledger.", "status")
        self.settle_retries = counter("settle_retries", "Settle attempts that failed.")
        self.spool_items = Gauge(
            _PREFIX + "spool_settlements", "Settlements waiting on disk.", registry=registry
        )
        self.spool_bytes = Gauge(
            _PREFIX + "spool_bytes", "Bytes of settlements waiting on disk.", registry=registry
        )
        self.request_s = Histogram(
            _PREFIX + "request_duration_seconds",
            "From a request's arrival to its answer, the next hop included.",
            registry=registry,
            buckets=REQUEST_BUCKETS_S,
        )
