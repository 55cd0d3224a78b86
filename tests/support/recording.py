"""A gate that remembers, and spans in memory: what a test sees of our work."""

import gc
import time
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_cost.policy.decision import Action, Decision, Reservation, Settlement

ALLOWED = Decision(action=Action.ALLOW, would_be=Action.ALLOW, policy_version=7)
BLOCKED = Decision(
    action=Action.BLOCK, would_be=Action.BLOCK, reason="limit reached", policy_version=7
)


class RecordingGate:
    """Answers with `decision` and keeps what it was asked and told."""

    def __init__(self) -> None:
        self.decision = ALLOWED
        self.later: list[Decision] = []  # the answers after the first
        self.reserved: list[Reservation] = []
        self.settled: list[Settlement] = []
        self.voided: list[bytes] = []
        self.async_reserves = 0

    def reserve(self, reservation: Reservation) -> Decision:
        self.reserved.append(reservation)
        decision = self.decision
        if self.later:
            self.decision = self.later.pop(0)
        return decision

    async def reserve_async(self, reservation: Reservation) -> Decision:
        self.async_reserves += 1
        return self.reserve(reservation)

    def settle(self, settlement: Settlement) -> None:
        self.settled.append(settlement)

    def void(self, call_id: bytes) -> None:
        self.voided.append(call_id)

    def flush(self, timeout_s: float) -> bool:
        return True


class Spans:
    """The finished spans of a provider of its own."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def finished(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def only(self) -> dict[str, Any]:
        """Return the attributes of the one span there is."""
        (span,) = self.finished()
        return dict(span.attributes or {})


def eventually(is_so: Callable[[], object], timeout_s: float = 5) -> None:
    """Wait for what happens on another thread."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        gc.collect()
        time.sleep(0.01)
