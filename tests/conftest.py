"""What every test has: faults of ours fail the test instead of being swallowed."""

import pytest

from llm_cost import faults


@pytest.fixture(autouse=True)
def _our_faults_fail_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "reraise", True)
