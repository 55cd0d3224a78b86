"""The policy service and the processor on loopback, as child processes of ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm_cost_cli import settings
from llm_cost_cli.failures import NOT_TRIED, CommandFailed
from llm_cost_cli.processes import Child, Program, fail_if_ended, refuse_taken_port, running

# (option, what it is for), in the order of the fields of `Ports`.
_PORTS = (
    ("policy", "--policy-port", "policy service"),
    ("admin", "--admin-port", "admin service"),
    ("policy_metrics", "--policy-metrics-port", "metrics of the policy service"),
    ("otlp", "--otlp-port", "OTLP of the processor"),
    ("processor_metrics", "--processor-metrics-port", "metrics of the processor"),
)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of both services; 0 stands for any free one."""

    policy: int = settings.POLICY_PORT
    admin: int = settings.ADMIN_PORT
    policy_metrics: int = settings.POLICY_METRICS_PORT
    otlp: int = settings.OTLP_PORT
    processor_metrics: int = settings.PROCESSOR_METRICS_PORT


EPHEMERAL = Ports(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: where the ledger lies, under which policy, on which ports."""

    data: Path
    policy_file: Path | None
    ports: Ports
    forward: str | None = None  # host:port of a trace backend
    log_directory: Path | None = None  # None: the services log to our stderr

    @property
    def database(self) -> Path:
        """The ledger's file."""
        return self.data.resolve() / "ledger.db"


@dataclass(frozen=True, slots=True)
class Stack:
    """Both services, ready."""

    policy_service: Child
    processor: Child
    database: Path

    @property
    def policy_endpoint(self) -> str:
        """host:port of the data service."""
        return str(self.policy_service.ready["policy"])

    @property
    def admin_endpoint(self) -> str:
        """host:port of the admin service."""
        return str(self.policy_service.ready["admin"])

    @property
    def otlp_endpoint(self) -> str:
        """host:port that takes spans."""
        return str(self.processor.ready["otlp"])

    @property
    def metrics_endpoints(self) -> dict[str, str]:
        """What Prometheus scrapes, by service."""
        return {
            "policy": str(self.policy_service.ready["metrics"]),
            "processor": str(self.processor.ready["metrics"]),
        }

    @property
    def environment(self) -> dict[str, str]:
        """What an application needs to be told."""
        return {
            settings.POLICY_ENDPOINT: self.policy_endpoint,
            settings.OTLP_ENDPOINT: f"http://{self.otlp_endpoint}",
            settings.OTLP_PROTOCOL: "grpc",
        }

    def fail_if_ended(self) -> None:
        """Raise if either service ended though nobody told it to."""
        fail_if_ended([self.policy_service, self.processor])


@contextmanager
def running_stack(plan: Plan) -> Iterator[Stack]:
    """Both services; the processor ends first, so that its last settles find the ledger."""
    for name, option, purpose in _PORTS:
        refuse_taken_port(getattr(plan.ports, name), option=option, purpose=purpose)
    try:
        plan.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--data {plan.data} cannot be made: {error.strerror}"
        raise CommandFailed(message, exit_code=NOT_TRIED) from None
    with (
        running(_policy_service(plan)) as policy_service,
        running(_processor(plan, policy=str(policy_service.ready["policy"]))) as processor,
    ):
        yield Stack(policy_service, processor, plan.database)


def _policy_service(plan: Plan) -> Program:
    chosen = ["--policy", str(plan.policy_file)] if plan.policy_file else []
    return Program.module(
        "the policy service", "llm_cost_policy",
        "--database", str(plan.database),
        "--listen", _loopback(plan.ports.policy),
        "--admin-listen", _loopback(plan.ports.admin),
        "--metrics-listen", _loopback(plan.ports.policy_metrics),
        *chosen,
        log=_log(plan, "policy.log"),
    )  # fmt: skip


def _processor(plan: Plan, *, policy: str) -> Program:
    forward = ["--forward", plan.forward] if plan.forward else []
    return Program.module(
        "the processor", "llm_cost_processor",
        "--listen", _loopback(plan.ports.otlp),
        "--metrics-listen", _loopback(plan.ports.processor_metrics),
        "--policy", policy,
        "--spool", str(plan.data / "spool"),
        *forward,
        log=_log(plan, "processor.log"),
    )  # fmt: skip


def _loopback(port: int) -> str:
    return f"127.0.0.1:{port}"


def _log(plan: Plan, name: str) -> Path | None:
    return plan.log_directory / name if plan.log_directory else None
