"""Who pays for a call: said by the application, carried by OpenTelemetry's context.

What was said with `attribute_to` outranks baggage of the calling service, which outranks
the client's own field (OpenAI's `user`, say); each of user, tier and group on its own.
An unusable id raises where the application says it, and nowhere else.
"""

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Final, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

from opentelemetry import baggage, trace
from opentelemetry.context import Context, attach, create_key, get_current, set_value

from llm_cost import attributes, faults
from llm_cost.errors import InvalidSubject
from llm_cost.policy.decision import Identity
from llm_cost.within import Token, around_async_generator, around_generator, restore

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("llm_cost")

LARGEST_ID_BYTES: Final = 256
"""The ledger's limit; a longer id is a mistake (a token, a prompt), not a user."""
_SHOWN_CHARACTERS: Final = 40  # of a refused value: it may be a secret or a megabyte

_BAGGAGE_NAMES: Final = (
    attributes.BAGGAGE_USER_ID,
    attributes.BAGGAGE_USER_TIER,
    attributes.BAGGAGE_GROUP,
)
_TOPIC_NAMES: Final = (attributes.CONVERSATION_ID, attributes.AGENT_NAME)
_OUR_BAGGAGE: Final = frozenset(_BAGGAGE_NAMES + _TOPIC_NAMES)
_NOBODY: Final = Identity()
_complained_of: set[str] = set()  # bounded: one entry per field and source


class _Said(NamedTuple):
    """What the application said so far, and whether baggage may fill the gaps."""

    identity: Identity
    trusts_baggage: bool


_SAID_KEY: Final = create_key("llm_cost.said")
_NOTHING_SAID: Final = _Said(_NOBODY, True)

Topic: TypeAlias = tuple[str | None, str | None]
"""The conversation's id and the agent's name: no payers, and never part of a decision."""
_TOPIC_KEY: Final = create_key("llm_cost.topic")
_NO_TOPIC: Final[Topic] = (None, None)


def current_identity() -> Identity:
    """Return who pays for a call made here and now, as far as context and baggage say."""
    return resolve()


def said_here() -> Identity | None:
    """Return what code of this process said, without baggage; None: it said nothing at all."""
    said = get_current().get(_SAID_KEY)
    return said.identity if isinstance(said, _Said) else None


def conversation_and_agent() -> Topic:
    """Return which conversation and agent a call made here belongs to, where anybody said so.

    Each on its own: `attribute_to`, else the current span (an agent framework's, say), else
    baggage of the calling service. Never raises; nothing is made up.
    """
    context = get_current()
    return _topic_in(context) if context else _NO_TOPIC


def _topic_in(context: Context) -> Topic:
    conversation_id, agent = said = _topic_said_in(context)
    if conversation_id and agent:
        return said
    # A span that is no SDK's has no attributes to read.
    on_span = getattr(trace.get_current_span(context), "attributes", None)
    carried = baggage.get_all(context) if _said_in(context).trusts_baggage else None
    if not on_span and not carried:
        return said
    with faults.contained("reading the conversation of a call"):
        for source, where in ((on_span, "current span"), (carried, "baggage")):
            if isinstance(source, Mapping):
                conversation_id = conversation_id or _usable_or_none(
                    source.get(attributes.CONVERSATION_ID), f"{where} conversation"
                )
                agent = agent or _usable_or_none(
                    source.get(attributes.AGENT_NAME), f"{where} agent"
                )
    return conversation_id, agent


def _topic_said_in(context: Context) -> Topic:
    topic = context.get(_TOPIC_KEY)
    return cast("Topic", topic) if isinstance(topic, tuple) else _NO_TOPIC


def resolve(client_user_id: object = None) -> Identity:
    """Return who pays, with the client's own user field as the last resort. Never raises."""
    context = get_current()
    # `Context` is a dict; an empty one is what a program without attribution has.
    identity = _carried_by(context) if context else _NOBODY
    if client_user_id is None or identity.user_id is not None:
        return identity
    user_id = _usable_or_none(client_user_id, "the client's user field")
    return Identity(user_id, identity.tier, identity.group) if user_id else identity


