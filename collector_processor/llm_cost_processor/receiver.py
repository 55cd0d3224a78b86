"""The OTLP/gRPC server: takes requests apart into the steps, translates what they answer.

Bytes in, bytes out: gRPC neither parses nor builds messages here. An OTLP/HTTP server would be
a second shell around `Receiver.traces` and `Receiver.pass_on`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Final

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from llm_cost_processor.aggregate import Aggregate
from llm_cost_processor.batch import Enriched, Enricher, MalformedTraces
from llm_cost_processor.forward import MAX_MESSAGE_BYTES, Forward
from llm_cost_processor.health import Health
from llm_cost_processor.settle import Settler
from llm_cost_processor.settlement import records_of
from llm_cost_processor.spool import SpoolFull
from llm_cost_processor.status import Refusal, abort, back_pressure

TRACES: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
METRICS: Final = "opentelemetry.proto.collector.metrics.v1.MetricsService"
LOGS: Final = "opentelemetry.proto.collector.logs.v1.LogsService"

MAX_IN_FLIGHT_BYTES: Final = 4 * MAX_MESSAGE_BYTES
"""Of requests that are being handled. It bounds memory when the next hop is slow."""

TRANSPORT_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""gRPC itself answers a larger message with RESOURCE_EXHAUSTED and without RetryInfo; up to
here we answer ourselves, and say what to do."""

Handler = Callable[[bytes, float | None], Awaitable[bytes]]


class Receiver:
    """What happens to one request, whatever brought it."""

    def __init__(
        self,
        enricher: Enricher,
        aggregate: Aggregate,
        health: Health,
        *,
        forward: Forward,
        settler: Settler | None,
    ) -> None:
        self._enricher = enricher
        self._aggregate = aggregate
        self._health = health
        self._forward = forward
        self._settler = settler
        self._in_flight_bytes = 0

    async def traces(self, payload: bytes, remaining_s: float | None) -> bytes:
        """Price, count, settle and hand on one request; return the serialized reply.

        Accepted means: the next hop has the spans, and the disk has the settlements.
        """
        with self._admitted(payload):
            try:
                enriched = self._enricher.enrich(payload)
            except MalformedTraces as error:
                raise Refusal(str(error)) from None
            # Counted whatever the next hop says: the money is spent.
            self._count(enriched)
            reply, _ = await _both(
                self._forward.send(enriched.payload, remaining_s), self._settle(enriched)
            )
            return self._answer(enriched, reply)

    async def pass_on(
        self, signal: str, forward: Forward | None, payload: bytes, remaining_s: float | None
    ) -> bytes:
        """Hand on a request of another signal; without a taker, accept and count it."""
        with self._admitted(payload):
            if forward is not None:
                try:
                    return await forward.send(payload, remaining_s)
                except Refusal as refusal:
                    # A backend of traces only: an application that sends all its signals here
                    # must not log an error every minute.
                    if refusal.code is not grpc.StatusCode.UNIMPLEMENTED:
                        raise
            self._health.discarded.labels(signal).inc()
            return b""

    @contextmanager
    def _admitted(self, payload: bytes) -> Iterator[None]:
        size = len(payload)
        if size > MAX_MESSAGE_BYTES:
            raise Refusal(
                f"the request has {size} bytes and at most {MAX_MESSAGE_BYTES} are taken; "
                "send smaller batches (sending_queue.batch.max_size)"
            )
        if self._in_flight_bytes + size > MAX_IN_FLIGHT_BYTES:
            raise back_pressure(f"{self._in_flight_bytes} bytes are being handled; come again")
        self._in_flight_bytes += size
        try:
            yield
        finally:
            self._in_flight_bytes -= size

    async def _settle(self, enriched: Enriched) -> None:
        if self._settler is None:
            return
        records = records_of(enriched.calls)
        try:
            self._settler.check_room(records)
            await self._settler.store(records)
        except (SpoolFull, OSError) as error:
            raise back_pressure(str(error)) from error

    def _count(self, enriched: Enriched) -> None:
        health = self._health
        health.spans_received.inc(enriched.spans)
        for reason, count in enriched.passed.items():
            health.passed.labels(reason).inc(count)
        calls = enriched.calls
        if not calls:
            return
        for price, count in Counter(map(attrgetter("price"), calls)).items():
            come_by = "carried" if price.carried else "ours"
            health.calls.labels("unknown" if price.unpriced else come_by).inc(count)
        health.subjects_refused.inc(sum(map(attrgetter("refused"), calls)))
        health.repeated.inc(self._aggregate.add(calls))

    def _answer(self, enriched: Enriched, reply: bytes) -> bytes:
        if not reply and not enriched.unreadable:
            self._health.spans_forwarded.inc(enriched.spans)
            return reply
        response = ExportTraceServiceResponse.FromString(reply)
        partial = response.partial_success
        self._health.spans_rejected.labels("downstream").inc(partial.rejected_spans)
        if enriched.unreadable:
            self._health.spans_rejected.labels("processor").inc(enriched.unreadable)
            partial.rejected_spans += enriched.unreadable
            partial.error_message += (
                f"{enriched.unreadable} spans are no protobuf Span and were left out; "
                "the sender's encoder is at fault"
            )
        self._health.spans_forwarded.inc(enriched.spans - partial.rejected_spans)
        return response.SerializeToString()

    def serve(self, method: Handler) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Return `method` as a gRPC handler that keeps the status rules."""

        async def handle(
            payload: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
        ) -> bytes:
            began_s = time.perf_counter()
            try:
                return await method(payload, context.time_remaining())
            except Refusal as refusal:
                self._health.refused.labels(refusal.code.name).inc()
                await abort(context, refusal)
                raise
            finally:
                self._health.request_s.observe(time.perf_counter() - began_s)

        return grpc.unary_unary_rpc_method_handler(handle)


async def _both(forwarding: Awaitable[bytes], settling: Awaitable[None]) -> tuple[bytes, None]:
    """Wait for both, also when one fails: the other must not go on behind the answer's back."""
    reply, settled = await asyncio.gather(forwarding, settling, return_exceptions=True)
    if isinstance(reply, BaseException):
        raise reply
    if isinstance(settled, BaseException):
        raise settled
    return reply, None
