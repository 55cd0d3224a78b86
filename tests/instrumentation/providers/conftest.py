"""A provider on loopback, a gate that remembers, spans in memory, the patches on."""

import inspect
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from llm_cost import policy, providers, receipts
from llm_cost.providers import seam
from support.coverage_table import DOCUMENT, Cell, Coverage, seen_by, written
from support.llm_server import LlmServer, llm_server
from support.recording import RecordingGate, Spans


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with llm_server() as running:
        yield running


@pytest.fixture
def gate() -> Iterator[RecordingGate]:
    recording = RecordingGate()
    with policy.use_gate(recording):
        yield recording


@pytest.fixture
def spans() -> Iterator[Spans]:
    recording = Spans()
    providers.instrument(tracer_provider=recording.provider)
    yield recording
    providers.uninstrument()
    seam._refusing_servers.clear()
    receipts._booked.clear()


# --- docs/coverage.md: see support/coverage_table.py ---------------------------------------

HERE = Path(__file__).parent
COVERAGE = pytest.StashKey[Coverage]()
LAST = "test_coverage_document.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-coverage-table", action="store_true", help="write docs/coverage.md from this run"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "covers(client, way): the cell of docs/coverage.md shown")
    config.stash[COVERAGE] = Coverage()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
    here = {item.path.name for item in items if item.path.parent == HERE}
    config.stash[COVERAGE].is_whole = here == {path.name for path in HERE.glob("test_*.py")}


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items[:1]:
        item.config.stash[COVERAGE].is_whole = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marker = item.get_closest_marker("covers")
    gate = getattr(item, "funcargs", {}).get("gate")
    if marker is not None and call.when == "call" and report.passed and gate is not None:
        column = "async" if inspect.iscoroutinefunction(getattr(item, "function", None)) else "sync"
        item.config.stash[COVERAGE].saw(Cell(*marker.args, column), seen_by(gate))
    return report


@pytest.fixture
def coverage(request: pytest.FixtureRequest) -> Coverage:
    return request.config.stash[COVERAGE]


def pytest_sessionfinish(session: pytest.Session) -> None:
    coverage = session.config.stash[COVERAGE]
    if session.config.getoption("write_coverage_table", False):
        DOCUMENT.write_text(written(coverage.completed(DOCUMENT)))
