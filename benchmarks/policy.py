"""The policy service over gRPC with a durable ledger: rates per server core, and latency.

The server runs in its own process, pinned to one core; the load comes from another process
on the other cores through `http2_load`, which costs a small part of what the server does.
The server's own CPU time is measured beside the rate, and printed: near 100 % of a core means
that the server, not the load generator, was the limit.
"""

import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from benchmarks.http2_load import Connection
from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1 import policy_pb2_grpc as rpc

Row = tuple[str, str, str, str]

SERVICE = "/llm_cost.policy.v1.PolicyService/"
UNARY_S, BATCH_S, CHECK_S = 4.0, 4.0, 2.0
USERS = 1_000_000
PARETO_80_20 = 1.16
BATCH = 250
CONNECTIONS_IN_FLIGHT = 64


@contextmanager
def _service() -> Iterator[tuple[dict[str, str], int]]:
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "llm_cost_policy",
                "--database", str(Path(folder) / "ledger.sqlite"),
                "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                "--metrics-listen", "127.0.0.1:0",
            ],
            stdout=subprocess.PIPE,
            preexec_fn=_pin_to_first_core,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline()), process.pid
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def _pin_to_first_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _leave_first_core() -> None:
    others = os.sched_getaffinity(0) - {min(os.sched_getaffinity(0))}
    if others:
        os.sched_setaffinity(0, others)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _reserve_and_settle(until: float) -> Iterator[tuple[str, bytes]]:
    """Pairs of a Reserve and, a flight later, its Settle."""
    opened: list[tuple[bytes, str]] = []
    number = 0
    while time.perf_counter() < until:
        for _ in range(CONNECTIONS_IN_FLIGHT // 2):
            number += 1
            identity, user = call_id.new(), f"user-{number * 7919 % 10_000}"
            opened.append((identity, user))
            yield (
                SERVICE + "Reserve",
                pb.ReserveRequest(
                    call_id=identity,
                    subject=pb.Subject(user_id=user, tier="enterprise"),
                    provider="openai",
                    model="gpt-4o",
                    estimate_nano_usd=120_000,
                    price_status=pb.PRICE_STATUS_EXACT,
                ).SerializeToString(),
            )
        for identity, user in opened:
            settlement = _settlement(identity, user)
            request = pb.SettleRequest(settlement=settlement)
            yield SERVICE + "Settle", request.SerializeToString()
        opened.clear()


def _settlement(identity: bytes, user: str) -> pb.Settlement:
    return pb.Settlement(
        call_id=identity,
        subject=pb.Subject(user_id=user, tier="enterprise", group="chat"),
        actual_nano_usd=100_000,
        usage={"input_text_tokens": 812, "output_text_tokens": 145},
        provider="openai",
        model="gpt-4o-2024-08-06",
        price_status=pb.PRICE_STATUS_EXACT,
        price_version="2026-11-01",
        usage_source=pb.USAGE_SOURCE_REPORTED,
        outcome=pb.OUTCOME_OK,
        ended_at_unix_ms=time.time_ns() // 1_000_000,
        operation="chat",
    )


def _batches() -> list[bytes]:
    """Batches of distinct calls; made ahead, to load and not to build.

    A million users of whom, as in life, a fifth make most of the calls.
    """
    spread = random.Random(1)
    batches = []
    for _ in range(int(BATCH_S * 60_000) // BATCH):
        request = pb.SettleBatchRequest()
        for _ in range(BATCH):
            user = int(1_000 * spread.paretovariate(PARETO_80_20)) % USERS
            request.settlements.append(_settlement(call_id.new(), f"user-{user}"))
        batches.append(request.SerializeToString())
    return batches


def _load_unary(address: str, result: "multiprocessing.Queue[tuple[int, float]]") -> None:
    _leave_first_core()
    connection = Connection(address)
    started = time.perf_counter()
    connection.run(_reserve_and_settle(started + UNARY_S), in_flight=CONNECTIONS_IN_FLIGHT)
    result.put((connection.messages, time.perf_counter() - started))


def _load_batches(address: str, result: "multiprocessing.Queue[tuple[int, float]]") -> None:
    _leave_first_core()
    batches = _batches()
    connection = Connection(address)
    started = time.perf_counter()

    def calls() -> Iterator[tuple[str, bytes]]:
        for batch in batches:
            if time.perf_counter() - started > BATCH_S:
                return
            yield SERVICE + "SettleBatch", batch

    connection.run(calls(), in_flight=8)
    result.put((connection.messages * BATCH, time.perf_counter() - started))


def _rate(load: object, address: str, pid: int) -> tuple[float, float, float]:
    """Return operations per second, the share of a core used, and CPU us per operation."""
    context = multiprocessing.get_context("spawn")
    result: multiprocessing.Queue[tuple[int, float]] = context.Queue()
    process = context.Process(target=load, args=(address, result))  # type: ignore[arg-type]
    before = _cpu_s(pid)
    process.start()
    operations, seconds = result.get(timeout=60)
    used = _cpu_s(pid) - before
    process.join()
    return operations / seconds, used / seconds, used / operations * 1e6


def _check_latency(address: str) -> tuple[float, float]:
    _leave_first_core()
    request = pb.CheckRequest(
        subject=pb.Subject(user_id="user-1", tier="pro"), estimate_nano_usd=120_000
    )
    taken_ms = []
    with grpc.insecure_channel(address) as channel:
        check = rpc.PolicyServiceStub(channel).Check
        for _ in range(100):
            check(request)
        until = time.perf_counter() + CHECK_S
        while time.perf_counter() < until:
            started = time.perf_counter()
            check(request)
            taken_ms.append((time.perf_counter() - started) * 1e3)
    percentiles = statistics.quantiles(taken_ms, n=100)
    return percentiles[49], percentiles[98]


def measure() -> list[Row]:
    """Return what was measured beside its budget."""
    allowed = os.sched_getaffinity(0)
    with _service() as (ready, pid):
        p50_ms, p99_ms = _check_latency(ready["policy"])
        os.sched_setaffinity(0, allowed)
        unary, unary_core, unary_us = _rate(_load_unary, ready["policy"], pid)
    with _service() as (ready, pid):
        batch, batch_core, batch_us = _rate(_load_batches, ready["policy"], pid)
    return [
        (
            "unary Reserve + Settle, durable SQLite, one server core",
            f"{unary:,.0f} calls/s ({unary_us:.0f} us CPU each, {unary_core:.0%} of a core)",
            ">= 2,000/s",
            ">= 4,000/s",
        ),
        (
            "SettleBatch, durable SQLite, 1M users, one server core",
            f"{batch:,.0f} settles/s ({batch_us:.0f} us CPU each, {batch_core:.0%} of a core)",
            ">= 25,000/s",
            ">= 45,000/s",
        ),
        (
            "policy check over loopback gRPC, Python client",
            f"p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms",
            "p50 <= 0.6 ms",
            "p50 <= 0.5 ms, p99 <= 3 ms",
        ),
    ]


if __name__ == "__main__":
    from benchmarks.__main__ import main

    sys.argv[1:] = ["policy"]
    main()
