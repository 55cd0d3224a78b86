"""What a call may use, before it is made, and what a cut one used, after: counted by bytes.

Two readings of the same bytes:

* A **bound**, where the output is bounded too (the caller gave `max_tokens`, or the operator
  asked for worst cases). No tokenizer with a byte fallback makes more tokens than there are
  bytes, so one token a byte is never too little for text. A hard cap rests on this one.
* An **expectation**, where the output can only be expected: 3 bytes a token, a little more
  than English or code needs, and the output that this model and group have been seen to make.

Images count as `IMAGE_TOKENS` each and other attachments by a share of their size: these two
are rules of thumb, not bounds. No tokenizer is used, on purpose: tiktoken loads its tables
from the network on first use, inside somebody's request.
"""

from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Final, NamedTuple

from llm_cost.money import MAX_NANO_USD
from llm_cost.pricing import PriceStatus, cost_of
from llm_cost.settings import Settings
from llm_cost.usage import Usage

BYTES_PER_EXPECTED_TOKEN: Final = 3
BYTES_PER_SEEN_TOKEN: Final = 4  # of a stream that was cut: plain prose, the usual output
NUMBER_BYTES: Final = 8
PART_TOKENS: Final = 8  # roles and separators around each message, part and tool
REQUEST_TOKENS: Final = 64  # what providers put around a request
TOOLS_TOKENS: Final = 1_024  # the system prompt that providers add when tools are given
IMAGE_TOKENS: Final = 3_000  # a large picture at high detail
ATTACHMENT_BYTES_PER_TOKEN: Final = 8  # base64 of a PDF or a sound
MAX_WALKED_VALUES: Final = 200_000  # beyond, a request is judged by what was walked

UNSEEN_OUTPUT_TOKENS: Final = 1_024  # before a model has answered once
HISTORY_KEYS: Final = 1_024  # (provider, model, group) triples remembered
HISTORY_LENGTH: Final = 64  # outputs remembered of each
_REFRESH_EVERY: Final = 8  # outputs between two sorts
_QUANTILE: Final = 0.95

_PICTURES: Final = frozenset(("image_url", "input_image", "image", "computer_screenshot"))
_ATTACHMENTS: Final = frozenset(("data", "file_data", "image_url"))


class InputSize(NamedTuple):
    """How large a request is. `searches` counts the web searches that its tools may make."""

    text_bytes: int = 0
    parts: int = 0
    images: int = 0
    attachment_bytes: int = 0
    searches: int = 0
    has_tools: bool = False
    writes_cache: bool = False
    writes_cache_1h: bool = False

    def tokens(self, bytes_per_token: int) -> int:
        """Return the input tokens at `bytes_per_token` of text."""
        return (
            self.text_bytes // bytes_per_token
            + self.parts * PART_TOKENS
            + REQUEST_TOKENS
            + (TOOLS_TOKENS if self.has_tools else 0)
            + self.images * IMAGE_TOKENS
            + self.attachment_bytes // ATTACHMENT_BYTES_PER_TOKEN
        )


