"""Work that goes on elsewhere belongs to whom it was begun for: queues, threads, tasks."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from llm_cost import attributes as names
from llm_cost_cli.demo import provider
from support import official_instrumentations, otlp

APPS = Path(__file__).parent / "apps"
INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"


def payers_of(app: str, calls: int, *, official: bool) -> "Counter[tuple[str | None, str | None]]":
    """Run an application to its end; return who paid for its calls."""
    folders = [str(official_instrumentations.folder())] if official else []
    with provider.running() as served, otlp.sink() as sink:
        settings = {
            "PYTHONPATH": ":".join([*folders, str(APPS)]),
            "OPENAI_BASE_URL": served.openai_base_url,
            "OPENAI_API_KEY": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink.endpoint}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
        }
        finished = subprocess.run(
            [str(INSTRUMENT), sys.executable, str(APPS / app)],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert finished.returncode == 0, finished.stderr
        spans = [otlp.attributes_of(span) for span in sink.spans]
    costed = [span for span in spans if names.COST_NANO_USD in span]
    assert len(costed) == calls, finished.stderr
    return Counter((span.get(names.USER_ID), span.get(names.USER_TIER)) for span in costed)


def test_a_celery_task_is_paid_by_whom_it_was_sent_for() -> None:
    paid = payers_of("celery_app.py", 3, official=True)

    assert paid == Counter({("anna", "pro"): 1, ("bert", "pro"): 1, (None, None): 1})


@pytest.mark.parametrize("official", [False, True])
def test_tasks_inherit_and_threads_do_with_the_threading_instrumentation(official: bool) -> None:
    paid = payers_of("threads_app.py", 4, official=official)

    assert paid["task", "pro"] == paid["to_thread", "pro"] == 1
    assert paid["thread", "pro"] == paid["pool", "pro"] == int(official)
    assert paid[None, None] == (0 if official else 2)
