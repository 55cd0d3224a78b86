"""litellm, through its callbacks, and at the two methods that send its HTTP requests.

litellm calls OpenAI's client for some providers and sends HTTP by itself for the others, which
only shows when it happens. So each attempt announces itself (`log_pre_api_call`), and then:

* a client that we patch (OpenAI's) begins the call: the callbacks add nothing;
* `HTTPHandler.post` or its async twin sends: the call begins there, so that the policy is asked
  before the provider is, without blocking an event loop, and the callbacks end it;
* neither (SageMaker's SDK, a custom provider): the callbacks book it afterwards, unenforced.

litellm tells nothing of a stream that is left: that is ended at its estimate when its memory is
freed, and at the latest when its hold is over. A reply from its cache makes no attempt and
costs nothing. Its callbacks cannot stop a call, since it swallows what they raise, and it
translates what is raised later: `PolicyBlocked` is brought back out of that.

Usage rule: `litellm_replies.py`. `response_cost` is litellm's own calculation; it
stands in, marked `reported.litellm`, only where our table has no price.
"""

import atexit
import importlib
import importlib.util
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

import wrapt

from llm_cost import attribution, gateways, overdue, policy
from llm_cost import call as calls
from llm_cost.call import Call
from llm_cost.errors import PolicyBlocked
from llm_cost.faults import contained
from llm_cost.providers import methods
from llm_cost.providers.attempts import may_have_consumed
from llm_cost.providers.endpoint import text_or_none
from llm_cost.providers.instrumentor import Instrumentor, Patch
from llm_cost.providers.litellm_replies import address_of, reply_of, request_of
from llm_cost.request import Reply, Request

_ATTEMPTS_LIMIT: Final = 10_000
"""Attempts that wait for a callback; the oldest beyond it is ended at its estimate."""
_PATIENCE_S: Final = calls.HOLD_TTL_S
"""After it a stream that was left is ended at its estimate, as its hold is."""
_TRANSLATIONS_LIMIT: Final = 10  # of one error into another, by litellm's layers


# --- attempts ----------------------------------------------------------------------------


class _Attempt:
    """One attempt of litellm, from its announcement to the callback that ends it."""

    __slots__ = ("began_at_s", "call", "details", "identity", "is_sent", "within")

    def __init__(self, details: Mapping[str, Any]) -> None:
        self.began_at_s = time.monotonic()
        self.details = details
        self.within = gateways.Within()
        self.identity = attribution.resolve(text_or_none(details.get("user")))
        self.call: Call | None = None
        self.is_sent = False

    def is_at(self, url: str) -> bool:
        """Return whether a request to `url` is this attempt, and not a logger's or a login's."""
        return not self.is_sent and urlsplit(address_of(self.details))[:2] == urlsplit(url)[:2]

    def stop(self, details: Mapping[str, Any], response: Any) -> None:
        if self.call is None and not self.within.is_measured:
            # Nobody saw it sent: there is nothing left to ask, and it is booked all the same.
            self.call = Call(request_of(details), self.identity, policy.current_gate())
            self.call.admit()
        if self.call is not None:
            self.call.stop(reply_of(details, response))

    def fail(self, error: BaseException) -> None:
        if self.call is not None:
            self.call.fail(error, Reply())  # it was sent: what was refused has ended by now

    def abandon(self) -> None:
        if self.call is not None:
            self.call.cancel(Reply())


_announced: ContextVar[_Attempt | None] = ContextVar("llm_cost_litellm_attempt", default=None)


