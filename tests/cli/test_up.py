"""`llm-cost up` starts both services, says what an application needs, and ends cleanly."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import grpc
import pytest

from llm_cost import call_id
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyServiceStub

LLM_COST = [sys.executable, "-m", "llm_cost_cli"]


@contextmanager
def up(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*LLM_COST, "up", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def _ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    document: dict[str, Any] = json.loads(process.stdout.readline())
    return document


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def _settle(endpoint: str, nano_usd: int) -> None:
    with grpc.insecure_channel(endpoint) as channel:
        settlement = pb.Settlement(
            call_id=call_id.new(),
            subject=pb.Subject(user_id="ada", tier="free"),
            actual_nano_usd=nano_usd,
            provider="openai",
            model="gpt-4o",
            price_status=pb.PRICE_STATUS_EXACT,
            usage_source=pb.USAGE_SOURCE_REPORTED,
            outcome=pb.OUTCOME_OK,
            ended_at_unix_ms=time.time_ns() // 1_000_000,
            operation="chat",
        )
        request = pb.SettleRequest(settlement=settlement)
        PolicyServiceStub(channel).Settle(request, timeout=10)


def _spent(endpoint: str) -> int:
    with grpc.insecure_channel(endpoint) as channel:
        request = pb.GetUsageRequest(user_id="ada")
        return PolicyServiceStub(channel).GetUsage(request, timeout=10).usage.spent_nano_usd


@pytest.mark.parametrize(
    ("option", "others"),
    [("--policy-port", ["--otlp-port", "0"]), ("--otlp-port", ["--policy-port", "0"])],
)
def test_a_taken_port_is_named_with_its_option(
    tmp_path: Path, option: str, others: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rest = ["--admin-port", "0", "--policy-metrics-port", "0", "--processor-metrics-port", "0"]
        ended = subprocess.run(
            [*LLM_COST, "up", "--data", str(tmp_path), option, str(port), *others, *rest],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert ended.returncode == 2
    assert f"port {port} (" in ended.stderr
    assert f"choose another with {option} PORT" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_broken_policy_file_is_refused_and_nothing_is_left_running(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("tiers: [")
    ended = subprocess.run(
        [*LLM_COST, "up", "--data", str(tmp_path), "--ephemeral", "--policy", str(policy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "the policy service ended with exit code" in ended.stderr
    assert "not YAML" in ended.stderr


def test_a_child_that_dies_is_reported_and_the_other_is_ended(tmp_path: Path) -> None:
    with up(["--data", str(tmp_path), "--ephemeral", "--json"]) as process:
        _ready(process)
        policy, processor = _children(process.pid)
        os.kill(processor, signal.SIGKILL)

        _, complaints = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "the processor ended unexpectedly with exit code -9" in complaints
    assert not _is_alive(policy)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_and_nothing_is_lost(tmp_path: Path, number: int) -> None:
    arguments = ["--data", str(tmp_path), "--ephemeral", "--json"]
    with up(arguments) as process:
        ready = _ready(process)
        children = _children(process.pid)
        _settle(ready["policy"], 1_234_567_891)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=30)

    assert process.returncode == 0
    assert complaints == ""
    assert not any(map(_is_alive, children))
    with up(arguments) as process:
        assert _spent(_ready(process)["policy"]) == 1_234_567_891


def test_the_ready_line_names_every_address(tmp_path: Path) -> None:
    with up(["--data", str(tmp_path), "--ephemeral", "--json"]) as process:
        ready = _ready(process)

        assert ready["environment"] == {
            "LLM_COST_POLICY_ENDPOINT": ready["policy"],
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{ready['otlp']}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        assert Path(ready["database"]).is_relative_to(tmp_path)
        for endpoint in ready["metrics"].values():
            with urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=10) as answer:
                assert answer.status == 200
        with grpc.insecure_channel(ready["otlp"]) as channel:
            grpc.channel_ready_future(channel).result(timeout=10)


def test_the_ready_block_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    with up(["--data", str(tmp_path), "--ephemeral"]) as process:
        assert process.stdout is not None
        block = list(takewhile(lambda line: "Ctrl-C" not in line, process.stdout))

    exports = [line.strip() for line in block if "export " in line]
    assert len(exports) == 3
    assert exports[0].startswith("export LLM_COST_POLICY_ENDPOINT=127.0.0.1:")
    assert exports[2] == "export OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
