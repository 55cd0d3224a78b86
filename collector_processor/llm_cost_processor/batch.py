"""One OTLP request of traces as bytes: reads its LLM spans, appends to them, keeps the rest.

Every span stays the bytes it arrived as. Attributes are appended as further bytes, which is
what concatenation means in protobuf; a request in which nothing changed goes on as it came.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from google.protobuf.message import DecodeError

from llm_cost import attributes as names
from llm_cost.money import usd_display
from llm_cost_processor.any_value import (
    appended_float,
    appended_int,
    appended_text,
    appended_texts,
    plain_value,
    remembered_value,
)
from llm_cost_processor.dialects import (
    DIALECTS,
    Attributes,
    AttributeValue,
    Plan,
    Planner,
    SubjectNames,
)
from llm_cost_processor.dialects.plan import first
from llm_cost_processor.enrich import (
    LlmCall,
    Passed,
    SpanFacts,
    Subject,
    judge,
    numbers_added,
    subject_of,
    texts_added,
)
from llm_cost_processor.raw.v1 import raw_pb2

REMEMBERED_SPAN_BYTES: Final = 8 << 10
"""Values of larger spans (those with prompts) are not remembered: what is, stays below 64 MB
even if every value is as long as it can be."""

_STATUS_ERROR: Final = 2


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
        self._subjects = subjects
        self._planner = Planner(DIALECTS, subjects)

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
            resource_subject: Subject | None = None
            for scope_spans in resource_spans.scope_spans:
                spans = scope_spans.spans
                enriched.spans += len(spans)
                unreadable: list[int] = []
                for index, span in enumerate(spans):
                    # `LLM_SPAN_MARKS` written out: this line sees every span of a pipeline.
                    if b"gen_ai." not in span and b"llm." not in span:
                        continue
                    if resource_subject is None:
                        resource_subject = self._resource_subject(resource_spans.resource)
                    try:
                        added = self._enrich_span(span, resource_subject, enriched)
                    except DecodeError:
                        unreadable.append(index)
                        continue
                    if added:
                        spans[index] = span + added
                        changed = True
                for index in reversed(unreadable):
                    del spans[index]
                enriched.unreadable += len(unreadable)
        if changed or enriched.unreadable:
            enriched.payload = traces.SerializeToString()
        return enriched

    def _enrich_span(self, span: bytes, resource_subject: Subject, enriched: Enriched) -> bytes:
        view = raw_pb2.Span.FromString(span)
        # What long spans say is not worth remembering: the memory would be bounded badly.
        read = remembered_value if len(span) <= REMEMBERED_SPAN_BYTES else plain_value
        reading = self._reading(view.attributes, read)
        call = (
            Passed.NOT_LLM
            if reading is None
            else judge(
                SpanFacts(
                    *reading,
                    resource_subject,
                    view.trace_id,
                    view.span_id,
                    view.start_time_unix_nano,
                    view.end_time_unix_nano,
                    view.status.code == _STATUS_ERROR,
                )
            )
        )
        if isinstance(call, Passed):
            enriched.passed[call] = enriched.passed.get(call, 0) + 1
            return b""
        enriched.calls.append(call)
        return _additions(call)

    def _reading(
        self, encoded: Mapping[str, bytes], read: Callable[[bytes], AttributeValue | None]
    ) -> tuple[Plan, Attributes] | None:
        """How to read the span, and what it says; None for no LLM span."""
        present = self._planner.wanted.intersection(encoded)
        while True:
            plan = self._planner.plan_of(present)
            if plan is None:
                return None
            values = {name: read(encoded[name]) for name in plan.reads}
            if None not in values.values():
                return plan, cast(Attributes, values)
            # An empty text or an array says nothing: the next name in the dialect's list may.
            present = present.difference(n for n, value in values.items() if value is None)

    def _resource_subject(self, resource: bytes) -> Subject:
        try:
            encoded = raw_pb2.Resource.FromString(resource).attributes
        except DecodeError:
            return Subject()  # whoever takes the traces next will judge it
        values = {name: plain_value(encoded[name]) for name in self._planner.wanted & set(encoded)}
        said = {name: value for name, value in values.items() if value is not None}
        subjects = self._subjects
        wanted = (
            first(names, said.keys()) for names in (subjects.user, subjects.tier, subjects.group)
        )
        return subject_of(said, *wanted, unsaid=Subject())


def _additions(call: LlmCall) -> bytes:
    if call.price.carried:
        return b""
    added = [appended_texts(texts_added(call))]
    if not call.carries_call_id:
        added.append(appended_text(names.CALL_ID, call.call_id.hex()))
    for name, nano_usd in numbers_added(call):
        added.append(appended_int(name, nano_usd))
    if call.price.nano_usd is not None:
        added.append(appended_float(names.COST_AMOUNT, usd_display(call.price.nano_usd)))
    return b"".join(added)
