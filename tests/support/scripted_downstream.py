"""An OTLP/gRPC backend on loopback that answers what a test scripts; keeps what it accepted."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support.otlp_traffic import spans_of

Answer = Callable[[bytes, grpc.ServicerContext], bytes]
SERVICES = ("trace.v1.TraceService", "metrics.v1.MetricsService", "logs.v1.LogsService")


def accept(payload: bytes, context: object) -> bytes:
    return b""


class Downstream:
    """`answer` may be replaced at any time; `accepted` are the requests it did not abort."""

    def __init__(self, *services: str) -> None:
        self.answer: Answer = accept
        self.accepted: list[bytes] = []
        self.deadlines_s: list[float] = []
        self.released = threading.Event()
        self._server = grpc.server(
            ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 32 << 20)]
        )
        for service in services or SERVICES:
            handlers = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
            full_name = f"opentelemetry.proto.collector.{service}"
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(full_name, handlers),)
            )
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def hang(self, payload: bytes, context: object) -> bytes:
        self.released.wait(30)
        return b""

    @property
    def spans(self) -> list[Span]:
        return [span for payload in self.accepted for span in spans_of(payload)]

    def stop(self) -> None:
        self.released.set()
        self._server.stop(None).wait()

    def _export(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        self.deadlines_s.append(context.time_remaining() or 0)
        reply = self.answer(payload, context)
        self.accepted.append(payload)
        return reply


@contextmanager
def downstream(*services: str) -> Iterator[Downstream]:
    started = Downstream(*services)
    try:
        yield started
    finally:
        started.stop()
