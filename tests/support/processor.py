"""The processor as a process, and a client of it."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families

from support.processes import Service, running

PREFIX = "opentelemetry.proto.collector."


class Processor:
    def __init__(self, service: Service) -> None:
        self.service = service
        self._channel = grpc.insecure_channel(
            str(service.ready["otlp"]), options=[("grpc.max_send_message_length", -1)]
        )

    def export(
        self, payload: bytes | Message, *, timeout_s: float = 20, signal: str = "trace.v1.Trace"
    ) -> bytes:
        data = payload if isinstance(payload, bytes) else payload.SerializeToString()
        send = self._channel.unary_unary(f"/{PREFIX}{signal}Service/Export")
        reply: bytes = send(data, timeout=timeout_s)
        return reply

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of `name` that carry these labels."""
        with urllib.request.urlopen(f"http://{self.service.ready['metrics']}/metrics") as reply:
            text = reply.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def close(self) -> None:
        self._channel.close()


@contextmanager
def processor(
    *, forward: str | None = None, policy: str | None = None, spool: Path | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Processor]:  # fmt: skip
    arguments = [
        "-m", "llm_cost_processor", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
        *(("--forward", forward) if forward else ()),
        *(("--policy", policy) if policy else ()),
        *(("--spool", str(spool)) if spool else ()),
        *options,
    ]  # fmt: skip
    with running(arguments) as service:
        client = Processor(service)
        try:
            yield client
        finally:
            client.close()