def text_bytes(text: str) -> int:
    """Return the UTF-8 length of `text`; for ASCII without looking at it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def input_size(body: Mapping[str, object]) -> InputSize:
    """Measure a request body by walking it: no JSON is made, no text is copied."""
    size = parts = images = attachments = searches = 0
    writes_cache = writes_cache_1h = False
    waiting: list[object] = [body]
    for _ in range(MAX_WALKED_VALUES):
        if not waiting:
            break
        value = waiting.pop()
        if isinstance(value, str):
            size += text_bytes(value)
        elif isinstance(value, dict):
            parts += 1
            kind = value.get("type")
            if kind in _PICTURES:
                images += 1
                continue
            if isinstance(kind, str) and kind.startswith("web_search"):
                searches += _whole(value.get("max_uses")) or _whole(body.get("max_tool_calls")) or 1
            if cache := value.get("cache_control"):
                writes_cache = True
                writes_cache_1h |= isinstance(cache, dict) and cache.get("ttl") == "1h"
            for key, inner in value.items():
                if key in _ATTACHMENTS and isinstance(inner, str) and len(inner) > 1_000:
                    attachments += len(inner)
                    continue
                size += len(key)
                waiting.append(inner)
        elif isinstance(value, list | tuple):
            waiting.extend(value)
        elif hasattr(type(value), "model_fields"):
            waiting.append(value.__dict__)  # a client's model where others take a dictionary
        else:
            text, attached = _leaf_bytes(value)
            size, attachments = size + text, attachments + attached
    return InputSize(
        text_bytes=size,
        parts=parts,
        images=images,
        attachment_bytes=attachments,
        searches=searches,
        has_tools=bool(body.get("tools") or body.get("functions")),
        writes_cache=writes_cache,
        writes_cache_1h=writes_cache_1h,
    )


def _leaf_bytes(value: object) -> tuple[int, int]:
    """Return the bytes of text and of an attachment that a value without an inside stands for."""
    if isinstance(value, bytes | bytearray):
        return 0, len(value)
    return (0 if value is None else NUMBER_BYTES), 0


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


class OutputHistory:
    """What models have been seen to produce, by (provider, model, group). Bounded, thread-safe."""

    def __init__(self, keys: int = HISTORY_KEYS, length: int = HISTORY_LENGTH) -> None:
        self._keys = keys
        self._length = length
        self._seen: dict[tuple[str, str, str | None], _Seen] = {}
        self._lock = Lock()

    def observe(self, key: tuple[str, str, str | None], output_tokens: int) -> None:
        """Remember one output."""
        with self._lock:
            seen = self._seen.get(key)
            if seen is None:
                if len(self._seen) >= self._keys:
                    del self._seen[next(iter(self._seen))]
                seen = self._seen[key] = _Seen(self._length)
            seen.add(output_tokens)

    def expect(self, key: tuple[str, str, str | None]) -> int:
        """Return a high quantile of the outputs of `key`, or the default before the first."""
        seen = self._seen.get(key)
        return UNSEEN_OUTPUT_TOKENS if seen is None else seen.high


class _Seen:
    __slots__ = ("_count", "_outputs", "high")

    def __init__(self, length: int) -> None:
        self._outputs: deque[int] = deque(maxlen=length)
        self._count = 0
        self.high = 0

    def add(self, output_tokens: int) -> None:
        self._outputs.append(output_tokens)
        self._count += 1
        if output_tokens > self.high and self._count < _REFRESH_EVERY:
            self.high = output_tokens
        elif self._count % _REFRESH_EVERY == 0:
            ranked = sorted(self._outputs)
            self.high = ranked[min(len(ranked) - 1, int(len(ranked) * _QUANTILE))]


history = OutputHistory()


class Expected(NamedTuple):
    """A call's usage as foreseen, and whether that is a bound for text."""

    usage: Usage
    is_bound: bool


def expected(
    size: InputSize,
    *,
    key: tuple[str, str, str | None],
    max_output_tokens: int | None,
    choices: int,
    settings: Settings,
) -> Expected:
    """Return what a call of `size` may use; see the module docstring for the two readings."""
    is_bound = max_output_tokens is not None or settings.worst_case_estimates
    if max_output_tokens is not None:
        output_tokens = max_output_tokens
    elif settings.worst_case_estimates:
        output_tokens = settings.estimate_max_output_tokens
    else:
        output_tokens = min(history.expect(key), settings.estimate_max_output_tokens)
    usage = Usage(
        input_text_tokens=size.tokens(1 if is_bound else BYTES_PER_EXPECTED_TOKEN),
        output_text_tokens=output_tokens * max(choices, 1),
        web_searches=size.searches,
    )
    return Expected(usage, is_bound)


def seen(size: InputSize, output_bytes: int) -> Usage:
    """Return what a cut stream used: its request and the bytes that arrived, at 4 a token."""
    return Usage(
        input_text_tokens=max(size.text_bytes // BYTES_PER_SEEN_TOKEN, 1)
        + size.images * IMAGE_TOKENS
        + size.attachment_bytes // ATTACHMENT_BYTES_PER_TOKEN,
        output_text_tokens=-(-output_bytes // BYTES_PER_SEEN_TOKEN),
    )


def nano_usd(
    usage: Usage,
    *,
    provider: str,
    model: str,
    at: float,
    service_tier: str | None,
    size: InputSize,
) -> int | None:
    """Return the highest price that `usage` can have before the call, None when unknown.

    Input that is written to a cache costs more than plain input, and some providers write
    without being asked: the dearest of the ways that the request allows is taken.
    """
    ways = [usage]
    if provider != "anthropic" or size.writes_cache:
        ways.append(usage._replace(input_text_tokens=0, cache_write_tokens=usage.input_text_tokens))
    if size.writes_cache_1h:
        ways.append(
            usage._replace(input_text_tokens=0, cache_write_1h_tokens=usage.input_text_tokens)
        )
    highest: int | None = None
    for way in ways:
        cost = cost_of(way, provider=provider, model=model, at=at, service_tier=service_tier)
        if cost.total_nano_usd is not None and cost.status is not PriceStatus.UNKNOWN:
            highest = max(highest or 0, cost.total_nano_usd)
    return None if highest is None else min(highest, MAX_NANO_USD)
