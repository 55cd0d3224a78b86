"""What one span says about an LLM call, and what that call cost. Pure.

Plain values in, plain values out: `batch` reads the span and appends what is to be added.
A span that carries its cost keeps it; a span without a known price says so and gets none.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost.money import MAX_NANO_USD
from llm_cost.pricing import Cost, cost_of
from llm_cost.usage import Usage
from llm_cost_processor import reported
from llm_cost_processor.dialects import Attributes, AttributeValue, Plan

MAX_SUBJECT_BYTES: Final = 256
"""What the policy service takes as a user id, tier or group."""

CURRENCY: Final = "USD"
COST_FROM_PRICE_TABLE: Final = "local"
UNKNOWN: Final = "unknown"
BLOCKED: Final = "block"
REPORTED: Final = "reported"

REMEMBERED_SUBJECTS: Final = 4_096
"""Users of the last minutes; each is at most a span's attributes long."""


class Passed(StrEnum):
    """Why a span is handed on as it came and counted nowhere else."""

    NOT_LLM = "not_llm"
    NOT_AN_ATTEMPT = "not_an_attempt"  # an agent, chain or tool, whose attempts have own spans
    BLOCKED = "blocked"  # the policy refused it: nothing was spent


class Unpriced(StrEnum):
    """Why a call has no cost."""

    NO_PRICE = "no_price"
    NO_USAGE = "no_usage"
    INVALID_USAGE = "invalid_usage"
    INVALID_COST = "invalid_cost"


class Subject(NamedTuple):
    """Who pays, as far as said; `refused` if a name was too long or malformed to be used."""

    user_id: str = ""
    tier: str = ""
    group: str = ""
    refused: bool = False


class SpanFacts(NamedTuple):
    """One span as plain values. `attributes` holds at least what `plan` says has to be read.

    resource_subject: who pays for what the span's whole resource does.
    """

    plan: Plan
    attributes: Attributes
    resource_subject: Subject
    trace_id: bytes
    span_id: bytes
    start_unix_nano: int
    end_unix_nano: int
    failed: bool


class Price(NamedTuple):
    """What a call cost, or why nobody knows. `cost` is there when the price is ours."""

    nano_usd: int | None
    status: str
    version: str
    unpriced: Unpriced | None
    carried: bool  # the span says it already: nothing is added
    cost: Cost | None = None


class LlmCall(NamedTuple):
    """One attempt at a model.

    A NamedTuple and not a dataclass: one is built for every LLM span of a pipeline.
    """

    call_id: bytes
    subject: Subject
    provider: str
    model: str
    operation: str
    usage: Usage
    price: Price
    usage_source: str
    outcome: str
    ended_at_unix_ms: int
    duration_s: float
    carries_call_id: bool

    @property
    def settles(self) -> bool:
        """Whether the ledger is told: a call without usable usage must not stand over a better
        report of the same call."""
        return self.price.unpriced is None or self.price.unpriced is Unpriced.NO_PRICE


def judge(span: SpanFacts) -> LlmCall | Passed:
    """Return the LLM call that `span` reports, priced; or why it reports none."""
    plan, attributes, resource_subject, trace_id, span_id, start_nano, end_nano, failed = span
    try:
        usage, refused = reported.usage(attributes, plan), None
    except reported.InvalidUsage:
        usage, refused = None, Unpriced.INVALID_USAGE
    operation = _operation(attributes, plan, has_usage=usage is not None)
    model = reported.text(attributes, plan.model)
    if operation is None or not model:
        return Passed.NOT_AN_ATTEMPT
    price: Price | None = None
    given_id: bytes | None = None
    usage_source = REPORTED
    if plan.has_own:
        if not usage and attributes.get(names.POLICY_DECISION) == BLOCKED:
            return Passed.BLOCKED
        price = _carried_price(attributes, has_usage=usage is not None)
        given_id = _given_call_id(attributes)
        usage_source = reported.text(attributes, names.USAGE_SOURCE) or REPORTED
    provider = reported.text(attributes, plan.provider) or UNKNOWN
    ended_nano = end_nano or start_nano
    if price is None and usage is not None:
        tier = reported.text(attributes, plan.service_tier) if plan.service_tier else None
        at = ended_nano // 1_000_000_000
        price = _price(cost_of(usage, provider=provider, model=model, at=at, service_tier=tier))
    return LlmCall(
        given_id or call_id.of_span(trace_id, span_id, start_nano),
        subject_of(attributes, plan.user, plan.tier, plan.group, unsaid=resource_subject),
        provider,
        model,
        operation,
        usage or Usage(),
        price or Price(None, UNKNOWN, "", refused or Unpriced.NO_USAGE, False),
        usage_source,
        "error" if failed else "ok",
        ended_nano // 1_000_000,
        max(0, end_nano - start_nano) / 1e9,
        given_id is not None,
    )


