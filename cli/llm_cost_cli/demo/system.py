"""Everything that the demo starts: services, providers, application, trace backend."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llm_cost.policy.v1 import policy_pb2 as pb
from llm_cost.settings import POLICY_DEADLINE_MS
from llm_cost_cli import channels
from llm_cost_cli.channels import DEADLINE_S
from llm_cost_cli.demo import story
from llm_cost_cli.demo.span_sink import SpanSink, running_sink
from llm_cost_cli.failures import NOT_TRIED, CommandFailed
from llm_cost_cli.processes import Child, Program, fail_if_ended, running
from llm_cost_cli.stack import EPHEMERAL, Plan, Stack, running_stack

_REFUSE_EVERY: Final = 200  # providers turn a request away now and then; clients try again
_POLICY_DEADLINE_MS: Final = 5_000
"""Seven processes share what may be two cores: the demo waits rather than see an outage."""


@dataclass(frozen=True, slots=True)
class System:
    """Everything that the demo has started."""

    stack: Stack
    provider: Child
    app: Child
    sink: SpanSink

    def fail_if_ended(self) -> None:
        """Raise for the first process that ended though nobody told it to."""
        self.stack.fail_if_ended()
        fail_if_ended([self.provider, self.app])


@contextmanager
def running_system(scratch: Path, *, seed: int) -> Iterator[System]:
    """Start all processes; end them in the opposite order, whatever happens."""
    with ExitStack() as started:
        sink = started.enter_context(running_sink())
        plan = Plan(
            data=scratch, policy_file=None, ports=EPHEMERAL, forward=sink.endpoint,
            log_directory=scratch,
        )  # fmt: skip
        stack = started.enter_context(running_stack(plan))
        _put_override(stack)
        provider = started.enter_context(
            running(
                Program.module(
                    "the provider server", "llm_cost_cli.demo.provider",
                    "--seed", str(seed), "--refuse-every", str(_REFUSE_EVERY),
                    log=scratch / "provider.log",
                )
            )
        )  # fmt: skip
        app = started.enter_context(running(_app(scratch, stack, str(provider.ready["provider"]))))
        yield System(stack, provider, app, sink)


def _put_override(stack: Stack) -> None:
    override = pb.Override(
        user_id=story.ABUSER,
        limit_nano_usd=story.ABUSER_LIMIT_NANO_USD,
        action=pb.ACTION_BLOCK,
        reason="scripted use",
        author="demo",
    )
    with channels.admin(stack.admin_endpoint) as stub:
        stub.PutOverride(pb.PutOverrideRequest(override=override), timeout=DEADLINE_S)


def _app(scratch: Path, stack: Stack, provider: str) -> Program:
    return Program(
        name="the application",
        command=[_opentelemetry_instrument(), sys.executable, "-m", "llm_cost_cli.demo.app"],
        environment=_app_environment(stack, provider),
        log=scratch / "app.log",
    )


def _app_environment(stack: Stack, provider: str) -> Mapping[str, str]:
    return {
        **stack.environment,
        POLICY_DEADLINE_MS: str(_POLICY_DEADLINE_MS),
        "OTEL_SERVICE_NAME": "brief",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "500",  # ms: the check at the end waits for the last spans
        "OPENAI_BASE_URL": f"http://{provider}/v1",
        "OPENAI_API_KEY": "demo",
        "ANTHROPIC_BASE_URL": f"http://{provider}",
        "ANTHROPIC_API_KEY": "demo",
    }


def _opentelemetry_instrument() -> str:
    beside_python = Path(sys.executable).parent / "opentelemetry-instrument"
    found = str(beside_python) if beside_python.exists() else shutil.which(beside_python.name)
    if found is None:
        message = "opentelemetry-instrument is not installed: pip install 'otel-llm-cost[demo]'"
        raise CommandFailed(message, exit_code=NOT_TRIED)
    return found
