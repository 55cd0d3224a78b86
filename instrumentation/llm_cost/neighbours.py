"""Other instrumentations in the process: one attempt, one span with usage, one cost.

Where another instrumentation's span stands for the very call that we measure, that span is
borrowed: it gets what we know, and there is none of ours. See
docs/decisions/0008-living-with-others.md for the rule and for who does what when.

A borrowed span is written to when its owner ends it: only then is it known whether its owner
found the usage. Nobody else could do it later: a span processor sees ended spans, and those
take no attributes.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from functools import partial
from typing import Any, Final, Protocol

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from llm_cost import abandoned, overdue, surroundings
from llm_cost import attributes as names
from llm_cost.faults import contained
from llm_cost.request import REPORTED, Request

Attributes = dict[str, AttributeValue]
Conclude = Callable[[], None]

_OURS: Final = ("llm_cost.", names.USAGE_PREFIX, names.USER_ID)
"""What a borrowed span gets of ours. Model, provider and reply are its owner's to tell."""

_expecting: ContextVar["Late | None"] = ContextVar("llm_cost_expecting", default=None)


class Joining(Protocol):
    """The call that looks for a neighbour's span."""

    request: Request

    def starts(self) -> Attributes:
        """Return what its span says from the start."""

    def start_span(self, attributes: Attributes, parent: Context, start_unix_nano: int) -> Span:
        """Start a span of its own."""


def join(call: Joining) -> "Borrowed | Late | None":
    """Return the neighbour's span that stands for this call, None where nobody made one."""
    surroundings.watch(trace.get_tracer_provider())
    met = surroundings.span_of_this_attempt()
    if met is None and not surroundings.is_awaited_from(call.request):
        return None
    if met is None or surroundings.ends_before_its_stream(met, call.request):
        return Late(call)
    return Borrowed(met, call.starts(), ends_late=call.request.stream)


def unsuppressed() -> Context:
    """Return the current context without what suppresses spans in it.

    Logfire suppresses everybody else's beneath its own; nobody else could have lent us one.
    """
    return Context(
        (key, value)
        for key, value in context.get_current().items()
        if not key.startswith("suppress_instrumentation")
    )


class Borrowed:
    """A neighbour's span that tells what we know."""

    __slots__ = ("_ends", "_is_leaky", "conclude", "span")

    def __init__(self, span: Span, starts: Attributes, *, ends_late: bool = False) -> None:
        self.span = span
        self.conclude: Conclude | None = None  # ends our call, where the span ends first
        self._ends: Attributes | None = None
        self._is_leaky = ends_late and surroundings.may_never_end(span)
        span.set_attributes({key: v for key, v in starts.items() if key.startswith(_OURS)})
        surroundings.claim(span)
        # On the instance, and taken off again when it runs.
        span.end = self._owner_ends  # type: ignore[method-assign] # the point of this class

    def give(self, ends: Attributes) -> None:
        """Keep what is known now that the call is over, until the owner ends its span."""
        self._ends = ends
        self.conclude = None
        if self._is_leaky:
            overdue.after_grace(self._end_if_open)

    def give_back(self) -> None:
        """Let another attempt have the span."""
        vars(self.span).pop("end", None)
        surroundings.release(self.span)

    def reading(self, chunks: Any) -> Any:
        """Return `chunks`."""
        return chunks

    def _owner_ends(self, end_time: int | None = None) -> None:
        # From inside a garbage collection, where we must not settle, it ends on our thread.
        abandoned.end(partial(self._end, end_time or time.time_ns()))

    def _end(self, end_unix_nano: int) -> None:
        span = self.span
        vars(span).pop("end", None)
        with contained("telling a neighbour's span"):
            if self.conclude is not None:
                self.conclude()
            if self._ends is not None and span.is_recording():
                span.set_attributes(_fitting(self._ends, surroundings.attributes_of(span)))
        span.end(end_unix_nano)

    def _end_if_open(self) -> None:
        if self.span.is_recording():
            self._end(time.time_ns())