class _Waiting:
    """The attempts that a callback is to end, by litellm's id of the call."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, _Attempt] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, details: Mapping[str, Any]) -> None:
        attempt = _Attempt(details)
        _announced.set(attempt)
        gateways.within.set(attempt.within)
        with self._lock:
            self._attempts[str(details.get("litellm_call_id"))] = attempt
            overdue_ones = list(self._overdue(attempt.began_at_s))
        for left in overdue_ones:
            left.abandon()

    def _overdue(self, now_s: float) -> Iterator[_Attempt]:
        while self._attempts:
            oldest = next(iter(self._attempts.values()))
            is_recent = now_s - oldest.began_at_s < _PATIENCE_S
            if oldest.began_at_s == now_s or (is_recent and len(self._attempts) <= _ATTEMPTS_LIMIT):
                return
            self._attempts.popitem(last=False)
            yield oldest

    def drain(self) -> None:
        """End what nobody will: litellm tells nothing of a stream that was left."""
        with self._lock:
            left, self._attempts = list(self._attempts.values()), OrderedDict()
        for attempt in left:
            attempt.abandon()

    def take(self, details: Mapping[str, Any]) -> _Attempt | None:
        with self._lock:
            return self._attempts.pop(str(details.get("litellm_call_id")), None)


_waiting = _Waiting()
atexit.register(_waiting.drain)


def _callbacks(custom_logger: Any) -> Any:
    """Return an object with litellm's callbacks, of the class that litellm looks for."""

    class LlmCostCallbacks(custom_logger.CustomLogger):  # type: ignore[misc] # theirs is untyped
        def log_pre_api_call(self, *_: Any, kwargs: Any, **__: Any) -> None:
            with contained("announcing an attempt of litellm"):
                _waiting.add(kwargs)

        def log_success_event(self, kwargs: Any, response_obj: Any, *_: Any, **__: Any) -> None:
            with contained("booking an attempt of litellm"):
                if (attempt := _waiting.take(kwargs)) is not None:
                    attempt.stop(kwargs, response_obj)

        def log_failure_event(self, kwargs: Any, *_: Any, **__: Any) -> None:
            with contained("failing an attempt of litellm"):
                error = kwargs.get("exception")
                if (attempt := _waiting.take(kwargs)) is not None:
                    attempt.fail(error if isinstance(error, BaseException) else RuntimeError())

        async def async_log_success_event(self, *told_: Any, **named: Any) -> None:
            self.log_success_event(*told_, **named)

        async def async_log_failure_event(self, *told_: Any, **named: Any) -> None:
            self.log_failure_event(*told_, **named)

    return LlmCostCallbacks()


# --- the HTTP requests of litellm's own --------------------------------------------------


def _attempt_at(is_on: threading.Event, url: Any) -> _Attempt | None:
    attempt = _announced.get()
    return attempt if attempt is not None and is_on.is_set() and attempt.is_at(str(url)) else None


def _request(attempt: _Attempt) -> Request | None:
    with contained("recognising a request"):
        return request_of(attempt.details)
    return None


def _sent(attempt: _Attempt, response: Any, *, is_stream: bool) -> Any:
    attempt.is_sent = True
    attempt.details = {}  # they hold the stream, whose end we wait for
    if is_stream:
        # litellm says nothing of a stream that is left; and it may say of a whole one late.
        weakref.finalize(response, overdue.after_grace, attempt.abandon).atexit = False
    return response


def _failed(attempt: _Attempt, call: Call, error: BaseException) -> None:
    attempt.call = None  # litellm may send again, which is asked and settled anew
    status = getattr(error, "status_code", None)
    is_refused = isinstance(status, int) and status >= 400 and not may_have_consumed(error)
    with contained("failing a call"):
        call.fail(error, Reply() if may_have_consumed(error) and not is_refused else None)


