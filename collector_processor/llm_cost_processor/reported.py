"""What a span reports, read through its dialect: texts, counts, and usage. Pure."""

from typing import Final

from llm_cost import attributes as names
from llm_cost.usage import Usage
from llm_cost_processor.dialects import BUCKET_NAMES, COUNTS, Attributes, Plan

MAX_COUNT: Final = 10**12
"""A larger count of tokens is a fault of the sender: it would cost more than the wire holds."""

MAX_TEXT_CHARS: Final = 256
"""Of a model's or provider's name. A longer one is a fault, and it would stay in every metric."""

_SAID_BY_DIALECTS: Final = frozenset(
    {
        "input_text_tokens",
        "input_audio_tokens",
        "cache_read_text_tokens",
        "cache_write_tokens",
        "cache_write_1h_tokens",
        "output_text_tokens",
        "output_reasoning_tokens",
        "output_audio_tokens",
    }
)
_INPUT_BUCKETS: Final = ("input_image_tokens", "input_video_tokens")
_OUTPUT_BUCKETS: Final = ("output_image_tokens", "output_video_tokens")


class InvalidUsage(ValueError):
    """A count that no provider can mean; the message names the attribute and the value."""


def text(attributes: Attributes, name: str) -> str:
    """Return the attribute as text, "" where it is not there; "" is no attribute's name."""
    value = attributes.get(name, "")
    return (value if type(value) is str else str(value))[:MAX_TEXT_CHARS]


def _count(attributes: Attributes, name: str) -> int:
    value = attributes[name]
    return value if type(value) is int and 0 <= value <= MAX_COUNT else _whole(name, value)


def _whole(name: str, value: object) -> int:
    """JavaScript exporters send whole numbers as doubles, and some instrumentations as text."""
    whole = -1
    if isinstance(value, float) and value.is_integer():
        whole = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit():
        whole = int(value) if len(value) <= len(str(MAX_COUNT)) else -1
    if not 0 <= whole <= MAX_COUNT:
        raise InvalidUsage(f"{name} {value!r} is not a whole number from 0 to {MAX_COUNT}")
    return whole


def usage(attributes: Attributes, plan: Plan) -> Usage | None:
    """Return the exclusive buckets of what the span reports, None where it reports nothing.

    Raises `InvalidUsage` for a count that no provider can mean.
    """
    if not plan.has_usage:
        return _usage_without_tokens(attributes)
    counts = [0] * len(COUNTS)
    for number, name in plan.counts:
        counts[number] = _count(attributes, name)
    (
        input_tokens,
        output_tokens,
        cache_read,
        cache_write,
        cache_write_1h,
        reasoning,
        input_audio,
        output_audio,
    ) = counts
    cache_write_1h = min(cache_write_1h, cache_write)
    cached = cache_read + cache_write if plan.dialect.input_includes_cache else 0
    # By position: the fields are named in `Usage`, and naming them here doubles the time.
    told = Usage(
        *(_rest(input_tokens, cached + input_audio), input_audio, 0, 0),
        *(cache_read, 0, 0, cache_write - cache_write_1h, cache_write_1h),
        *(_rest(output_tokens, reasoning + output_audio), reasoning, output_audio),
    )
    # Only this library's own spans name their source, and only they carry further buckets.
    return _with_own_buckets(told, attributes) if names.USAGE_SOURCE in attributes else told


def _rest(total: int, inside: int) -> int:
    """What is left of an inclusive total. A total smaller than its parts was never inclusive,
    whatever the instrumentation promises: then it stands beside them."""
    return total - inside if total >= inside else total


def _with_own_buckets(told: Usage, attributes: Attributes) -> Usage:
    own = _own_buckets(attributes)
    if not own:
        return told
    taken_in = sum(own.get(name, 0) for name in _INPUT_BUCKETS)
    taken_out = sum(own.get(name, 0) for name in _OUTPUT_BUCKETS)
    read_elsewhere = own.get("cache_read_audio_tokens", 0) + own.get("cache_read_image_tokens", 0)
    return told._replace(
        input_text_tokens=_rest(told.input_text_tokens, taken_in),
        output_text_tokens=_rest(told.output_text_tokens, taken_out),
        cache_read_text_tokens=_rest(told.cache_read_text_tokens, read_elsewhere),
        **own,
    )


def _usage_without_tokens(attributes: Attributes) -> Usage | None:
    """Pages, images, searches."""
    if names.USAGE_SOURCE not in attributes:
        return None
    own = _own_buckets(attributes)
    return Usage(**own) if own else None


def _own_buckets(attributes: Attributes) -> dict[str, int]:
    return {
        bucket: counted
        for name, bucket in BUCKET_NAMES.items()
        if name in attributes
        and bucket not in _SAID_BY_DIALECTS
        and (counted := _count(attributes, name))
    }
