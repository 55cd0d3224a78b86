"""What a provider's file says about its client: which requests cost, and how to read them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llm_cost.request import Reply, Request
from llm_cost.streaming import ChunkReader, Progress
from llm_cost.usage import Usage


def no_chunk(progress: Progress, chunk: Any) -> bool:
    """Read a chunk of a stream whose chunks tell nothing."""
    del progress, chunk
    return False


class Endpoint(NamedTuple):
    """One billable request path.

    read_chunk, conclude: how its stream is read, and what is known when it ends.
    count_request: for what is billed by its request and tells no usage.
    is_text: whether bytes of text say something about its tokens.
    usage_on_request: its stream tells its usage only with `stream_options.include_usage`.
    is_result: reading it costs nothing; it may tell what earlier work cost.
    read_line: of a result with one JSON document a line, how a line is read.
    """

    operation: str
    read_reply: Callable[[Any], Reply]
    read_chunk: ChunkReader = no_chunk
    conclude: Callable[[Progress], Reply] = Progress.reply
    count_request: Callable[[Mapping[str, Any]], Usage] | None = None
    is_text: bool = True
    usage_on_request: bool = False
    is_result: bool = False
    read_line: Callable[[Any], Reply] | None = None


class Surface(NamedTuple):
    """One client library.

    stream_types: its sync and async stream classes, whose `_iterator` yields chunks.
    """

    endpoint_of: Callable[[Any], Endpoint | None]
    request_of: Callable[[Any, Any, Endpoint, bool], Request]
    stream_types: tuple[type, ...]


_NOTHING: Mapping[str, Any] = {}


def count(value: object) -> int:
    """Return a count as the provider tells it; what is missing or no count is 0."""
    return value if isinstance(value, int) and value > 0 else 0


def told(value: Any) -> Mapping[str, Any]:
    """Return the fields of a JSON object or of a client's model, unknown ones included.

    Reading a missing field of a pydantic model costs more than pricing the call, and most of
    what may be told is missing: a dictionary answers that in no time.
    """
    if isinstance(value, dict):
        return value
    try:
        known: Mapping[str, Any] = value.__dict__
        extra = value.__pydantic_extra__
    except AttributeError:
        return _NOTHING  # None, a text, a number
    return {**known, **extra} if extra else known


def at(value: Any, *path: str) -> Any:
    """Return the field at `path`; None where a part of it is missing."""
    for name in path:
        if value is None:
            return None
        value = told(value).get(name)
    return value


def text_or_none(value: object) -> str | None:
    """Return `value` if it is a text."""
    return value if isinstance(value, str) else None


def body_of(options: Any) -> Mapping[str, Any]:
    """Return the JSON body of a request, `extra_body` included."""
    body = options.json_data
    if not isinstance(body, Mapping):
        return {}
    extra = getattr(options, "extra_json", None)
    return {**body, **extra} if isinstance(extra, Mapping) else body
