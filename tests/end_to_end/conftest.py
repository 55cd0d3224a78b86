"""The whole system, once per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.system import System, whole_system


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    with whole_system(tmp_path) as system:
        yield system
