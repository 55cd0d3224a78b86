"""What the scripts that run beside another instrumentation share: its switch, and the spans.

Runs in an environment with the peer and without pytest.
"""

import gc
import json
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llm_cost import faults, providers
from llm_cost.surroundings import has_usage
from support.recording import RecordingGate

PATIENCE_S = 4.0


def _genai() -> None:
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def _openai_v2() -> None:
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def _openllmetry() -> None:
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def _openinference() -> None:
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def _openlit() -> None:
    import openlit

    # A price list of its own, so that it does not wait for one from the network.
    prices = Path(tempfile.mkstemp(suffix=".json")[1])
    prices.write_text('{"chat": {}, "embeddings": {}}')
    openlit.init(disable_metrics=True, disable_events=True, pricing_json=str(prices))


def _logfire() -> None:
    import logfire

    logfire.instrument_openai()
    logfire.instrument_anthropic()


PEERS: dict[str, Callable[[], None]] = {
    "base": lambda: None,
    "genai": _genai,
    "openai-v2": _openai_v2,
    "openllmetry": _openllmetry,
    "openinference": _openinference,
    "openlit": _openlit,
    "logfire": _logfire,
}


class Watched:
    """The spans, settles and complaints of this process."""

    def __init__(self, peer: str) -> None:
        self.exporter = InMemorySpanExporter()
        self.gate = RecordingGate()
        self.complaints: list[str] = []
        complaints = self.complaints

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                complaints.append(record.getMessage())

        for name in ("opentelemetry", "llm_cost"):
            logging.getLogger(name).addHandler(Keep(logging.WARNING))
        faults.reraise = False
        self._provide(peer)

    def _provide(self, peer: str) -> None:
        processor = SimpleSpanProcessor(self.exporter)
        if peer == "logfire":
            import logfire

            logfire.configure(
                send_to_logfire=False, console=False, additional_span_processors=[processor]
            )
            return
        provider = TracerProvider()
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)

    def clear(self) -> None:
        self.exporter.clear()
        self.gate.reserved.clear()
        self.gate.settled.clear()
        self.gate.voided.clear()
        self.complaints.clear()

    def spans(self) -> list[ReadableSpan]:
        return [
            span
            for span in self.exporter.get_finished_spans()
            if (span.attributes or {}).get("logfire.span_type") != "pending_span"
        ]

    def count(self, name: str) -> int:
        return sum(name in (span.attributes or {}) for span in self.spans())

    def wait(self, attempts: int) -> None:
        """Wait until the attempts are settled and their costs are on spans, or patience ends."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            gc.collect()
            if len(self.gate.settled) >= attempts and (
                self.count("llm_cost.cost.nano_usd") >= attempts
            ):
                break
            time.sleep(0.02)
        time.sleep(0.05)  # what comes too late would be one too many

    def report(self, **about: Any) -> None:
        """Print one line of JSON."""
        spans = [_plain(span) for span in self.spans()]
        print(
            json.dumps(
                {
                    **about,
                    "reserves": len(self.gate.reserved),
                    "settles": [
                        [settled.actual_nano_usd, settled.usage_source, settled.outcome]
                        for settled in self.gate.settled
                    ],
                    "with_usage": [span for span in spans if span["has_usage"]],
                    "with_cost": [span for span in spans if span["nano_usd"] is not None],
                    "spans": spans,
                    "complaints": self.complaints,
                    "is_left_attached": trace.get_current_span() is not trace.INVALID_SPAN,
                }
            ),
            flush=True,
        )


def _plain(span: ReadableSpan) -> dict[str, Any]:
    attributes = dict(span.attributes or {})
    return {
        "name": span.name,
        "scope": span.instrumentation_scope.name if span.instrumentation_scope else "",
        "has_usage": has_usage(attributes),
        "nano_usd": attributes.get("llm_cost.cost.nano_usd"),
        "user": attributes.get("user.id"),
        "call_id": attributes.get("llm_cost.call.id"),
        "is_priced_below": attributes.get("llm_cost.priced_below", False),
        "input_tokens": attributes.get("gen_ai.usage.input_tokens"),
        "output_tokens": attributes.get("gen_ai.usage.output_tokens"),
    }


def switch_on(peer: str, *, ours_first: bool) -> None:
    """Instrument with the peer and with ours."""
    steps = [providers.instrument, PEERS[peer]]
    for step in steps if ours_first else reversed(steps):
        step()
