"""`python -m llm_cost_processor`: the only place that wires."""

import asyncio
import json
import logging
import signal
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from llm_cost import price_files
from llm_cost import settings as library_settings
from llm_cost.errors import ConfigurationError
from llm_cost_processor import allocation
from llm_cost_processor.aggregate import Aggregate
from llm_cost_processor.batch import Enricher
from llm_cost_processor.exposition import AggregateCollector
from llm_cost_processor.forward import Forward, GrpcForward, LastHop, channel_to
from llm_cost_processor.health import Health
from llm_cost_processor.receiver import LOGS, METRICS, TRACES, TRANSPORT_BYTES, Handler, Receiver
from llm_cost_processor.settings import Settings, from_command_line
from llm_cost_processor.settle import Settler
from llm_cost_processor.spool import Spool

DRAIN_REQUESTS_S: Final = 2.0
"""For requests in flight at SIGTERM; together with the next, below the 5 s that are promised."""
DRAIN_SPOOL_S: Final = 1.5


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    health = Health(registry)
    aggregate = Aggregate()
    registry.register(AggregateCollector(aggregate))
    async with AsyncExitStack() as stack:
        settler = await _settler(settings, health, stack)
        forwards: dict[str, Forward | None] = dict.fromkeys((TRACES, METRICS, LOGS))
        if settings.forward:
            channel = await stack.enter_async_context(channel_to(settings.forward))
            forwards = {s: GrpcForward(channel, f"/{s}/Export") for s in forwards}
        receiver = Receiver(
            Enricher(settings.subjects),
            aggregate,
            health,
            forward=forwards[TRACES] or LastHop(),
            settler=settler,
        )
        server, checks, port = await _server(settings, receiver, forwards)
        metrics_host, _, metrics_port = settings.metrics_listen.rpartition(":")
        metrics, _thread = start_http_server(
            int(metrics_port), metrics_host.strip("[]"), registry=registry
        )
        stack.callback(metrics.shutdown)
        host = settings.listen.rpartition(":")[0]
        ready = {
            "ready": True,
            "otlp": f"{host}:{port}",
            "metrics": f"{metrics_host}:{metrics.server_port}",
        }
        allocation.settle_in()
        print(json.dumps(ready), flush=True)
        await stopping.wait()
        # First the word, so that balancers send elsewhere, then the requests in flight.
        await checks.enter_graceful_shutdown()
        await server.stop(DRAIN_REQUESTS_S)


async def _settler(settings: Settings, health: Health, stack: AsyncExitStack) -> Settler | None:
    if settings.policy is None or settings.spool is None:
        return None
    spool = Spool(settings.spool, max_bytes=settings.spool_max_bytes)
    health.spool_items.set_function(lambda: spool.items)
    health.spool_bytes.set_function(lambda: spool.size_bytes)
    channel = await stack.enter_async_context(channel_to(settings.policy))
    settler = Settler(
        spool,
        channel,
        on_settled=lambda status, count: health.settlements.labels(status).inc(count),
        on_retry=health.settle_retries.inc,
    )
    stack.push_async_callback(settler.close, DRAIN_SPOOL_S)
    return settler


async def _server(
    settings: Settings, receiver: Receiver, forwards: dict[str, Forward | None]
) -> tuple[grpc.aio.Server, health_aio.HealthServicer, int]:
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", TRANSPORT_BYTES),
            # A second processor on the same port would silently take half of the traffic.
            ("grpc.so_reuseport", 0),
        ]
    )
    methods: dict[str, Handler] = {
        TRACES: receiver.traces,
        METRICS: partial(receiver.pass_on, "metrics", forwards[METRICS]),
        LOGS: partial(receiver.pass_on, "logs", forwards[LOGS]),
    }
    for service, method in methods.items():
        handlers = {"Export": receiver.serve(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    checks = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    try:
        port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise ConfigurationError(f"--listen {settings.listen!r}: {error}") from None
    await server.start()
    for service in ("", *methods):
        await checks.set(service, health_pb2.HealthCheckResponse.SERVING)
    return server, checks, port


def main() -> int:
    """Run; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = from_command_line(sys.argv[1:])
        price_files.use(library_settings.prices_path(), account=library_settings.prices_account())
        asyncio.run(run(settings))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
