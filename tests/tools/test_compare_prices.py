"""`tools/compare_prices.py` on a small map of our own, in the form that litellm publishes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOOL = Path(__file__).parents[2] / "tools/compare_prices.py"
MAP: dict[str, Any] = {
    "sample_spec": {"litellm_provider": "one of many", "input_cost_per_token": 0.0},
    # As the table has it: 2.50, 1.25 cached, 10; batch 1.25 and 5.
    "gpt-4o": {
        "litellm_provider": "openai",
        "input_cost_per_token": 2.5e-06,
        "cache_read_input_token_cost": 1.25e-06,
        "output_cost_per_token": 1e-05,
        "input_cost_per_token_batches": 1.25e-06,
        "output_cost_per_token_batches": 5e-06,
    },
    # The table says 0.60 for output.
    "gpt-4o-mini": {
        "litellm_provider": "openai",
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6.6e-07,
    },
    # A step that the table has at 200,000 tokens.
    "gemini/gemini-2.5-pro": {
        "litellm_provider": "gemini",
        "input_cost_per_token": 1.25e-06,
        "output_cost_per_token": 1e-05,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "output_cost_per_token_above_128k_tokens": 1.5e-05,
    },
    # Other offers, other providers, and what we have no price for.
    "azure/gpt-4o": {"litellm_provider": "azure", "input_cost_per_token": 1.0},
    "gpt-none": {"litellm_provider": "openai", "input_cost_per_token": 1.0},
}


def _run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), str(path), "--at", "2026-11-24"],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_what_is_no_map_is_named(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    if text is not None:
        path.write_text(text)

    done = _run(path)

    assert done.returncode == 1
    assert str(path) in done.stderr


def test_only_what_both_say_differently_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(MAP))

    done = _run(path)

    assert done.returncode == 0
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert rows == [
        "| google | gemini-2.5-pro | standard | cache_read_mtok | 200000 | 0.25 | - |  |",
        "| google | gemini-2.5-pro | standard | output_mtok | 128000 | - | 15 |  |",
        "| google | gemini-2.5-pro | standard | output_mtok | 200000 | 15 | - |  |",
        "| openai | gpt-4o-mini | standard | output_mtok | 0 | 0.6 | 0.66 | +10.0% |",
    ]
    assert done.stdout.endswith("4 rates of 2 models disagree\n")
