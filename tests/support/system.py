"""Everything around an application, as real processes, and the application as one more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.policy.v1.policy_pb2_grpc import PolicyAdminServiceStub, PolicyServiceStub
from llm_cost_cli.demo import provider
from support import otlp
from support.processes import Service, policy_service_arguments, running

APPS = Path(__file__).parents[1] / "end_to_end" / "apps"
EXAMPLES = Path(__file__).parents[2] / "examples" / "python"
INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"


@dataclass
class System:
    """Everything around an application, and the environment that points it there."""

    provider: provider.Provider
    policy: Service
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
        return self.run_plainly(*app, launcher=(str(INSTRUMENT),))

    def run_plainly(self, *app: str, launcher: tuple[str, ...] = ()) -> str:
        """Run an application to its end; return its output."""
        finished = subprocess.run(
            [*launcher, sys.executable, *app],
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


@contextmanager
def whole_system(folder: Path) -> Iterator[System]:
    """A provider, a trace backend, the policy service and the processor, on free ports."""
    with (
        provider.running() as served,
        otlp.sink() as sink,
        running(policy_service_arguments(folder / "ledger.db")) as policy,
    ):
        processor_arguments = [
            "-m", "llm_cost_processor", "--listen", "127.0.0.1:0", "--metrics-listen",
            "127.0.0.1:0", "--forward", sink.endpoint, "--policy", policy.ready["policy"],
            "--spool", str(folder / "spool"),
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
                served,
                policy,
                sink,
                PolicyServiceStub(data),
                PolicyAdminServiceStub(admin),
                environment,
            )
