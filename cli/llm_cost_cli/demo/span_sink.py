"""A trace backend that keeps one number for each span: what it says the call cost."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from llm_cost import attributes


class SpanSink(TraceServiceServicer):
    """Spans arrive at least once, so they are kept by id."""

    def __init__(self) -> None:
        self._cost_nano_usd: dict[bytes, int] = {}
        self.endpoint = ""  # host:port, once it listens

    @property
    def total_nano_usd(self) -> int:
        """The sum over all spans that carry a cost."""
        return sum(self._cost_nano_usd.copy().values())

    @property
    def priced_spans(self) -> int:
        """How many spans carry a cost."""
        return len(self._cost_nano_usd)

    def Export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        """Take spans in."""
        del context
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    for attribute in span.attributes:
                        if attribute.key == attributes.COST_NANO_USD:
                            self._cost_nano_usd[span.span_id] = attribute.value.int_value
        return ExportTraceServiceResponse()


@contextmanager
def running_sink() -> Iterator[SpanSink]:
    """A sink on a free port of loopback."""
    sink = SpanSink()
    server = grpc.server(ThreadPoolExecutor(2))
    # opentelemetry-proto has no type for this function.
    add_TraceServiceServicer_to_server(sink, server)  # type: ignore[no-untyped-call]
    sink.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield sink
    finally:
        server.stop(None)
