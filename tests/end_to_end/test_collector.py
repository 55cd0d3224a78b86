"""The real Collector, the real processor and a backend, as in otel-collector.yaml."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import yaml

from llm_cost import attributes as names
from support import otlp
from support.otlp_traffic import HTTP_SPAN, OPENAI_CALL, OPENAI_CALL_NANO_USD, request, span
from support.processor import processor

ROOT = Path(__file__).parents[2]
SPANS = 1_000
ONE_IN = 4
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.fixture(scope="session")
def collector_binary() -> str:
    built = subprocess.run(
        [ROOT / "tools" / "build_collector.sh"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return built.stdout.strip()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_configuration_is_valid_and_nothing_in_it_is_deprecated(collector_binary: str) -> None:
    validated = subprocess.run(
        [collector_binary, "validate", "--config", ROOT / "otel-collector.yaml"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert validated.returncode == 0, validated.stderr
    assert "deprecat" not in (validated.stdout + validated.stderr).lower()


def test_without_go_the_build_says_what_is_missing(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}

    built = subprocess.run(
        [ROOT / "tools" / "build_collector.sh"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip

    assert built.returncode == 1
    assert "install Go" in built.stderr
    assert built.stdout == ""


@contextmanager
def collector(
    binary: str, folder: Path, ports: dict[str, int], processor_at: str, backend: str
) -> Iterator[Path]:
    """The Collector with the committed configuration, its debug exporters made a real backend."""
    config = yaml.safe_load((ROOT / "otel-collector.yaml").read_text())
    config["exporters"]["otlp_grpc/backend"] = {"endpoint": backend, "tls": {"insecure": True}}
    for name in ("traces/priced", "traces/out"):
        config["service"]["pipelines"][name]["exporters"] = ["otlp_grpc/backend"]
    (folder / "collector.yaml").write_text(yaml.safe_dump(config))
    environment = {
        **os.environ,
        **{name: f"127.0.0.1:{port}" for name, port in ports.items()},
        "LLM_COST_PROCESSOR_ENDPOINT": processor_at,
        "LLM_COST_QUEUE_DIRECTORY": str(folder / "queue"),
    }
    log = folder / "collector.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [binary, "--config", folder / "collector.yaml"], stderr=output, env=environment
        )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(20)


def export(endpoint: str) -> None:
    """1,000 spans in requests of 100; every fourth is an LLM call."""
    with grpc.insecure_channel(endpoint) as channel:
        grpc.channel_ready_future(channel).result(20)
        send = channel.unary_unary(EXPORT)
        for start in range(0, SPANS, 100):
            spans = [
                span(OPENAI_CALL if n % ONE_IN == 0 else HTTP_SPAN, number=n + 1)
                for n in range(start, start + 100)
            ]
            send(request(spans).SerializeToString(), timeout=20)


def test_a_thousand_mixed_spans_all_arrive_and_the_llm_ones_priced(
    collector_binary: str, tmp_path: Path
) -> None:
    ports = {
        name: free_port()
        for name in (
            "LLM_COST_OTLP_GRPC_LISTEN", "LLM_COST_OTLP_HTTP_LISTEN",
            "LLM_COST_PRICED_LISTEN", "LLM_COST_HEALTH_LISTEN",
        )
    }  # fmt: skip
    with (
        otlp.sink() as backend,
        processor(forward=f"127.0.0.1:{ports['LLM_COST_PRICED_LISTEN']}") as running,
        collector(
            collector_binary, tmp_path, ports, str(running.service.ready["otlp"]), backend.endpoint
        ) as log,
    ):
        export(f"127.0.0.1:{ports['LLM_COST_OTLP_GRPC_LISTEN']}")
        spans = backend.wait_for(lambda spans: len({s.span_id for s in spans}) == SPANS, 30)
        counted = running.metric("llm_calls_total")
        spent_usd = running.metric("llm_cost_usd_total")

    llm = {s.span_id: otlp.attributes_of(s) for s in spans if names.OPERATION_NAME in _keys(s)}
    others = [s for s in spans if names.OPERATION_NAME not in _keys(s)]
    assert len(llm) == SPANS // ONE_IN == counted
    assert {said[names.COST_NANO_USD] for said in llm.values()} == {OPENAI_CALL_NANO_USD}
    assert round(spent_usd * 1e9) == len(llm) * OPENAI_CALL_NANO_USD
    assert all(len(s.attributes) == len(HTTP_SPAN) for s in others)
    assert "deprecat" not in log.read_text().lower()


def _keys(received: otlp.Span) -> set[str]:
    return {attribute.key for attribute in received.attributes}