def _carried_by(context: Context) -> Identity:
    said, trusts_baggage = _said_in(context)
    user_id, tier, group = said.user_id, said.tier, said.group
    if not trusts_baggage or (user_id and tier and group):
        return said
    carried = baggage.get_all(context)
    if not carried:
        return said
    # Built only when something is added: the usual case is our own baggage, said already.
    user_id = user_id or _usable_or_none(carried.get(attributes.BAGGAGE_USER_ID), "baggage user")
    tier = tier or _usable_or_none(carried.get(attributes.BAGGAGE_USER_TIER), "baggage tier")
    group = group or _usable_or_none(carried.get(attributes.BAGGAGE_GROUP), "baggage group")
    unchanged = (user_id is said.user_id) and (tier is said.tier) and (group is said.group)
    return said if unchanged else Identity(user_id, tier, group)


def _said_in(context: Context) -> _Said:
    said = context.get(_SAID_KEY, _NOTHING_SAID)
    return said if isinstance(said, _Said) else _NOTHING_SAID


def with_identity(
    identity: Identity, context: Context | None = None, *, trust_baggage: bool = True
) -> Context:
    """Return `context` with the given fields of `identity` said on top, in baggage too.

    With `trust_baggage` False, what the caller's baggage says about the payer is taken out
    and stays ignored from here on: a public service must not believe its clients.
    """
    context = get_current() if context is None else context
    if not trust_baggage:
        context = _stripped(context)
    outer, trusted = _said_in(context)
    merged = Identity(
        identity.user_id or outer.user_id,
        identity.tier or outer.tier,
        identity.group or outer.group,
    )
    said = (identity.user_id, identity.tier, identity.group)
    for name, value in zip(_BAGGAGE_NAMES, said, strict=True):
        if value is not None:
            context = baggage.set_baggage(name, value, context)
    return set_value(_SAID_KEY, _Said(merged, trusted and trust_baggage), context)


def without_baggage(context: Context | None = None) -> Context:
    """Return `context` for calling a third party: the same payer, nothing of it in baggage.

    HTTP instrumentations inject baggage into every request, and a user id is no business of
    an LLM provider. The payer stays known to `resolve`, as if the application had said it.
    """
    context = get_current() if context is None else context
    stripped = _stripped(context)
    if stripped is context:
        return context
    said = _Said(_carried_by(context), _said_in(context).trusts_baggage)
    topic = _topic_in(context)
    if topic != _NO_TOPIC:
        stripped = set_value(_TOPIC_KEY, topic, stripped)
    return set_value(_SAID_KEY, said, stripped)


def _with_topic(topic: Topic, context: Context) -> Context:
    """Return `context` with the given ones of conversation and agent said, in baggage too."""
    outer = _topic_said_in(context)
    for name, value in zip(_TOPIC_NAMES, topic, strict=True):
        if value is not None:
            context = baggage.set_baggage(name, value, context)
    return set_value(_TOPIC_KEY, (topic[0] or outer[0], topic[1] or outer[1]), context)


def _stripped(context: Context) -> Context:
    carried = baggage.get_all(context)
    if not carried:
        return context
    kept = {name: value for name, value in carried.items() if name not in _OUR_BAGGAGE}
    if len(kept) == len(carried):
        return context
    # Anew and not taken out one by one: each step copies the context, on every call.
    context = baggage.clear(context)
    for name, value in kept.items():
        context = baggage.set_baggage(name, value, context)
    return context


