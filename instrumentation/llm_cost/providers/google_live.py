"""Live sessions of Google's client: `AsyncLive.connect`, one call a session.

A session is asked for once, before it connects. Each turn tells what it used, with everything
that was said before it: that is how turns are billed, so a session costs the sum of its turns.
A turn that was cut before it told its use is missing from the sum, which is then estimated.
"""

import functools
import importlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from llm_cost import call as calls
from llm_cost.faults import contained
from llm_cost.providers.endpoint import at, text_or_none
from llm_cost.providers.gemini import service_tier, usage_of
from llm_cost.providers.instrumentor import Patch
from llm_cost.request import ESTIMATED, REPORTED, Reply, Request
from llm_cost.usage import Usage

_SESSION: Final = "_llm_cost_session"


class _Session:
    """What a session has used so far."""

    __slots__ = ("is_in_turn", "region", "tier", "usage")

    def __init__(self, region: str | None) -> None:
        self.region = region
        self.usage: Usage | None = None
        self.tier: str | None = None
        self.is_in_turn = False

    def saw(self, message: Any) -> None:
        """Take in one message of the server."""
        content = at(message, "server_content")
        if content is not None:
            self.is_in_turn = not (at(content, "turn_complete") or at(content, "interrupted"))
        told_usage = at(message, "usage_metadata")
        if told_usage is None:
            return
        counts = told_usage.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.tier = service_tier(counts) or self.tier
        turn = usage_of(counts)
        if turn is not None:
            so_far = self.usage or Usage()
            self.usage = Usage(*map(sum, zip(so_far, turn, strict=True)))

    def reply(self) -> Reply:
        """Return the sum of the turns."""
        return Reply(
            usage=self.usage,
            usage_source=ESTIMATED if self.is_in_turn else REPORTED,
            service_tier=self.tier,
            region=self.region,
        )


def _request_of(client: Any, keywords: Mapping[str, Any]) -> Request | None:
    with contained("recognising a request"):
        return Request(
            provider="gcp.vertex_ai" if client.vertexai else "gcp.gemini",
            operation="generate_content",
            model=str(keywords.get("model") or "").rpartition("/")[2],
            body={},
            stream=True,
            is_text=False,  # most of it is sound, which no bytes of text foretell
        )
    return None


def _patched_connect(is_on: Callable[[], bool], original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `connect` with a call's life around the session."""

    @functools.wraps(original)
    @asynccontextmanager
    async def connect(self: Any, *positional: Any, **keywords: Any) -> AsyncIterator[Any]:
        request = _request_of(self._api_client, keywords) if is_on() else None
        call = None if request is None else await calls.begin_async(request)
        if call is None:
            async with original(self, *positional, **keywords) as session:
                yield session
            return
        region = text_or_none(self._api_client.location) if self._api_client.vertexai else None
        metered: _Session | None = None
        try:
            async with original(self, *positional, **keywords) as session:
                metered = session.__dict__[_SESSION] = _Session(region)
                yield session
        except BaseException as error:
            call.fail(error, None if metered is None else metered.reply())
            raise
        call.stop(Reply() if metered is None else metered.reply())

    return connect


def _patched_receive(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def receive(self: Any, *positional: Any, **keywords: Any) -> Any:
        message = await original(self, *positional, **keywords)
        session = self.__dict__.get(_SESSION)
        if session is not None:
            with contained("reading a message"):
                session.saw(message)
        return message

    return receive


def patches(is_on: Callable[[], bool]) -> list[Patch]:
    """Return the patches of the live client; none where the client is too old to have one."""
    try:
        live = importlib.import_module("google.genai.live")
    except ImportError:  # its websockets are not installed
        return []
    return [
        Patch(live.AsyncLive, "connect", functools.partial(_patched_connect, is_on)),
        Patch(live.AsyncSession, "_receive", _patched_receive),
    ]
