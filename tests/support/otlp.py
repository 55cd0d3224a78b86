"""A trace backend on loopback: keeps every span that was exported to it."""

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def attributes_of(span: Span) -> dict[str, Any]:
    """The attributes of a span as plain values (arrays as lists)."""
    plain: dict[str, Any] = {}
    for item in span.attributes:
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind) if kind else None
        if kind == "array_value":
            value = [getattr(v, v.WhichOneof("value") or "") for v in value.values]
        plain[item.key] = value
    return plain


class Sink(TraceServiceServicer):
    """Every span received, in order, repeats included."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.endpoint = ""
        self._arrived = threading.Condition()

    def Export(
        self, request: ExportTraceServiceRequest, context: Any
    ) -> ExportTraceServiceResponse:
        with self._arrived:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    self.spans.extend(scope.spans)
            self._arrived.notify_all()
        return ExportTraceServiceResponse()

    def wait_for(self, holds: Callable[[list[Span]], bool], timeout_s: float = 15) -> list[Span]:
        """Wait until `holds(spans)`; fails with what is there when time runs out."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: holds(self.spans), timeout_s), self.spans
            return list(self.spans)


@contextmanager
def sink() -> Iterator[Sink]:
    """A running backend; `sink.endpoint` is its host:port."""
    backend = Sink()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(backend, server)
    backend.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield backend
    finally:
        server.stop(None)
