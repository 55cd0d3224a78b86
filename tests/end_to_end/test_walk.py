"""One call's walk through real processes: application, policy service, processor, backend."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from llm_cost import attributes as names
from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyAdminServiceStub, PolicyServiceStub
from llm_cost_cli.demo import provider
from support import otlp
from support.processes import policy_service_arguments, running

APPS = Path(__file__).parent / "apps"
EXAMPLES = Path(__file__).parents[2] / "examples" / "python"
INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"


@dataclass
class System:
    """Everything around an application, and the environment that points it there."""

    provider: provider.Provider
    sink: otlp.Sink
    data: PolicyServiceStub
    admin: PolicyAdminServiceStub
    environment: dict[str, str]

    def usage(self, user_id: str) -> pb.UserUsage:
        return self.data.GetUsage(pb.GetUsageRequest(user_id=user_id), timeout=5).usage

    def put_policy(self, document: str) -> int:
        request = pb.PutPolicyRequest(document_yaml=document, author="test", reason="test")
        return self.admin.PutPolicy(request, timeout=5).version

    def run(self, *app: str) -> str:
        """Run an application under opentelemetry-instrument to its end; return its output."""
        finished = subprocess.run(
            [str(INSTRUMENT), sys.executable, *app],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode == 0, finished.stderr
        assert "Traceback" not in finished.stderr, finished.stderr
        assert "Failed to detach context" not in finished.stderr
        return finished.stdout

    def start(self, *app: str) -> subprocess.Popen[str]:
        """Start an application that waits for a line on its standard input."""
        process = subprocess.Popen(
            [str(INSTRUMENT), sys.executable, *app],
            env={**os.environ, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with (
        provider.running() as served,
        otlp.sink() as sink,
        running(policy_service_arguments(tmp_path / "ledger.db")) as policy,
    ):
        processor_arguments = [
            "-m", "llm_cost_processor", "--listen", "127.0.0.1:0", "--metrics-listen",
            "127.0.0.1:0", "--forward", sink.endpoint, "--policy", policy.ready["policy"],
            "--spool", str(tmp_path / "spool"),
        ]  # fmt: skip
        with (
            running(processor_arguments) as processor,
            grpc.insecure_channel(policy.ready["policy"]) as data,
            grpc.insecure_channel(policy.ready["admin"]) as admin,
        ):
            environment = {
                "LLM_COST_POLICY_ENDPOINT": policy.ready["policy"],
                # Process start-up on a busy machine is not what these tests are about.
                "LLM_COST_POLICY_DEADLINE_MS": "10000",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{processor.ready['otlp']}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OPENAI_BASE_URL": served.openai_base_url,
                "OPENAI_API_KEY": "none",
                "ANTHROPIC_BASE_URL": served.anthropic_base_url,
                "ANTHROPIC_API_KEY": "none",
            }
            yield System(
                served, sink, PolicyServiceStub(data), PolicyAdminServiceStub(admin), environment
            )


def costed(spans: list[otlp.Span]) -> list[dict[str, object]]:
    """The attributes of the spans that carry a cost."""
    plain = [otlp.attributes_of(span) for span in spans]
    return [attributes for attributes in plain if names.COST_NANO_USD in attributes]


def test_two_fields_are_all_that_an_application_adds(system: System) -> None:
    system.run(str(EXAMPLES / "two_fields.py"))

    spans = costed(system.sink.wait_for(lambda spans: len(costed(spans)) >= 1))
    [span] = spans
    assert span[names.USER_ID] == "user_1"
    assert span[names.USER_TIER] == "free"
    assert span[names.PRICE_STATUS] == "exact"
    assert span[names.COST_NANO_USD] == system.provider.record.total_nano_usd > 0
    assert system.usage("user_1").spent_nano_usd == system.provider.record.total_nano_usd
    assert system.usage("user_1").calls == 1


def test_an_untouched_application_is_priced_and_booked_as_unattributed(system: System) -> None:
    system.run(str(APPS / "untouched.py"))

    spans = costed(system.sink.wait_for(lambda spans: len(costed(spans)) >= 2))
    assert len(spans) == 2
    assert sum(int(str(span[names.COST_NANO_USD])) for span in spans) == (
        system.provider.record.total_nano_usd
    )
    usage = system.usage(names.UNATTRIBUTED)
    assert usage.spent_nano_usd == system.provider.record.total_nano_usd
    assert usage.calls == 2


def test_one_anthropic_call_is_one_span_with_usage(system: System) -> None:
    system.run(str(APPS / "untouched.py"))
    system.sink.wait_for(lambda spans: len(costed(spans)) >= 2)
    time.sleep(1)  # whatever else was going to be exported has been by now

    with_usage = [
        span
        for span in map(otlp.attributes_of, system.sink.spans)
        if names.USAGE_OUTPUT_TOKENS in span
    ]
    assert len(with_usage) == 2


def hold_of_one_call(system: System) -> int:
    """What one call of `burst.py` holds, seen from outside while it is in flight."""
    app = system.start(str(APPS / "burst.py"), "probe", "probe", "1")
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(app.communicate, "go\n", 60)
        held = 0
        while not held and not ended.done():
            held = system.usage("probe").held_nano_usd
        ended.result()
    assert held > 0
    return held


@pytest.mark.parametrize("apps", [1, 2])
def test_of_200_calls_at_once_exactly_those_with_room_reach_the_provider(
    system: System, apps: int
) -> None:
    room_for = 17
    hold_nano_usd = hold_of_one_call(system)
    before = len(system.provider.record.rows)
    limit_nano_usd = room_for * hold_nano_usd + hold_nano_usd // 2
    limit = f"{limit_nano_usd // 10**9}.{limit_nano_usd % 10**9:09d}"
    system.put_policy(policy_of_free(limit))

    processes = [
        system.start(str(APPS / "burst.py"), "user_1", "free", str(200 // apps))
        for _ in range(apps)
    ]
    with ThreadPoolExecutor(apps) as pool:
        outputs = list(pool.map(lambda process: process.communicate("go\n", 90)[0], processes))

    outcomes = [json.loads(output) for output in outputs]
    assert sum(o.get("served", 0) for o in outcomes) == room_for
    assert sum(o.get("blocked", 0) for o in outcomes) == 200 - room_for, outcomes
    assert len(system.provider.record.rows) - before == room_for
    usage = system.usage("user_1")
    assert usage.calls == room_for
    assert usage.held_nano_usd == 0
    assert usage.spent_nano_usd <= limit_nano_usd


def policy_of_free(limit: str) -> str:
    return f"default_tier: free\ntiers:\n  free:\n    limit: '{limit}'\n    action: block\n"


def test_the_next_decision_follows_a_change_of_policy_or_override(system: System) -> None:
    app = system.start(str(APPS / "one_by_one.py"))
    assert app.stdin is not None
    assert app.stdout is not None

    def outcome_of_next_call() -> str:
        assert app.stdin is not None
        assert app.stdout is not None
        app.stdin.write("user_1 free\n")
        app.stdin.flush()
        return app.stdout.readline().strip()

    outcomes = [outcome_of_next_call()]
    system.put_policy(policy_of_free("0"))
    outcomes.append(outcome_of_next_call())
    override = pb.Override(user_id="user_1", limit_nano_usd=10**9, reason="goodwill")
    system.admin.PutOverride(pb.PutOverrideRequest(override=override), timeout=5)
    outcomes.append(outcome_of_next_call())
    system.admin.DeleteOverride(pb.DeleteOverrideRequest(user_id="user_1"), timeout=5)
    outcomes.append(outcome_of_next_call())
    system.put_policy(policy_of_free("5.00"))
    outcomes.append(outcome_of_next_call())
    app.communicate(timeout=20)

    assert outcomes == ["served", "blocked tier:free 0", "served", "blocked tier:free 0", "served"]


def test_a_broken_policy_is_refused_whole_and_the_running_one_stays(system: System) -> None:
    version = system.put_policy(policy_of_free("0"))

    with pytest.raises(grpc.RpcError) as caught:
        system.put_policy("tiers:\n  free:\n    limit: many\n    action: explode\n")

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "many" in caught.value.details()
    assert "explode" in caught.value.details()
    running_now = system.admin.GetPolicy(pb.GetPolicyRequest(), timeout=5)
    assert (running_now.version, running_now.document_yaml) == (version, policy_of_free("0"))
