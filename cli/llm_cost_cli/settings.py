"""The one reader of the command line's environment."""

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ADMIN_ENDPOINT: Final = "LLM_COST_ADMIN_ENDPOINT"
POLICY_ENDPOINT: Final = "LLM_COST_POLICY_ENDPOINT"
DATA_DIRECTORY: Final = "LLM_COST_DATA"
OTLP_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
OTLP_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"

POLICY_PORT: Final = 50151
ADMIN_PORT: Final = 50152
POLICY_METRICS_PORT: Final = 9465
OTLP_PORT: Final = 4317
PROCESSOR_METRICS_PORT: Final = 9466


def admin_endpoint() -> str:
    """Return the host:port of the admin service."""
    return os.environ.get(ADMIN_ENDPOINT, "").strip() or f"127.0.0.1:{ADMIN_PORT}"


def policy_endpoint() -> str:
    """Return the host:port of the data service."""
    return os.environ.get(POLICY_ENDPOINT, "").strip() or f"127.0.0.1:{POLICY_PORT}"


def data_directory() -> Path:
    """Return where `llm-cost up` keeps its ledger: visible, beside the work."""
    return Path(os.environ.get(DATA_DIRECTORY, "").strip() or ".llm-cost")


def author() -> str:
    """Return who makes a change, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user id, as in many containers
        return f"uid {os.getuid()}"


def wants_colour() -> bool:
    """Return whether to style the output: a terminal that has not said no."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with `extra` on top, for a process that we start."""
    return {**os.environ, **extra}