def _patched_post(is_on: threading.Event, original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def post(self: Any, url: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = _attempt_at(is_on, url)
        request = None if attempt is None else _request(attempt)
        call = None if request is None else calls.begin(request)
        if attempt is None or request is None or call is None:
            return original(self, url, *positional, **keywords)
        attempt.call = call
        try:
            with methods.Sending(request, call):
                response = original(self, url, *positional, **keywords)
        except BaseException as error:
            _failed(attempt, call, error)
            raise
        return _sent(attempt, response, is_stream=request.stream)

    return post


def _patched_async_post(
    is_on: threading.Event, original: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    @wraps(original)
    async def post(self: Any, url: Any, *positional: Any, **keywords: Any) -> Any:
        attempt = _attempt_at(is_on, url)
        request = None if attempt is None else _request(attempt)
        call = None if request is None else await calls.begin_async(request)
        if attempt is None or request is None or call is None:
            return await original(self, url, *positional, **keywords)
        attempt.call = call
        try:
            with methods.Sending(request, call):
                response = await original(self, url, *positional, **keywords)
        except BaseException as error:
            _failed(attempt, call, error)
            raise
        return _sent(attempt, response, is_stream=request.stream)

    return post


def _blocked_in(error: BaseException | None) -> PolicyBlocked | None:
    """Return our error where `error` is litellm's translation of it."""
    for _ in range(_TRANSLATIONS_LIMIT):
        if error is None or isinstance(error, PolicyBlocked):
            return error
        error = error.__cause__ or error.__context__
    return None


def _patched_handle_error(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method that translates errors to a provider's, which leaves ours as it is."""

    @wraps(original)
    def handle_error(self: Any, e: Any, *positional: Any, **keywords: Any) -> Any:
        if isinstance(e, PolicyBlocked):
            raise e
        return original(self, e, *positional, **keywords)

    return handle_error


def _patched_exception_type(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that translates errors to litellm's, which brings ours back."""

    @wraps(original)
    def exception_type(*positional: Any, **keywords: Any) -> Any:
        error = keywords.get("original_exception")
        if isinstance(error, BaseException) and (blocked := _blocked_in(error)) is not None:
            raise blocked from None
        return original(*positional, **keywords)

    return exception_type


class LiteLLMInstrumentor(Instrumentor):
    """Adds our callbacks to `litellm`, and patches what sends its requests."""

    module = "litellm"
    _added: "list[tuple[list[Any], Any]]"
    _wanted: dict[str, Any] | None = None
    _is_hooked: ClassVar[bool] = False

    def instrument(self, **options: Any) -> None:
        """Patch litellm, or have it patched when the application imports it.

        Its import takes seconds and may ask the network for prices: no work for an application
        that has it installed and does not use it.
        """
        if "litellm" in sys.modules:
            super().instrument(**options)
            return
        if importlib.util.find_spec("litellm") is None:
            raise ModuleNotFoundError("No module named 'litellm'", name="litellm")
        self._wanted = options
        if not self._is_hooked:
            type(self)._is_hooked = True
            wrapt.register_post_import_hook(self._imported, "litellm")

    def _imported(self, module: Any) -> None:
        del module
        if self._wanted is not None:
            with contained("patching litellm"):
                super().instrument(**self._wanted)

    def _base_module(self) -> Any:
        return importlib.import_module("litellm")

    def _patches(self, base_client: Any) -> list[Patch]:
        http = importlib.import_module("litellm.llms.custom_httpx.http_handler")
        ours = _callbacks(importlib.import_module("litellm.integrations.custom_logger"))
        is_on = self._switch_on()
        self._added = [
            (base_client.callbacks, ours),
            (base_client.LITELLM_EXCEPTION_TYPES, PolicyBlocked),
        ]
        for several, one in self._added:
            several.append(one)
        handler = importlib.import_module("litellm.llms.custom_httpx.llm_http_handler")
        return [
            Patch(
                importlib.import_module("litellm.main"), "exception_type", _patched_exception_type
            ),
            Patch(handler.BaseLLMHTTPHandler, "_handle_error", _patched_handle_error),
            Patch(http.HTTPHandler, "post", partial(_patched_post, is_on)),
            Patch(http.AsyncHTTPHandler, "post", partial(_patched_async_post, is_on)),
        ]

    def uninstrument(self, **options: Any) -> None:
        """Put the client back as it was found."""
        self._wanted = None
        super().uninstrument(**options)
        added, self._added = getattr(self, "_added", []), []
        litellm = importlib.import_module("litellm") if added else None
        for several, one in added:
            # litellm copies its callbacks into lists by event, where they would stay.
            for name in ("input_callback", "success_callback", "failure_callback"):
                added_to = (getattr(litellm, name), getattr(litellm, f"_async_{name}", []))
                for copied in (several, *added_to):
                    if one in copied:
                        copied.remove(one)
