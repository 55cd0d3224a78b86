"""The life of one LLM call: who pays, may they, call, price, settle, span.

`begin` (or `begin_async`) walks up to the provider and returns a `Call`, or raises
`PolicyBlocked` before anything was spent. Exactly one of `stop`, `fail` and `cancel` then
counts, whichever comes first, from any thread; the rest do nothing. The span is never left
attached to a context: `current` makes it current for one frame only.
"""

import threading
import time
from importlib import import_module
from types import TracebackType
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.util.types import AttributeValue

from llm_cost import attributes as names
from llm_cost import attribution, call_id, estimate, gateways, neighbours, policy, span_attributes
from llm_cost.errors import ConfigurationError
from llm_cost.faults import contained
from llm_cost.policy.decision import Action, Decision, Identity, Reservation, Settlement
from llm_cost.policy.gate import Gate, OpenGate
from llm_cost.pricing import Cost, PriceStatus, cost_of
from llm_cost.request import ESTIMATED, REPORTED, Reply, Request
from llm_cost.settings import Settings
from llm_cost.usage import Usage
from llm_cost.within import restore, within

HOLD_TTL_S: Final = 660.0  # longer than the clients' own ten minutes of patience
_SUPPRESSED: Final = "suppress_instrumentation"
_UNKNOWN: Final = Cost(
    total_nano_usd=None,
    input_nano_usd=0,
    output_nano_usd=0,
    cache_read_nano_usd=0,
    cache_write_nano_usd=0,
    tools_nano_usd=0,
    status=PriceStatus.UNKNOWN,
    price_version="",
)
_ERROR: Final = Status(StatusCode.ERROR)


class _Wiring:
    """What `instrument()` may set; everything else follows the process."""

    tracer = trace.get_tracer("llm_cost")
    settings: Settings | None = None


def configure(
    *, tracer_provider: TracerProvider | None = None, settings: Settings | None = None
) -> None:
    """Use this tracer provider and these settings from now on; None: the process's own."""
    _Wiring.tracer = trace.get_tracer("llm_cost", tracer_provider=tracer_provider)
    _Wiring.settings = settings


def _settings() -> Settings:
    if _Wiring.settings is None:
        try:
            _Wiring.settings = Settings.from_environment()
        except ConfigurationError:
            # Said already: by `llm_cost.instrument`, and by the gate, which then refuses.
            _Wiring.settings = Settings()
    return _Wiring.settings


def begin(request: Request) -> "Call | None":
    """Return the call to make, or raise `PolicyBlocked`. None: a fault of ours, go on without."""
    call = _prepare(request)
    if call is not None:
        if call.is_policed:
            with contained("asking the policy"):
                call.decision = call.gate.reserve(call.reservation())
        call.admit()
    return call


async def begin_async(request: Request) -> "Call | None":
    """Like `begin`, without blocking the event loop."""
    call = _prepare(request)
    if call is not None:
        if call.is_policed:
            try:
                with contained("asking the policy"):
                    call.decision = await call.gate.reserve_async(call.reservation())
            except BaseException:
                # Cancelled while waiting: the answer may have been a hold.
                call.gate.void(call.id)
                raise
        call.admit()
    return call


def _prepare(request: Request) -> "Call | None":
    with contained("preparing a call"):
        gateways.measured_inside()
        return Call(request, attribution.resolve(request.client_user_id), policy.current_gate())
    return None


