"""What one span says about an LLM call, and what that call cost. Pure.

Plain values in, plain values out: `batch` reads the span and appends what is to be added.
A span that carries its cost keeps it; a span without a known price says so and gets none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

from llm_cost import attributes as names
from llm_cost import call_id
from llm_cost.money import MAX_NANO_USD
from llm_cost.pricing import Cost, cost_of
from llm_cost.usage import Usage
from llm_cost_processor.dialects import Attributes, AttributeValue, Plan
from llm_cost_processor.reported import InvalidUsage, text
from llm_cost_processor.reported import usage as usage_of

MAX_SUBJECT_BYTES: Final = 256
"""What the policy service takes as a user id, tier or group."""

CURRENCY: Final = "USD"
COST_FROM_PRICE_TABLE: Final = "local"
UNKNOWN: Final = "unknown"
BLOCKED: Final = "block"
REPORTED: Final = "reported"

NO_USAGE: Final = Usage()

# Past the constructors of NamedTuples, which take as long as all else that happens to a call.
_new_call: Final = tuple.__new__


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


NOBODY: Final = Subject()


@dataclass(slots=True, eq=False)
class Kind:
    """What many calls have in common: everything about them that is a text, but for the user.

    Equal only to itself: kinds are keys of what is remembered.

    operation: "" for spans that are no attempt at a model; `operation_without_usage` is the
        same for spans that report none.
    payer: who pays for what the span's whole resource does, where the span does not say.
    refused: a tier or group was too long or malformed to be used.
    said: what the spans say themselves, through this library: usage source, and what they
        carry for a price.
    """

    plan: Plan
    operation: str
    operation_without_usage: str
    provider: str
    model: str
    service_tier: str | None
    payer: Subject
    tier: str
    group: str
    refused: bool
    said: "Said"
    prices: "dict[tuple[str, str, Unpriced | None, bool], Price]" = field(default_factory=dict)
    computed: "Price | None" = None  # the last one that is ours; most likely the next one too

    def priced(
        self, status: str, version: str, unpriced: Unpriced | None = None, *, carried: bool = False
    ) -> "Price":
        """Return the one `Price` of this kind with these fields."""
        key = (str(status), version, unpriced, carried)
        price = self.prices.get(key)
        if price is None:
            price = self.prices[key] = Price(self, *key)
        return price


class Said(NamedTuple):
    """The few texts that this library has put on spans of one kind."""

    usage_source: str = REPORTED
    price_status: str = ""
    price_version: str = ""
    blocked: bool = False


class Own(NamedTuple):
    """What this library has put on one span."""

    cost: AttributeValue | None = None
    call_id: bytes | None = None
    buckets: Mapping[str, int] = MappingProxyType({})


NOTHING_OWN: Final = Own()


@dataclass(frozen=True, slots=True, eq=False)
class Price:
    """What is known of a price, but for the amount. Equal only to itself, as kinds are."""

    kind: Kind
    status: str
    version: str
    unpriced: Unpriced | None
    carried: bool  # the span says it already: nothing is added

    @property
    def settles(self) -> bool:
        """Whether the ledger is told: a call without usable usage must not stand over a better
        report of the same call."""
        return self.unpriced is None or self.unpriced is Unpriced.NO_PRICE


class User(NamedTuple):
    """Who pays, as the span says it; `refused` if it was too long or malformed to be used."""

    user_id: str
    refused: bool


class Span(Protocol):
    """What is read of a span beside its attributes."""

    trace_id: bytes
    span_id: bytes
    start_time_unix_nano: int
    end_time_unix_nano: int


class LlmCall(NamedTuple):
    """One attempt at a model.

    A NamedTuple and not a dataclass: one is built for every LLM span of a pipeline.
    `cost` is there when the price is ours; `nano_usd` is None when nobody knows.
    """

    call_id: bytes
    price: Price
    user_id: str
    usage: Usage
    nano_usd: int | None
    cost: Cost | None
    failed: bool
    ended_at_unix_ms: int
    duration_s: float
    refused: bool
    carries_call_id: bool

    @property
    def kind(self) -> Kind:
        """What the call has in common with many."""
        return self.price.kind

    @property
    def subject(self) -> Subject:
        """Who pays."""
        return Subject(self.user_id, self.kind.tier, self.kind.group, self.refused)


def kind_of(plan: Plan, payer: Subject, attributes: Attributes) -> Kind:
    """Return the kind of the calls whose `plan.texts` are these."""
    operation, otherwise = plan.dialect.operation_unsaid, None
    if plan.operation:
        operation = otherwise = plan.dialect.operations.get(text(attributes, plan.operation))
    model = text(attributes, plan.model)
    tier = _usable(attributes[plan.tier]) if plan.tier else payer.tier
    group = _usable(attributes[plan.group]) if plan.group else payer.group
    return Kind(
        plan,
        (model and operation) or "",
        (model and otherwise) or "",
        text(attributes, plan.provider) or UNKNOWN,
        model,
        text(attributes, plan.service_tier) if plan.service_tier else None,
        payer,
        tier or "",
        group or "",
        payer.refused or None in (tier, group),
        Said(
            text(attributes, names.USAGE_SOURCE) or REPORTED,
            text(attributes, names.PRICE_STATUS),
            text(attributes, names.PRICE_VERSION),
            attributes.get(names.POLICY_DECISION) == BLOCKED,
        ),
    )


def judge(
    kind: Kind, counts: Sequence[int], user: User, own: Own, span: Span, failed: bool
) -> LlmCall | Passed:
    """Return the LLM call that a span of `kind` reports, priced; or why it reports none."""
    unpriced = Unpriced.NO_USAGE
    try:
        usage = usage_of(kind.plan, counts, own.buckets)
    except InvalidUsage:
        usage, unpriced = None, Unpriced.INVALID_USAGE
    if not (kind.operation_without_usage if usage is None else kind.operation):
        return Passed.NOT_AN_ATTEMPT
    if usage is None and kind.said.blocked:
        return Passed.BLOCKED
    start_nano, end_nano = span.start_time_unix_nano, span.end_time_unix_nano
    ended_nano = end_nano or start_nano
    cost: Cost | None = None
    carried = _carried(kind, own, has_usage=usage is not None) if kind.plan.has_own else None
    if carried is not None:
        price, nano_usd = carried
    elif usage is None:
        price, nano_usd = kind.priced(UNKNOWN, "", unpriced), None
    else:
        cost = cost_of(
            usage,
            provider=kind.provider,
            model=kind.model,
            at=float(ended_nano // 1_000_000_000),
            service_tier=kind.service_tier,
        )
        price, nano_usd = _price(kind, cost), cost.total_nano_usd
    return _new_call(
        LlmCall,
        (
            own.call_id or call_id.of_span(span.trace_id, span.span_id, start_nano),
            price,
            user.user_id,
            usage or NO_USAGE,
            nano_usd,
            cost,
            failed,
            ended_nano // 1_000_000,
            max(0, end_nano - start_nano) / 1e9,
            user.refused or kind.refused,
            own.call_id is not None,
        ),
    )


def subject_of(attributes: Attributes, user: str, tier: str, group: str) -> Subject:
    """Return who pays by the attributes of these names; "" where there is none."""
    given = [_usable(attributes.get(name, "")) for name in (user, tier, group)]
    user_id, tier_name, group_name = given
    return Subject(user_id or "", tier_name or "", group_name or "", None in given)


def user_of(value: AttributeValue) -> User:
    """Return who pays by the span's own attribute."""
    name = _usable(value)
    return User(name or "", name is None)


