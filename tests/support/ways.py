"""One way of calling a client each, for tests that say what every one of them is booked at."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from support import llm_server as says
from support.llm_server import Answer, LlmServer
from support.recording import RecordingGate, Spans


class Way(NamedTuple):
    """One way to call. usage: the buckets that the settle tells; None: nothing is booked."""

    name: str
    answer: Answer
    call: Callable[[Any], Any]
    usage: dict[str, int] | None
    price: str = "exact"
    model: str | None = None  # what is settled, where the test cares
    source: str = "reported"


def marked(client: str, ways: Sequence[Way]) -> list[Any]:
    """Return `ways` as parameters, each with its cell in docs/coverage.md."""
    return [
        pytest.param(way, marks=pytest.mark.covers(client, way.name), id=way.name) for way in ways
    ]


def read(result: Any) -> Any:
    """Read a result to its end, as an application does."""
    if hasattr(result, "__next__"):
        return list(result)
    if hasattr(result, "__enter__") and not hasattr(result, "read"):
        with result as entered:
            return read(entered)
    return result


async def read_async(result: Any) -> Any:
    """Like `read`, for an async client."""
    if inspect.isawaitable(result):
        result = await result
    if hasattr(result, "__anext__"):
        return [one async for one in result]
    if hasattr(result, "__aenter__") and not hasattr(result, "read"):
        async with result as entered:
            return await read_async(entered)
    return result


def assert_booked(way: Way, server: LlmServer, gate: RecordingGate, spans: Spans) -> None:
    """Assert one span, one reserve and one settle of what `way` expects, or none of them."""
    if way.usage is None:
        assert not spans.finished()
        assert not gate.reserved
        assert not gate.settled
        return
    attributes = spans.only()
    (settled,) = gate.settled

    assert settled.usage.buckets() == way.usage
    assert settled.price_status == attributes["llm_cost.price.status"] == way.price
    assert (settled.actual_nano_usd is None) == (way.price == "unknown")
    assert attributes.get("llm_cost.cost.nano_usd") == settled.actual_nano_usd
    assert attributes["llm_cost.call.id"] == settled.call_id.hex()
    assert settled.usage_source == way.source
    assert settled.outcome == "ok"
    assert way.model is None or settled.model == way.model
    assert len(gate.reserved) == len(server.seen) == 1
    assert not gate.voided
    assert says.PROMPT not in repr(attributes)
    assert says.COMPLETION not in repr(attributes)
