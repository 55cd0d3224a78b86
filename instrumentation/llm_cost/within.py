"""Running code within an OpenTelemetry context, and leaving it without a trace.

`opentelemetry.context.detach` logs an error when it is called in another execution context
than `attach`, which happens to every generator that is closed by somebody else. Here the
token is asked instead, and an answer of "not here" is no fault: there is nothing to undo.
"""

import contextvars
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import ParamSpec, TypeAlias

from opentelemetry.context import Context, attach, get_current

P = ParamSpec("P")
Token: TypeAlias = contextvars.Token[Context]


def restore(token: Token) -> bool:
    """Undo the `attach` that gave `token`; False if that was in another execution context."""
    try:
        token.var.reset(token)
    except ValueError:
        return False
    return True


class within:  # noqa: N801 - reads as a statement: `with within(context):`
    """Make `context` current inside; single use."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = attach(self._context)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        restore(self._token)


class OwnContext:
    """The context of one generator's body: kept from step to step, hidden in between."""

    __slots__ = ("_context", "_first", "_token")

    def __init__(self, first: Callable[[], Context]) -> None:
        self._first = first
        self._context: Context | None = None

    def __enter__(self) -> None:
        self._token = attach(self._first() if self._context is None else self._context)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._context = get_current()  # with the span that the body may have opened
        restore(self._token)


def around_generator(
    function: Callable[P, Generator[object, object, object]], first: Callable[[], Context]
) -> Callable[P, Generator[object, object, object]]:
    """Return `function` with each step of its generators in a context that starts as `first()`."""

    @functools.wraps(function)
    def stepwise(*args: P.args, **kwargs: P.kwargs) -> Generator[object, object, object]:
        own, body = OwnContext(first), function(*args, **kwargs)
        try:
            with own:
                item = next(body)
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    with own:
                        body.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - it belongs to the body
                    with own:
                        item = body.throw(error)
                else:
                    with own:
                        item = body.send(sent)
        except StopIteration as stop:
            return stop.value

    return stepwise


def around_async_generator(
    function: Callable[P, AsyncGenerator[object, object]], first: Callable[[], Context]
) -> Callable[P, AsyncGenerator[object, object]]:
    """Return `function` like `around_generator` does, for async generators."""

    @functools.wraps(function)
    async def stepwise(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[object, object]:
        own, body = OwnContext(first), function(*args, **kwargs)
        try:
            with own:
                item = await anext(body)
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    with own:
                        await body.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - it belongs to the body
                    with own:
                        item = await body.athrow(error)
                else:
                    with own:
                        item = await body.asend(sent)
        except StopAsyncIteration:
            return

    return stepwise
