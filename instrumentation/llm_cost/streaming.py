"""Streams: the call ends exactly once, however its stream does.

Read to the end, left by `break`, closed, dropped and garbage-collected, cancelled, failed in
the middle: each ends in one `stop`, `cancel` or `fail` of the `Call`. The client's own stream
object stays what it is; only the iterator inside it is ours, and its HTTP response learns to
say when it is closed.

A `Reading` is one stream being read. It holds no reference to the stream or the response, so
that a dropped stream is freed as promptly as without us.
"""

import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

from llm_cost import abandoned
from llm_cost.estimate import text_bytes
from llm_cost.faults import contained
from llm_cost.pricing.cost import Cost
from llm_cost.request import Job, Reply
from llm_cost.usage import Usage


class Progress:
    """What a stream has told so far. Written by the provider's `read_chunk`."""

    __slots__ = (
        "cost",
        "finish_reasons",
        "first_chunk_at_s",
        "id",
        "is_complete",
        "job",
        "model",
        "others",
        "output_bytes",
        "region",
        "service_tier",
        "started",
        "usage",
    )

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.started: Any = None  # the provider's first word on usage, where it says it in two
        self.is_complete = False
        self.output_bytes = 0  # negative: nobody counted
        self.model: str | None = None
        self.id: str | None = None
        self.finish_reasons: tuple[str, ...] = ()
        self.service_tier: str | None = None
        self.region: str | None = None
        self.first_chunk_at_s: float | None = None
        self.job: Job | None = None
        self.cost: Cost | None = None
        self.others: tuple[Reply, ...] = ()

    def add_text(self, text: object) -> None:
        """Count a piece of output, should the stream be cut before it tells its usage."""
        if isinstance(text, str):
            self.output_bytes += text_bytes(text)

    def reply(self) -> Reply:
        """Return what is known: the reported usage, or else the bytes that arrived."""
        return Reply(
            usage=self.usage,
            output_bytes=None if self.output_bytes < 0 else self.output_bytes,
            model=self.model,
            id=self.id,
            finish_reasons=self.finish_reasons,
            service_tier=self.service_tier,
            region=self.region,
            first_chunk_at_s=self.first_chunk_at_s,
            job=self.job,
            others=self.others,
            cost=self.cost,
        )


class ChunkReader(Protocol):
    """How a provider's stream is read."""

    def __call__(self, progress: Progress, chunk: Any, /) -> bool:
        """Take in one chunk; True where it exists only to tell the usage."""


class Ending(Protocol):
    """What a stream ends: a call, or the reading of a result. The first end counts."""

    def stop(self, reply: Reply) -> None:
        """It was answered."""

    def cancel(self, reply: Reply) -> None:
        """The caller turned away."""

    def fail(self, error: BaseException, reply: Reply | None) -> None:
        """It raised `error`."""


class Neighbour(Protocol):
    """Another instrumentation's span that stands for the call of a stream."""

    conclude: Callable[[], None] | None

    def reading(self, chunks: Any) -> Any:
        """Return `chunks`, seen by the neighbour."""


class Reading:
    """One stream being read on behalf of one call."""

    __slots__ = (
        "_call",
        "_hides_usage",
        "_read_chunk",
        "_reply",
        "is_inside",
        "neighbour",
        "progress",
        "reads_bytes",
    )

    def __init__(
        self,
        call: Ending,
        read_chunk: ChunkReader,
        reply: Callable[[Progress], Reply],
        *,
        hides_usage: bool,
    ) -> None:
        self.progress = Progress()
        self._call = call
        self._read_chunk = read_chunk
        self._reply = reply
        self._hides_usage = hides_usage
        # The client is working on the next chunk: a close that it makes itself is no end.
        self.is_inside = False
        self.reads_bytes = False  # of the response, because no iterator of ours does
        abandoned.expect_some()
        # Its span may end before our stream does: then the call ends with it.
        self.neighbour: Neighbour | None = getattr(call, "neighbour", None)
        if self.neighbour is not None:
            self.neighbour.conclude = self._close

    def saw(self, chunk: Any) -> bool:
        """Take in one chunk; True where the caller must not see it."""
        progress = self.progress
        if progress.first_chunk_at_s is None:
            progress.first_chunk_at_s = time.perf_counter()
        try:
            return self._read_chunk(progress, chunk) and self._hides_usage
        except Exception:
            with contained("reading a chunk"):
                raise
            return False

    def stop(self) -> None:
        """The stream was read to its end."""
        self._call.stop(self._reply(self.progress))

    def fail(self, error: BaseException) -> None:
        """The stream raised `error`."""
        self._call.fail(error, self._reply(self.progress))

    def closed(self) -> None:
        """The response was closed, or everything that could read it was dropped."""
        if self.is_inside:
            return
        abandoned.end(self._close)

    def dropped(self) -> None:
        """Our iterator was dropped. Where it never read, another may be made on the response."""
        if self.progress.first_chunk_at_s is not None and not self.reads_bytes:
            self.closed()

    def _close(self) -> None:
        with contained("ending a stream"):
            reply = self._reply(self.progress)
            if self.progress.is_complete:
                self._call.stop(reply)
            else:
                self._call.cancel(reply)


def read_along(chunks: Iterator[Any], reading: Reading) -> Iterator[Any]:
    """Yield what a client's generator yields. A generator: half of what an iterator class costs.

    For generators only: an iterator that goes on after it has raised needs `SyncChunks`.
    """
    if reading.neighbour is not None:
        chunks = reading.neighbour.reading(chunks)
    reading.is_inside = True
    try:
        for chunk in chunks:
            if reading.saw(chunk):
                continue
            reading.is_inside = False
            yield chunk
            reading.is_inside = True
        reading.stop()
    except GeneratorExit:  # closed or dropped, where it had yielded
        if not sys.is_finalizing():
            reading.dropped()
        raise
    except BaseException as error:
        reading.fail(error)
        raise
    finally:
        reading.is_inside = False


class SyncChunks:
    """The iterator inside a client's `Stream`."""

    __slots__ = ("_next", "_reading")

    def __init__(self, chunks: Iterator[Any], reading: Reading) -> None:
        if reading.neighbour is not None:
            chunks = reading.neighbour.reading(chunks)
        self._next = chunks.__next__
        self._reading = reading

    def __iter__(self) -> "SyncChunks":
        return self

    def __next__(self) -> Any:
        reading = self._reading
        reading.is_inside = True
        try:
            chunk = self._next()
            while reading.saw(chunk):
                chunk = self._next()
        except StopIteration:
            reading.stop()
            raise
        except BaseException as error:
            reading.fail(error)
            raise
        finally:
            reading.is_inside = False
        return chunk

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._reading.dropped()


class AsyncChunks:
    """The iterator inside a client's `AsyncStream`."""

    __slots__ = ("_next", "_reading")

    def __init__(self, chunks: AsyncIterator[Any], reading: Reading) -> None:
        if reading.neighbour is not None:
            chunks = reading.neighbour.reading(chunks)
        self._next = chunks.__anext__
        self._reading = reading

    def __aiter__(self) -> "AsyncChunks":
        return self

    async def __anext__(self) -> Any:
        reading = self._reading
        reading.is_inside = True
        try:
            chunk = await self._next()
            while reading.saw(chunk):
                chunk = await self._next()
        except StopAsyncIteration:
            reading.stop()
            raise
        except BaseException as error:
            reading.fail(error)
            raise
        finally:
            reading.is_inside = False
        return chunk

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self._reading.dropped()
