"""One OTLP request of traces as bytes: reads its LLM spans, appends to them, keeps the rest.

Every span stays the bytes it arrived as. Attributes are appended as further bytes, which is
what concatenation means in protobuf; a request in which nothing changed goes on as it came.
"""

from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError

from llm_cost_processor.additions import additions
from llm_cost_processor.dialects import SubjectNames
from llm_cost_processor.enrich import LlmCall, Passed, Subject, judge
from llm_cost_processor.raw.v1 import raw_pb2
from llm_cost_processor.span_reader import SpanReader

_STATUS_ERROR: Final = 2
_NOT_LLM: Final = Passed.NOT_LLM


class MalformedTraces(ValueError):
    """The bytes are no OTLP traces; the message says so and names the way out."""


@dataclass(slots=True)
class Enriched:
    """What became of one request."""

    payload: bytes
    spans: int = 0
    calls: list[LlmCall] = field(default_factory=list)
    passed: dict[Passed, int] = field(default_factory=dict)
    unreadable: int = 0


class Enricher:
    """Enriches requests; knows which attributes are worth reading."""

    def __init__(self, subjects: SubjectNames) -> None:
        self._reader = SpanReader(subjects)

    def enrich(self, payload: bytes) -> Enriched:
        """Return the request with its LLM calls priced; `MalformedTraces` if it is none."""
        try:
            traces = raw_pb2.Traces.FromString(payload)
        except DecodeError:
            raise MalformedTraces(
                f"{len(payload)} bytes are not an OTLP ExportTraceServiceRequest; "
                "send protobuf, uncompressed or with a grpc-encoding header"
            ) from None
        enriched = Enriched(payload)
        changed = False
        for resource_spans in traces.resource_spans:
            payer: Subject | None = None
            for scope_spans in resource_spans.scope_spans:
                spans = list(scope_spans.spans)
                enriched.spans += len(spans)
                # `LLM_SPAN_MARKS` written out: this line sees every span of a pipeline.
                found = [i for i, s in enumerate(spans) if b"gen_ai." in s or b"llm." in s]
                if found:
                    payer = payer or self._reader.payer_of(resource_spans.resource)
                    if self._enrich_spans(spans, found, payer, enriched):
                        del scope_spans.spans[:]
                        scope_spans.spans.extend(spans)
                        changed = True
        if changed:
            enriched.payload = traces.SerializeToString()
        return enriched

    def _enrich_spans(
        self, spans: list[bytes], found: list[int], payer: Subject, enriched: Enriched
    ) -> bool:
        """Enrich the spans at the indexes `found`, in place; return whether any changed."""
        changed, unreadable = False, []
        read, reading = raw_pb2.Span.FromString, self._reader.reading
        for index in found:
            span = spans[index]
            try:
                view = read(span)
                said = reading(view.attributes, payer)
            except DecodeError:
                unreadable.append(index)
                continue
            call = judge(*said, view, view.status.code == _STATUS_ERROR) if said else _NOT_LLM
            if isinstance(call, Passed):
                enriched.passed[call] = enriched.passed.get(call, 0) + 1
                continue
            enriched.calls.append(call)
            added = additions(call)
            if added:
                spans[index] = span + added
                changed = True
        for index in reversed(unreadable):
            del spans[index]
        enriched.unreadable += len(unreadable)
        return changed or bool(unreadable)
