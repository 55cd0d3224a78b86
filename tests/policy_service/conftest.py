from collections.abc import Iterator
from pathlib import Path

import pytest

from support.policy import PolicyUnderTest, policy_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PolicyUnderTest]:
    with policy_service(tmp_path / "ledger.sqlite") as running:
        yield running
