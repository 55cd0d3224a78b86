"""What pricing one call costs, beside genai-prices in the same run."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from genai_prices import Usage as OtherUsage
from genai_prices import calc_price

from llm_cost.pricing import cost_of, cost_reported
from llm_cost.usage import Usage

Row = tuple[str, str, str, str]
AT_S = 1_795_000_000.5
BATCH = 100
"""Short batches and the least of many: what the code costs, not what the neighbours do."""


def best_us(call: Callable[[], object], *, seconds: float = 0.3, batch: int = BATCH) -> float:
    call()
    best = float("inf")
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        for _ in range(batch):
            call()
        best = min(best, (time.perf_counter() - start) / batch)
    return best * 1e6


def fresh_ms(code: str) -> float:
    """The least of a few fresh interpreters, as measured inside, with bytecode as installed."""
    program = (
        "import time, llm_cost.usage; start = time.perf_counter(); "
        f"{code}; print((time.perf_counter() - start) * 1e3)"
    )
    with tempfile.TemporaryDirectory() as cache:
        # pip compiles what it installs; a checkout that may not would compile on every start.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        runs = [
            subprocess.run(
                [sys.executable, "-c", program],
                check=True, capture_output=True, text=True, env=environment,
            )
            for _ in range(6)
        ]  # fmt: skip
    return min(float(run.stdout) for run in runs[1:])


def _price(model: str, provider: str, usage: Usage) -> Callable[[], object]:
    return lambda: cost_of(usage, provider=provider, model=model, at=AT_S)


def measure() -> list[Row]:
    cached = Usage(1_000, cache_read_text_tokens=500, output_text_tokens=300)
    writes = Usage(100, 0, 0, 0, 2_000, 0, 0, 300, 400, 50)
    searched = cached._replace(web_searches=2)
    spoken = cached._replace(
        input_audio_tokens=50, cache_read_audio_tokens=20, output_audio_tokens=60
    )
    drawn = cached._replace(input_image_tokens=7, output_image_tokens=1_290)
    calls = [
        ("gpt-4o, cached", _price("gpt-4o", "openai", cached), "≤ 2 µs", "≤ 0.6 µs"),
        ("claude, 5m + 1h cache", _price("claude-opus-4-8", "anthropic", writes), "≤ 2 µs", ""),
        ("gemini, tiered", _price("gemini-2.5-pro", "google", cached), "≤ 2 µs", "≤ 0.6 µs"),
        ("web searches", _price("gpt-4o", "openai", searched), "≤ 2 µs", ""),
        ("audio in and out, cached", _price("gpt-realtime", "openai", spoken), "≤ 2 µs", ""),
        ("images out", _price("gemini-2.5-flash-image", "google", drawn), "≤ 2 µs", ""),
        ("fee per request", _price("sonar-pro", "perplexity", cached), "≤ 2 µs", ""),
        ("audio at the text rate (partial)", _price("gpt-4o", "openai", spoken), "≤ 2 µs", ""),
        ("unknown model", _price("gpt-none", "openai", cached), "≤ 2 µs", "≤ 0.6 µs"),
    ]
    rows = [
        (f"cost_of, {what}", f"{best_us(call):.2f} µs", must, aim)
        for what, call, must, aim in calls
    ]
    totals = best_us(
        lambda: Usage.from_totals(input_tokens=1_500, output_tokens=300, cache_read_tokens=500)
    )
    rows.append(("Usage.from_totals", f"{totals:.2f} µs", "", "≤ 1 µs"))
    modal = best_us(
        lambda: Usage.from_totals(
            input_tokens=1_500,
            output_tokens=300,
            cache_read_tokens=500,
            input_audio_tokens=200,
            cache_read_audio_tokens=10,
            output_audio_tokens=100,
        )
    )
    rows.append(("Usage.from_totals, with audio", f"{modal:.2f} µs", "", "≤ 2 µs"))
    reported = best_us(lambda: cost_reported(0.0106, by="openrouter"))
    rows.append(("cost_reported", f"{reported:.2f} µs", "", ""))
    other = OtherUsage(input_tokens=1_500, output_tokens=300, cache_read_tokens=500)
    theirs = best_us(lambda: calc_price(other, "gpt-4o", provider_id="openai"), batch=10)
    rows.append(("genai-prices calc_price, gpt-4o, cached", f"{theirs:.0f} µs", "", ""))
    first = (
        "from llm_cost.pricing import cost_of; from llm_cost.usage import Usage; "
        "cost_of(Usage(5), provider='openai', model='gpt-4o')"
    )
    rows.append(("import and first price", f"{fresh_ms(first):.1f} ms", "", "≤ 15 ms"))
    return rows


if __name__ == "__main__":
    for row in measure():
        print(" | ".join(row))
