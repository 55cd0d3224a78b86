import logging

import pytest

from llm_cost import faults


def test_a_fault_of_ours_is_logged_and_the_host_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faults, "reraise", False)

    with caplog.at_level(logging.ERROR), faults.contained("pricing"):
        raise RuntimeError("ours")

    assert "failed while pricing" in caplog.text


def test_a_fault_of_ours_fails_our_own_tests() -> None:
    with pytest.raises(RuntimeError, match="ours"), faults.contained("pricing"):
        raise RuntimeError("ours")


def test_what_ends_the_program_is_never_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "reraise", False)

    with pytest.raises(KeyboardInterrupt), faults.contained("pricing"):
        raise KeyboardInterrupt


def test_faults_are_logged_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(faults, "reraise", False)
    monkeypatch.setattr(faults, "_logged", 0)

    for _ in range(1_000):
        with faults.contained("pricing"):
            raise RuntimeError("ours")

    assert len(caplog.records) == faults._LOGGED_AT_MOST + 1