class Call:
    """One LLM attempt between `begin` and its end."""

    __slots__ = (
        "_ended",
        "_size",
        "_span",
        "_started_at_s",
        "decision",
        "gate",
        "id",
        "identity",
        "is_policed",
        "neighbour",
        "request",
    )

    def __init__(self, request: Request, identity: Identity, gate: Gate) -> None:
        self.id = call_id.new()
        self.request = request
        self.identity = identity
        self.gate = gate
        # Behind an open gate nobody asks and nobody listens: nothing is built for it.
        self.is_policed = not isinstance(gate, OpenGate)
        self.decision: Decision | None = None
        self._size: estimate.InputSize | None = None
        self._span: Span = trace.INVALID_SPAN
        self.neighbour: neighbours.Borrowed | neighbours.Late | None = None
        self._started_at_s = 0.0
        # Tried without waiting, so that an end from inside a garbage collection cannot hang.
        self._ended = threading.Lock()

    @property
    def span(self) -> Span:
        """The call's span."""
        return self._span

    def reservation(self) -> Reservation:
        """Return what the policy is asked. Without an estimate rather than not at all."""
        request, estimate_nano_usd = self.request, None
        with contained("estimating a call"):
            estimate_nano_usd = self._estimate()
        return Reservation(
            call_id=self.id,
            identity=self.identity,
            provider=request.provider,
            model=request.model,
            estimate_nano_usd=estimate_nano_usd,
            hold_ttl_s=HOLD_TTL_S,
        )

    def admit(self) -> None:
        """Start the span; raise `PolicyBlocked` where the policy says so."""
        with contained("starting a span"):
            self._start_span()
        if self.decision is not None and self.decision.action is Action.BLOCK:
            error = policy.blocked_error(self.decision, self.identity)
            with contained("ending the span of a blocked call"):
                self._ended.acquire(blocking=False)
                self._end_span({names.ERROR_TYPE: type(error).__name__}, error)
            raise error

    def current(self) -> "_Current":
        """Return a context manager that makes the span current, in this frame only."""
        return _Current(self._span)

    def stop(self, reply: Reply) -> None:
        """The provider answered."""
        self._end("ok", reply, None)

    def cancel(self, reply: Reply) -> None:
        """The caller turned away; what arrived until then counts."""
        self._end("cancelled", reply, None)

    def fail(self, error: BaseException, reply: Reply | None) -> None:
        """The call raised `error`. `reply` None: it consumed nothing."""
        self._end("error" if isinstance(error, Exception) else "cancelled", reply, error)

    def lose(self, error: BaseException) -> None:
        """The call raised `error`, may be billed, and is sent again: a borrowed span goes along."""
        if self.neighbour is not None:
            self.neighbour.give_back()
            self.neighbour = None
            ago_nano = int((time.perf_counter() - self._started_at_s) * 1e9)
            with within(neighbours.unsuppressed()):
                with contained("giving a span back"):
                    self._span = self.start_span(self.starts(), None, time.time_ns() - ago_nano)
                self.fail(error, Reply())
        self.fail(error, Reply())

    def _end(self, outcome: str, reply: Reply | None, error: BaseException | None) -> None:
        if not self._ended.acquire(blocking=False):
            return
        ends: dict[str, AttributeValue] = {}
        try:
            with contained("settling a call"):
                if reply is None:
                    self.gate.void(self.id)
                else:
                    ends = self._settle(outcome, reply)
        finally:
            with contained("ending a span"):
                if error is not None:
                    ends[names.ERROR_TYPE] = type(error).__name__
                self._end_span(ends, error)

    def _settle(self, outcome: str, reply: Reply) -> dict[str, AttributeValue]:
        request, job = self.request, reply.job
        now_s = time.time()
        if job is not None:
            import_module("llm_cost.receipts").take_name(self, job)
        usage, source = self._usage(reply)
        cost = reply.bill_of(request.provider)
        if cost is None:
            cost = _UNKNOWN if usage is None else self._price(usage, reply, now_s)
        if cost.status is PriceStatus.UNKNOWN and reply.cost_if_unpriced is not None:
            cost = reply.cost_if_unpriced
        if usage is not None and source is REPORTED and request.is_text:
            estimate.history.observe(self._key(), usage.total_output_tokens)
        if self.is_policed:
            self._report(outcome, reply, usage or Usage(), source, cost, int(now_s * 1000))
        if reply.others:
            import_module("llm_cost.receipts").book_others(self, reply.others)
        if self.neighbour is None and not self._span.is_recording():
            return {}
        if job is not None and not job.is_done:
            # Its use is on the span of whoever reads the result: one job, one span with a cost.
            return span_attributes.at_start_of_job(request, reply, started_at_s=self._started_at_s)
        return span_attributes.at_end(
            request, reply, usage, source, cost, started_at_s=self._started_at_s
        )

    def _report(
        self,
        outcome: str,
        reply: Reply,
        usage: Usage,
        source: str,
        cost: Cost,
        ended_at_unix_ms: int,
    ) -> None:
        request = self.request
        self.gate.settle(
            Settlement(
                call_id=self.id,
                identity=self.identity,
                provider=request.provider,
                model=reply.model or request.model,
                operation=request.operation,
                actual_nano_usd=cost.total_nano_usd,
                usage=usage,
                price_status=cost.status.value,
                price_version=cost.price_version,
                usage_source=source,
                outcome=outcome,
                ended_at_unix_ms=ended_at_unix_ms,
            )
        )

    def _usage(self, reply: Reply) -> tuple[Usage | None, str]:
        if reply.usage is not None:
            return reply.usage, reply.usage_source
        if not self.request.is_text:
            return None, ESTIMATED
        if reply.output_bytes is None:
            return self._expected().usage, ESTIMATED
        return estimate.seen(self._input_size(), reply.output_bytes), ESTIMATED

    def _price(self, usage: Usage, reply: Reply, at: float) -> Cost:
        request = self.request
        tier = reply.service_tier or request.service_tier
        model = reply.model or request.model
        cost = cost_of(
            usage,
            provider=request.provider,
            model=model,
            at=at,
            service_tier=tier,
            region=reply.region,
        )
        if cost.status is PriceStatus.UNKNOWN and model != request.model:
            # A gateway's own name for a model that we know by the name it was asked by.
            return cost_of(
                usage,
                provider=request.provider,
                model=request.model,
                at=at,
                service_tier=tier,
                region=reply.region,
            )
        return cost

    def _key(self) -> tuple[str, str, str | None]:
        return self.request.provider, self.request.model, self.identity.group

    def _input_size(self) -> estimate.InputSize:
        if self._size is None:
            self._size = estimate.input_size(self.request.body)
        return self._size

    def _expected(self) -> estimate.Expected:
        return estimate.expected(
            self._input_size(),
            key=self._key(),
            max_output_tokens=self.request.max_output_tokens,
            choices=self.request.choices,
            settings=_settings(),
        )

    def _estimate(self) -> int | None:
        request = self.request
        if not request.is_text:
            return None
        return estimate.nano_usd(
            self._expected().usage,
            provider=request.provider,
            model=request.model,
            at=time.time(),
            service_tier=request.service_tier,
            size=self._input_size(),
        )

    def _start_span(self) -> None:
        self._started_at_s = time.perf_counter()
        self.neighbour = neighbours.join(self)
        if self.neighbour is not None:
            self._span = self.neighbour.span
        elif not context.get_value(_SUPPRESSED):
            self._span = self.start_span(self.starts())

    def starts(self) -> dict[str, AttributeValue]:
        """Return what the call's span says from the start."""
        topic = attribution.conversation_and_agent()
        return span_attributes.at_start(self.id, self.request, self.identity, self.decision, topic)

    def start_span(
        self,
        attributes: dict[str, AttributeValue],
        parent: Context | None = None,
        start_unix_nano: int | None = None,
    ) -> Span:
        """Start a span for this call."""
        return _Wiring.tracer.start_span(
            f"{self.request.operation} {self.request.model}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=start_unix_nano,
        )

    def _end_span(self, ends: dict[str, AttributeValue], error: BaseException | None) -> None:
        span = self._span
        if self.neighbour is not None:
            self.neighbour.give({names.CALL_ID: self.id.hex(), **ends})
            return
        try:
            if span.is_recording():
                span.set_attributes(ends)
                if isinstance(error, Exception):
                    # Without a description: a provider's message may quote the prompt.
                    span.set_status(_ERROR)
        finally:
            span.end()


class _Current:
    """Makes a span current between enter and exit. Cheaper than a generator, and as plain."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span) -> None:
        self._span = span

    def __enter__(self) -> None:
        # Without the payer's baggage: HTTP instrumentations would send it to the provider.
        inside = attribution.without_baggage()
        if self._span is not trace.INVALID_SPAN:
            inside = trace.set_span_in_context(self._span, inside)
        self._token = context.attach(inside)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace_: TracebackType | None,
    ) -> None:
        restore(self._token)