def subject_of(
    attributes: Attributes, user: str, tier: str, group: str, *, unsaid: Subject
) -> Subject:
    """Return who pays by the attributes of these names, and by `unsaid` where there are none."""
    return _checked_subject(
        attributes[user] if user else unsaid.user_id,
        attributes[tier] if tier else unsaid.tier,
        attributes[group] if group else unsaid.group,
        unsaid.refused,
    )


@lru_cache(maxsize=REMEMBERED_SUBJECTS)
def _checked_subject(
    user: AttributeValue, tier: AttributeValue, group: AttributeValue, refused: bool
) -> Subject:
    """Who pays; a name that the policy service would refuse counts as unsaid."""
    user_id, tier_name, group_name = _usable(str(user)), _usable(str(tier)), _usable(str(group))
    refused = refused or None in (user_id, tier_name, group_name)
    return Subject(user_id or "", tier_name or "", group_name or "", refused)


def _usable(name: str) -> str | None:
    return None if len(name.encode()) > MAX_SUBJECT_BYTES or "\0" in name else name


def texts_added(call: LlmCall) -> tuple[tuple[str, str], ...]:
    """Return the texts to append to the call's span, the call id aside; few differ."""
    return (
        ()
        if call.price.carried
        else _texts(call.price.nano_usd is not None, call.price.status, call.price.version)
    )


def numbers_added(call: LlmCall) -> list[tuple[str, int]]:
    """Return the amounts to append to the call's span."""
    cost, nano_usd = call.price.cost, call.price.nano_usd
    if cost is None or nano_usd is None:
        return []
    added = [
        (names.COST_NANO_USD, nano_usd),
        (names.COST_INPUT_NANO_USD, cost.input_nano_usd),
        (names.COST_OUTPUT_NANO_USD, cost.output_nano_usd),
    ]
    if cost.cache_read_nano_usd:
        added.append((names.COST_CACHE_READ_NANO_USD, cost.cache_read_nano_usd))
    if cost.cache_write_nano_usd:
        added.append((names.COST_CACHE_WRITE_NANO_USD, cost.cache_write_nano_usd))
    if cost.tools_nano_usd:
        added.append((names.COST_TOOLS_NANO_USD, cost.tools_nano_usd))
    return added


@lru_cache(maxsize=64)
def _texts(priced: bool, status: str, version: str) -> tuple[tuple[str, str], ...]:
    if not priced:
        return ((names.PRICE_STATUS, status),)
    return (
        (names.PRICE_STATUS, status),
        (names.PRICE_VERSION, version),
        (names.COST_CURRENCY, CURRENCY),
        (names.COST_SOURCE, COST_FROM_PRICE_TABLE),
    )


def _operation(attributes: Attributes, plan: Plan, *, has_usage: bool) -> str | None:
    if plan.operation:
        return plan.dialect.operations.get(reported.text(attributes, plan.operation))
    return plan.dialect.operation_unsaid if has_usage else None


def _carried_price(attributes: Attributes, *, has_usage: bool) -> Price | None:
    """The price that the span came with, None where it came with none."""
    carried = attributes.get(names.COST_NANO_USD)
    status = reported.text(attributes, names.PRICE_STATUS)
    if carried is None and not status:
        return None
    version = reported.text(attributes, names.PRICE_VERSION)
    if carried is None:
        # Judged before, in the application or here, and found to be without a price.
        unpriced = Unpriced.NO_PRICE if has_usage else Unpriced.NO_USAGE
        return Price(None, UNKNOWN, version, unpriced, carried=True)
    if type(carried) is not int or not 0 <= carried <= MAX_NANO_USD:
        return Price(None, UNKNOWN, version, Unpriced.INVALID_COST, carried=True)
    return Price(carried, status or "exact", version, None, carried=True)


def _price(cost: Cost) -> Price:
    unpriced = Unpriced.NO_PRICE if cost.total_nano_usd is None else None
    return Price(cost.total_nano_usd, cost.status, cost.price_version, unpriced, False, cost)


def _given_call_id(attributes: Attributes) -> bytes | None:
    given = attributes.get(names.CALL_ID)
    if not isinstance(given, str) or len(given) != 2 * call_id.LENGTH_BYTES:
        return None
    try:
        return bytes.fromhex(given)
    except ValueError:
        return None
