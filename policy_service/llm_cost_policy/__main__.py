"""`python -m llm_cost_policy`: the only place that wires the service together."""

import gc
import json
import logging
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import grpc

from llm_cost.errors import ConfigurationError
from llm_cost_policy import admin, server
from llm_cost_policy.ledger.sqlite import SqliteLedger
from llm_cost_policy.metrics import MetricsEndpoint
from llm_cost_policy.settings import Settings, settings_from
from llm_cost_policy.transport import Listener

# A batch leaves tens of thousands of rows and counters behind that are no garbage: looking
# through them at every 700th object took a quarter of the writer's time.
GC_THRESHOLDS: Final = (50_000, 20, 100)
GRACE_S: Final = 1.0  # a call waits for one commit, which takes milliseconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    gc.set_threshold(*GC_THRESHOLDS)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        settings = settings_from(sys.argv[1:] if arguments is None else arguments)
        with ExitStack() as stack:
            ready = _serve(settings, stack)
            print(json.dumps(ready), flush=True)
            stopped.wait()
    except ConfigurationError as error:
        print(f"llm_cost_policy: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(settings: Settings, stack: ExitStack) -> dict[str, object]:
    """Start everything; `stack` ends it in the reverse order, the ledger last."""
    ledger = _open_ledger(settings)
    stack.callback(ledger.close)
    metrics = MetricsEndpoint(ledger, address=settings.metrics_listen)
    stack.callback(metrics.stop)
    credentials = _credentials(settings)
    listeners = [
        Listener(handler, service.full_name, address=address, credentials=credentials)
        for handler, service, address in (
            (server.handlers(ledger), server.SERVICE, settings.listen),
            (admin.handlers(ledger), admin.SERVICE, settings.admin_listen),
        )
    ]
    for listener in listeners:
        stack.callback(listener.stop, GRACE_S)
    policy, administration = listeners
    return {
        "ready": True,
        "policy": policy.address,
        "admin": administration.address,
        "metrics": metrics.address,
    }


def _open_ledger(settings: Settings) -> SqliteLedger:
    text = _read(settings.policy_file, "--policy") if settings.policy_file else None
    try:
        return SqliteLedger(
            str(settings.database), policy_file_text=None if text is None else text.decode()
        )
    except (OSError, sqlite3.Error) as error:
        raise ConfigurationError(
            f"database {settings.database} cannot be opened ({error}); name a writable file"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"--policy {settings.policy_file} is not UTF-8: {error}") from None


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate = _read(settings.tls_certificate, "--tls-certificate")
    return grpc.ssl_server_credentials([(_read(settings.tls_key, "--tls-key"), certificate)])


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{option} {path} cannot be read ({error})") from None


if __name__ == "__main__":
    sys.exit(main())
