"""`llm-cost up`: everything that an application needs, on this machine, until Ctrl-C."""

import argparse
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from llm_cost_cli import settings
from llm_cost_cli.stack import EPHEMERAL, Plan, Ports, Stack, running_stack
from llm_cost_cli.terminal import Style

_LOOK_EVERY_S: Final = 0.2  # how soon a service that died is noticed


def up(arguments: argparse.Namespace) -> None:
    """Run both services until told to end."""
    plan = Plan(
        data=arguments.data,
        policy_file=arguments.policy,
        ports=EPHEMERAL if arguments.ephemeral else _ports(arguments),
    )
    with ending_signal() as ended, running_stack(plan) as stack:
        if arguments.json:
            print(json.dumps(ready_document(stack)), flush=True)
        else:
            print(ready_block(stack, Style.detect()), flush=True)
        while not ended.wait(_LOOK_EVERY_S):
            stack.fail_if_ended()


@contextmanager
def ending_signal() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets, so that ending is orderly and happens once."""
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ready_document(stack: Stack) -> dict[str, Any]:
    """Return the addresses for a program."""
    return {
        "ready": True,
        "policy": stack.policy_endpoint,
        "admin": stack.admin_endpoint,
        "otlp": stack.otlp_endpoint,
        "metrics": stack.metrics_endpoints,
        "database": str(stack.database),
        "environment": stack.environment,
    }


def ready_block(stack: Stack, style: Style) -> str:
    """Return the addresses for a person."""
    exports = "\n".join(f"    export {name}={value}" for name, value in stack.environment.items())
    metrics = stack.metrics_endpoints
    ask = _unless_default("--policy-endpoint", stack.policy_endpoint, settings.POLICY_PORT)
    admin = _unless_default("--admin", stack.admin_endpoint, settings.ADMIN_PORT)
    return f"""
{style.bold("llm-cost is up.")} The ledger is {stack.database}

  An application needs three variables, and runs under opentelemetry-instrument:

{style.bold(exports)}
    opentelemetry-instrument python app.py

  What it costs

    llm-cost tiers{ask}
    llm-cost users{ask}

  What is allowed

    llm-cost policy show{admin}
    llm-cost override set USER --limit 0.50{admin}

  Prometheus scrapes {metrics["policy"]} and {metrics["processor"]}.

{style.dim("Ctrl-C ends both services; what was spent stays in the ledger.")}
"""


def _unless_default(option: str, endpoint: str, port: int) -> str:
    return "" if endpoint == f"127.0.0.1:{port}" else f" {option} {endpoint}"


def _ports(arguments: argparse.Namespace) -> Ports:
    return Ports(
        policy=arguments.policy_port,
        admin=arguments.admin_port,
        policy_metrics=arguments.policy_metrics_port,
        otlp=arguments.otlp_port,
        processor_metrics=arguments.processor_metrics_port,
    )