class Late:
    """A neighbour's span that is yet to start: after the reply, or when its stream is over.

    Where it does not come within the grace, a span of ours takes its place.
    """

    __slots__ = ("_borrowed", "_call", "_ends", "_lock", "_parent", "_started_nano", "conclude")

    span: Final = trace.INVALID_SPAN

    def __init__(self, call: Joining) -> None:
        self.conclude: Conclude | None = None
        self._call: Joining | None = call
        self._borrowed: Borrowed | None = None
        self._ends: Attributes | None = None
        self._lock = threading.Lock()
        self._parent = context.get_current()
        self._started_nano = time.time_ns()
        if not call.request.stream or surroundings.is_awaited_from(call.request):
            _expecting.set(self)

    def give(self, ends: Attributes) -> None:
        """Keep what is known now that the call is over, until the neighbour's span comes."""
        self._ends = {**ends}
        self.conclude = None
        if self._borrowed is not None:
            self._borrowed.give(ends)
            return
        _expecting.set(self)
        ended_nano = time.time_ns()
        overdue.after_grace(partial(self._start_our_own, ended_nano))

    def give_back(self) -> None:
        """Let another attempt have the span; this one gets its own when its grace is over."""
        if _expecting.get() is self:
            _expecting.set(None)

    def reading(self, chunks: Any) -> Any:
        """Return `chunks`, from inside of which the neighbour's span may come."""
        return (_AsyncExpectant if hasattr(chunks, "__anext__") else _Expectant)(chunks, self)

    def take(self, span: Span) -> bool:
        """Have `span` stand for this call; False if another one does already."""
        call = self._taken()
        if call is None:
            return False
        borrowed = Borrowed(span, call.starts(), ends_late=True)
        borrowed.conclude = self.conclude and self._conclude
        if self._ends is None:
            self._borrowed = borrowed
        else:
            borrowed.give(self._ends)
        return True

    def _conclude(self) -> None:
        if self.conclude is not None:
            self.conclude()

    def _taken(self) -> Joining | None:
        with self._lock:
            call, self._call = self._call, None
            return call

    def _start_our_own(self, ended_nano: int) -> None:
        call = self._taken()
        if call is not None:
            attributes = {**call.starts(), **(self._ends or {})}
            call.start_span(attributes, self._parent, self._started_nano).end(ended_nano)


class _Expectant:
    """An iterator from inside of which a neighbour's span may come."""

    __slots__ = ("_late", "_next")

    def __init__(self, chunks: Any, late: Late) -> None:
        self._next = chunks.__next__
        self._late = late

    def __iter__(self) -> "_Expectant":
        return self

    def __next__(self) -> Any:
        token = _expecting.set(self._late)
        try:
            return self._next()
        finally:
            _put_back(token)


class _AsyncExpectant:
    """The same for an async iterator."""

    __slots__ = ("_late", "_next")

    def __init__(self, chunks: Any, late: Late) -> None:
        self._next = chunks.__anext__
        self._late = late

    def __aiter__(self) -> "_AsyncExpectant":
        return self

    async def __anext__(self) -> Any:
        token = _expecting.set(self._late)
        try:
            return await self._next()
        finally:
            _put_back(token)


def _put_back(token: "Token[Late | None]") -> None:
    with suppress(ValueError):  # finished in another task: its context ends with it
        _expecting.reset(token)


def _late_span_started(span: Span) -> None:
    """Give `span`, of a neighbour that starts its spans late, to the call that expects it."""
    late = _expecting.get()
    if (late is None or not late.take(span)) and surroundings.repeats_usage(span):
        # The reply of a call that is measured already, read again.
        span.set_attribute(names.PRICED_BELOW, True)


surroundings.on_late_span(_late_span_started)


def _fitting(ends: Attributes, has: Mapping[str, Any]) -> Attributes:
    """Return what to add to a span that `has` its owner's attributes: usage only once.

    Where both tell usage in the conventions' names, the provider's own word (ours, when it was
    reported) stands over the owner's, which may be a guess or a sum of running totals.
    """
    # An operation is among the ends only of a job that goes on: no attempt to be priced.
    added = {k: v for k, v in ends.items() if k.startswith(_OURS) or k == names.OPERATION_NAME}
    if not surroundings.has_usage(has):
        return added
    is_told_alike = names.USAGE_OUTPUT_TOKENS in has or names.USAGE_INPUT_TOKENS in has
    if is_told_alike and ends.get(names.USAGE_SOURCE) == REPORTED:
        return added
    return {key: value for key, value in added.items() if key not in _USAGE}


_USAGE: Final = frozenset(
    (
        names.USAGE_INPUT_TOKENS,
        names.USAGE_OUTPUT_TOKENS,
        names.USAGE_CACHE_READ_TOKENS,
        names.USAGE_CACHE_WRITE_TOKENS,
        names.USAGE_REASONING_TOKENS,
    )
)
