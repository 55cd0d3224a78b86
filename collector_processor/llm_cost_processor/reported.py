"""What a span reports, read through its dialect: texts, counts, and usage. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from llm_cost.usage import Usage
from llm_cost_processor.dialects import BUCKET_NAMES, Attributes, AttributeValue, Plan

MAX_COUNT: Final = 10**12
"""A larger count of tokens is a fault of the sender: it would cost more than the wire holds."""

MAX_TEXT_CHARS: Final = 256
"""Of a model's or provider's name. A longer one is a fault, and it would stay in every metric."""

INVALID: Final = -1
"""In place of a count that no provider can mean."""

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
_new: Final = tuple.__new__
_INPUT_BUCKETS: Final = ("input_image_tokens", "input_video_tokens")
_OUTPUT_BUCKETS: Final = ("output_image_tokens", "output_video_tokens")


class InvalidUsage(ValueError):
    """A count that no provider can mean."""


def text(attributes: Attributes, name: str) -> str:
    """Return the attribute as text, "" where it is not there; "" is no attribute's name."""
    value = attributes.get(name, "")
    return (value if type(value) is str else str(value))[:MAX_TEXT_CHARS]


def count(value: AttributeValue) -> int:
    """Return the count that `value` means, or `INVALID`.

    JavaScript exporters send whole numbers as doubles, and some instrumentations as text.
    """
    whole = INVALID
    if type(value) is int:
        whole = value
    elif isinstance(value, float) and value.is_integer():
        whole = int(value)
    elif isinstance(value, str) and value.isascii() and value.isdigit():
        whole = int(value) if len(value) <= len(str(MAX_COUNT)) else INVALID
    return whole if 0 <= whole <= MAX_COUNT else INVALID


def usage(plan: Plan, counts: Sequence[int], own_buckets: Mapping[str, int]) -> Usage | None:
    """Return the exclusive buckets of what a span reports, None where it reports nothing.

    counts: of the attributes `plan.counts`, in their order.
    own_buckets: what `buckets_of` found.
    Raises `InvalidUsage` for a count that no provider can mean.
    """
    if INVALID in counts or (own_buckets and INVALID in own_buckets.values()):
        raise InvalidUsage
    if not plan.has_usage:
        # Pages, images, searches.
        return Usage(**own_buckets) if own_buckets else None
    (
        input_tokens,
        output_tokens,
        cache_read,
        cache_write,
        cache_write_1h,
        reasoning,
        input_audio,
        output_audio,
    ) = plan.spread((*counts, 0))
    inside = input_audio
    if plan.dialect.input_includes_cache:
        inside += cache_read + cache_write
    if cache_write:
        cache_write_1h = min(cache_write_1h, cache_write)
        cache_write -= cache_write_1h
    else:
        cache_write_1h = 0
    text_in = _rest(input_tokens, inside)
    text_out = _rest(output_tokens, reasoning + output_audio)
    # By position and past the constructor: naming 24 fields takes four times as long.
    # fmt: off
    told = _new(Usage, (
        text_in, input_audio, 0, 0, cache_read, 0, 0, cache_write, cache_write_1h,
        text_out, reasoning, output_audio, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ))
    # fmt: on
    return _with_own_buckets(told, own_buckets) if own_buckets else told


def _rest(total: int, inside: int) -> int:
    """What is left of an inclusive total. A total smaller than its parts was never inclusive,
    whatever the instrumentation promises: then it stands beside them."""
    return total - inside if total >= inside else total


def _with_own_buckets(told: Usage, own: Mapping[str, int]) -> Usage:
    taken_in = sum(own.get(name, 0) for name in _INPUT_BUCKETS)
    taken_out = sum(own.get(name, 0) for name in _OUTPUT_BUCKETS)
    read_elsewhere = own.get("cache_read_audio_tokens", 0) + own.get("cache_read_image_tokens", 0)
    return told._replace(
        input_text_tokens=_rest(told.input_text_tokens, taken_in),
        output_text_tokens=_rest(told.output_text_tokens, taken_out),
        cache_read_text_tokens=_rest(told.cache_read_text_tokens, read_elsewhere),
        **own,
    )


def buckets_of(attributes: Attributes) -> dict[str, int]:
    """Return the buckets that only this library writes, by name; `INVALID` for a bad count."""
    return {
        bucket: counted
        for name, value in attributes.items()
        if (bucket := BUCKET_NAMES.get(name, ""))
        and bucket not in _SAID_BY_DIALECTS
        and (counted := count(value))
    }
