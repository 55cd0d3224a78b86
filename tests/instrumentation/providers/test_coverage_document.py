"""docs/coverage.md says what the tests saw. Runs last: see conftest.py."""

import pytest

from support.coverage_table import DOCUMENT, Cell, Coverage, read, written


def test_a_document_is_read_as_it_was_written() -> None:
    cells = {
        Cell("a", "chat", "sync"): "ok",
        Cell("a", "chat", "async"): "unknown",
        Cell("b", "chat stream", "async"): "ok, price partial",
    }

    assert read(written(cells)) == cells


def test_the_document_says_what_the_tests_of_this_run_saw(
    coverage: Coverage, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("write_coverage_table", False):
        return  # it is about to be written

    assert read(DOCUMENT.read_text()) == coverage.completed(DOCUMENT), (
        "docs/coverage.md is out of date: run `make coverage-table`"
    )