class attribute_to:  # noqa: N801 - reads as a statement: `with attribute_to(user_id=...):`
    """Say who pays for the LLM calls made inside; a context manager and a decorator.

    Fields that are left out (or None) keep what was said outside. As a decorator it takes
    functions, coroutine functions, generators and async generators; inside a generator use
    the decorator, because a `with` around a `yield` would leak to whoever consumes it.
    Raises `InvalidSubject` for an id that cannot be booked.
    """

    __slots__ = ("_identity", "_tokens", "_topic")

    def __init__(
        self,
        *,
        user_id: str | int | None = None,
        tier: str | None = None,
        group: str | None = None,
        conversation_id: str | int | None = None,
        agent: str | None = None,
    ) -> None:
        self._identity = Identity(
            None if user_id is None else checked_id("user_id", user_id),
            None if tier is None else checked_id("tier", tier),
            None if group is None else checked_id("group", group),
        )
        self._topic: Topic = (
            None if conversation_id is None else checked_id("conversation_id", conversation_id),
            None if agent is None else checked_id("agent", agent),
        )
        self._tokens: list[Token] = []

    def __enter__(self) -> Identity:
        self._tokens.append(attach(self._context()))
        return resolve()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # One instance may be entered by several threads: undo the newest that is ours.
        for index in reversed(range(len(self._tokens))):
            if restore(self._tokens[index]):
                del self._tokens[index]
                return
        self._tokens.clear()  # left in another execution context: nothing to undo there

    def _context(self) -> Context:
        context = with_identity(self._identity)
        return context if self._topic == _NO_TOPIC else _with_topic(self._topic, context)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate `function`; its kind (coroutine, generator, ...) stays what it was."""
        if inspect.isasyncgenfunction(function):
            return cast("Callable[P, R]", around_async_generator(function, self._context))
        if inspect.isgeneratorfunction(function):
            return cast("Callable[P, R]", around_generator(function, self._context))
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", self._around_coroutine(function))

        @functools.wraps(function)
        def attributed(*args: P.args, **kwargs: P.kwargs) -> R:
            token = attach(self._context())
            try:
                return function(*args, **kwargs)
            finally:
                restore(token)

        return attributed

    def _around_coroutine(
        self, function: Callable[P, Awaitable[object]]
    ) -> Callable[P, Awaitable[object]]:
        @functools.wraps(function)
        async def attributed(*args: P.args, **kwargs: P.kwargs) -> object:
            token = attach(self._context())
            try:
                return await function(*args, **kwargs)
            finally:
                restore(token)

        return attributed


def checked_id(field: str, value: object) -> str:
    """Return `value` as a bookable id, or raise `InvalidSubject` naming `field`."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # database keys
    problem = _problem_with(value)
    if problem:
        shown = repr(value)[:_SHOWN_CHARACTERS]
        raise InvalidSubject(f"{field} {shown} {problem}")
    return cast("str", value)


def _problem_with(value: object) -> str | None:
    if not isinstance(value, str):
        return f"is a {type(value).__name__}; pass a string, for example str(user.id)"
    if not value:
        return "is empty; leave it out (None) for a call that nobody pays for"
    if "\0" in value:
        return "contains NUL; pass the plain id"
    if value.isascii():
        return _too_long(len(value))
    try:
        return _too_long(len(value.encode()))
    except UnicodeEncodeError:
        return "is not valid Unicode (a lone surrogate); decode the id from UTF-8"


def _too_long(length_bytes: int) -> str | None:
    if length_bytes <= LARGEST_ID_BYTES:
        return None
    return f"has {length_bytes} bytes, more than {LARGEST_ID_BYTES}; pass an id, or its hash"


def _usable_or_none(value: object, source: str) -> str | None:
    """What others sent is never raised into the host: the call becomes unattributed."""
    if value is None or value == "":
        return None
    if (
        type(value) is str
        and len(value) <= LARGEST_ID_BYTES
        and value.isascii()
        and "\0" not in value
    ):
        return value  # nearly every id: checked without the costs of an error message
    try:
        return checked_id(source, value)
    except InvalidSubject as error:
        if source not in _complained_of:
            _complained_of.add(source)
            _log.warning("%s; such calls are unattributed (logged once)", error)
        return None
