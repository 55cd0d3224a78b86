"""Spans per CPU-second of the processor process, gRPC in to gRPC out.

The client and the next hop are processes of their own, so that only the processor is measured.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
import opentelemetry.proto.collector.trace.v1.trace_service_pb2 as trace_service
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from llm_cost import attributes as names
from llm_cost.policy.v1 import policy_pb2

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.processes import Service, running

SPANS = 30_000
IN_FLIGHT = 4
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
Row = tuple[str, str, str, str]


def _attributes(values: dict[str, str | int]) -> list[KeyValue]:
    return [
        KeyValue(
            key=key,
            value=AnyValue(string_value=v) if isinstance(v, str) else AnyValue(int_value=v),
        )
        for key, v in values.items()
    ]


def _llm_span(number: int) -> dict[str, str | int]:
    return {
        names.OPERATION_NAME: "chat",
        names.PROVIDER_NAME: "openai",
        names.REQUEST_MODEL: "gpt-4o-mini",
        names.RESPONSE_MODEL: "gpt-4o-mini-2024-07-18",
        names.RESPONSE_ID: f"chatcmpl-{number:024x}",
        names.USAGE_INPUT_TOKENS: 1_000 + number % 500,
        names.USAGE_OUTPUT_TOKENS: 200 + number % 100,
        names.USAGE_CACHE_READ_TOKENS: 256,
        names.USER_ID: f"user_{number % 5_000}",
        names.USER_TIER: ("free", "pro", "enterprise")[number % 3],
        **{f"app.attribute_{i}": f"value {i} of {number}" for i in range(10)},
    }


def _other_span(number: int) -> dict[str, str | int]:
    return {f"http.attribute_{i}": f"value {i} of {number}" for i in range(20)}


def batches(size: int, *, one_in: int) -> list[bytes]:
    """Serialized requests of `size` spans with 20 attributes; one in `one_in` is GenAI."""
    chance = random.Random(1)
    now_ns = time.time_ns()
    made = []
    for start in range(0, SPANS, size):
        request = trace_service.ExportTraceServiceRequest()
        spans = request.resource_spans.add().scope_spans.add().spans
        for number in range(start, start + size):
            spans.add(
                trace_id=chance.randbytes(16),
                span_id=chance.randbytes(8),
                name="chat gpt-4o-mini",
                start_time_unix_nano=now_ns - 2_000_000_000,
                end_time_unix_nano=now_ns,
                attributes=_attributes(
                    _llm_span(number) if number % one_in == 0 else _other_span(number)
                ),
            )
        made.append(request.SerializeToString())
    return made


async def _send(endpoint: str, requests: list[bytes]) -> None:
    async with grpc.aio.insecure_channel(endpoint) as channel:
        export = channel.unary_unary(EXPORT)
        waiting = iter(requests)

        async def worker() -> None:
            for request in waiting:
                await export(request, timeout=60)

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def _next_hop() -> None:
    """Accept everything, traces and settlements, and say where."""

    async def accept(*_: object) -> bytes:
        return b""

    async def settle(batch: bytes, _: object) -> bytes:
        settlements = policy_pb2.SettleBatchRequest.FromString(batch).settlements
        # As long as a ledger's answer is: reading it is part of the processor's work.
        results = [
            policy_pb2.SettleResult(
                call_id=each.call_id,
                status=policy_pb2.SETTLE_STATUS_APPLIED,
                recorded_nano_usd=each.actual_nano_usd,
                period="2026-11",
            )
            for each in settlements
        ]
        return policy_pb2.SettleBatchResponse(results=results).SerializeToString()

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 32 << 20)])
    for service, method, answer in (
        ("opentelemetry.proto.collector.trace.v1.TraceService", "Export", accept),
        ("llm_cost.policy.v1.PolicyService", "SettleBatch", settle),
    ):
        handlers = {method: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f'{{"endpoint": "127.0.0.1:{port}"}}', flush=True)
    await server.wait_for_termination()


def _cpu_s(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


def _peak_rss_mb(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@contextmanager
def _processor(next_hop: str, *options: str) -> Iterator[Service]:
    arguments = [
        "-m", "llm_cost_processor", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
        "--forward", next_hop, *options,
    ]  # fmt: skip
    with running(arguments) as service:
        yield service


def _measured(next_hop: str, requests: list[bytes], *options: str) -> tuple[str, str]:
    """Spans per CPU-second with the wall-clock rate, and the peak RSS."""
    with _processor(next_hop, *options) as processor:
        asyncio.run(_send(processor.ready["otlp"], requests[:4]))  # connections, caches
        before_s, began = _cpu_s(processor.process), time.perf_counter()
        asyncio.run(_send(processor.ready["otlp"], requests[4:]))
        wall_s = time.perf_counter() - began
        cpu_s = _cpu_s(processor.process) - before_s
        spans = SPANS * (len(requests) - 4) / len(requests)
        rate = f"{spans / cpu_s:,.0f} spans/CPU-s ({spans / wall_s:,.0f}/s on the clock)"
        return rate, f"{_peak_rss_mb(processor.process):.0f} MB"


def measure() -> list[Row]:
    """Return one row per shape of traffic."""
    llm_1000 = batches(1_000, one_in=1)
    next_hop_arguments = ["-m", "benchmarks.processor", "next-hop"]
    with running(next_hop_arguments) as hop, tempfile.TemporaryDirectory() as folder:
        endpoint = str(hop.ready["endpoint"])
        settled = ("--policy", endpoint, "--spool", folder)
        all_1000, memory = _measured(endpoint, llm_1000)
        settled_1000, _ = _measured(endpoint, llm_1000, *settled)
        all_100, _ = _measured(endpoint, batches(100, one_in=1))
        tenth, _ = _measured(endpoint, batches(1_000, one_in=10))
    must, aim = "30,000", "60,000"
    return [
        ("all GenAI, 1,000-span batches", all_1000, must, aim),
        ("the same, settled through the spool", settled_1000, must, aim),
        ("all GenAI, 100-span batches", all_100, must, aim),
        ("10 % GenAI, 1,000-span batches", tenth, "200,000", "250,000"),
        ("peak RSS, all GenAI", memory, "200 MB", ""),
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["next-hop"]:
        asyncio.run(_next_hop())
    else:
        from benchmarks.__main__ import table

        print(table(measure()))