def _usable(value: AttributeValue) -> str | None:
    """The name, None where the policy service would refuse it: that counts as unsaid."""
    name = str(value)
    return None if len(name.encode()) > MAX_SUBJECT_BYTES or "\0" in name else name


def texts_added(price: Price) -> list[tuple[str, str]]:
    """Return the texts to append to the spans with this price, the call id aside."""
    if price.carried:
        return []
    if price.unpriced is not None:
        return [(names.PRICE_STATUS, price.status)]
    return [
        (names.PRICE_STATUS, price.status),
        (names.PRICE_VERSION, price.version),
        (names.COST_CURRENCY, CURRENCY),
        (names.COST_SOURCE, COST_FROM_PRICE_TABLE),
    ]


def _carried(kind: Kind, own: Own, *, has_usage: bool) -> tuple[Price, int | None] | None:
    """The price that the span came with, None where it came with none."""
    carried = own.cost
    status, version = kind.said.price_status, kind.said.price_version
    if carried is None and not status:
        return None
    if carried is None:
        # Judged before, in the application or here, and found to be without a price.
        unpriced = Unpriced.NO_PRICE if has_usage else Unpriced.NO_USAGE
        return kind.priced(UNKNOWN, version, unpriced, carried=True), None
    if type(carried) is not int or not 0 <= carried <= MAX_NANO_USD:
        return kind.priced(UNKNOWN, version, Unpriced.INVALID_COST, carried=True), None
    return kind.priced(status or "exact", version, carried=True), carried


def _price(kind: Kind, cost: Cost) -> Price:
    price = kind.computed
    if price is None or price.status != cost.status or price.version != cost.price_version:
        unpriced = Unpriced.NO_PRICE if cost.total_nano_usd is None else None
        price = kind.computed = kind.priced(cost.status, cost.price_version, unpriced)
    return price


def given_call_id(given: AttributeValue | None) -> bytes | None:
    """Return the call id that a span carries, None where that is none."""
    if not isinstance(given, str) or len(given) != 2 * call_id.LENGTH_BYTES:
        return None
    try:
        return bytes.fromhex(given)
    except ValueError:
        return None
