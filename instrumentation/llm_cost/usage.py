"""How much one call used, as counts in exclusive buckets. Pure.

Exclusive: every billed unit stands in exactly one field, so that a price is a sum of
products and nothing is counted twice. Providers report overlapping totals; each file in
`providers/` states its provider's rule; `Usage.from_totals` does the subtracting.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self


class Usage(NamedTuple):
    """What one call used. Counts are >= 0; durations are whole milliseconds.

    "text" also stands for tokens whose modality the provider does not tell apart.
    A NamedTuple and not a dataclass: it is built and priced on every call, and reading a
    field by index is what keeps `cost_of` below a microsecond.
    """

    input_text_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    input_video_tokens: int = 0
    cache_read_text_tokens: int = 0
    cache_read_audio_tokens: int = 0
    cache_read_image_tokens: int = 0
    cache_write_tokens: int = 0  # the provider's default lifetime (Anthropic: 5 minutes)
    cache_write_1h_tokens: int = 0
    output_text_tokens: int = 0
    output_reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    output_video_tokens: int = 0
    web_searches: int = 0
    file_searches: int = 0
    rerank_searches: int = 0
    images: int = 0
    pages: int = 0
    annotated_pages: int = 0
    input_characters: int = 0
    input_audio_ms: int = 0
    output_audio_ms: int = 0
    output_video_ms: int = 0

    @property
    def total_input_tokens(self) -> int:
        """All input tokens, cached ones included: `gen_ai.usage.input_tokens`."""
        return sum(self[:9])

    @property
    def total_output_tokens(self) -> int:
        """All output tokens, reasoning included: `gen_ai.usage.output_tokens`."""
        return sum(self[9:14])

    @property
    def cache_read_tokens(self) -> int:
        """Input tokens served from a cache, of every modality."""
        return sum(self[4:7])

    def buckets(self) -> dict[str, int]:
        """The non-zero buckets by name: the form of the wire and of the ledger."""
        return {name: count for name, count in zip(self._fields, self, strict=True) if count}

    @classmethod
    def from_buckets(cls, buckets: Mapping[str, int]) -> Self:
        """Return the usage for `buckets`; names that no field has are left out, never raised."""
        return cls(**{name: buckets[name] for name in cls._fields if name in buckets})

    @classmethod
    def from_totals(
        cls,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        output_reasoning_tokens: int = 0,
        input_audio_tokens: int = 0,
        input_image_tokens: int = 0,
        input_video_tokens: int = 0,
        cache_read_audio_tokens: int = 0,
        cache_read_image_tokens: int = 0,
        output_audio_tokens: int = 0,
        output_image_tokens: int = 0,
        output_video_tokens: int = 0,
        **counts: int,
    ) -> Self:
        """Return the exclusive buckets of inclusive totals; `counts` are the other buckets.

        `input_tokens` includes everything read from or written to a cache and every modality;
        `cache_write_tokens` includes `cache_write_1h_tokens`; `input_audio_tokens` includes
        `cache_read_audio_tokens` (image likewise); `output_tokens` includes reasoning and
        every modality. A part that exceeds its whole is cut to it and a negative count is 0:
        an inconsistent report is never an error, and no token is counted twice.
        """
        others = _other_buckets(counts) if counts else _NO_OTHERS
        write = cache_write_tokens - cache_write_1h_tokens
        text = input_tokens - cache_read_tokens - cache_write_tokens
        out = output_tokens - output_reasoning_tokens
        in_modal = input_audio_tokens or input_image_tokens or input_video_tokens
        in_modal = in_modal or cache_read_audio_tokens or cache_read_image_tokens
        out_modal = output_audio_tokens or output_image_tokens or output_video_tokens
        # One sign for all: it is negative exactly when some count or difference is.
        signs = text | cache_read_tokens | write | cache_write_1h_tokens
        signs |= out | output_reasoning_tokens
        if not (in_modal or out_modal) and signs >= 0:
            read, write_1h = cache_read_tokens, cache_write_1h_tokens
            thought = output_reasoning_tokens
            tokens = (text, 0, 0, 0, read, 0, 0, write, write_1h, out, thought, 0, 0, 0)
            return tuple.__new__(cls, tokens + others)
        inputs = _input_buckets(
            input_tokens,
            cache_read=(cache_read_tokens, cache_read_audio_tokens, cache_read_image_tokens),
            cache_write=(cache_write_tokens, cache_write_1h_tokens),
            modalities=(input_audio_tokens, input_image_tokens, input_video_tokens),
        )
        modal = (output_audio_tokens, output_image_tokens, output_video_tokens)
        outputs = _shares(output_tokens, (output_reasoning_tokens, *modal))
        return tuple.__new__(cls, inputs + outputs + others)


_OTHERS = Usage._fields[14:]
_NO_OTHERS: tuple[int, ...] = (0,) * len(_OTHERS)
_PLACES = {name: place for place, name in enumerate(_OTHERS)}


def _other_buckets(counts: Mapping[str, int]) -> tuple[int, ...]:
    """Return the buckets that are not tokens; a name that is none of them is a TypeError."""
    made = [0] * len(_OTHERS)
    for name, count in counts.items():
        if name not in _PLACES:
            raise TypeError(f"{name!r} is no bucket of Usage; use one of {_OTHERS}")
        made[_PLACES[name]] = count if count > 0 else 0
    return tuple(made)


def _shares(whole: int, parts: tuple[int, ...]) -> tuple[int, ...]:
    """Return what is left of `whole` after `parts`, then each part, cut to what was left."""
    left = whole - sum(parts)
    if left >= 0 and min(parts) >= 0:  # almost always
        return (left,) + parts  # noqa: RUF005  # half the time of unpacking
    left, cut = max(whole, 0), []
    for part in parts:
        share = min(max(part, 0), left)
        cut.append(share)
        left -= share
    return left, *cut


def _input_buckets(
    total: int,
    *,
    cache_read: tuple[int, int, int],
    cache_write: tuple[int, int],
    modalities: tuple[int, int, int],
) -> tuple[int, ...]:
    """Return the nine input buckets of inclusive totals that overlap or do not fit."""
    read, read_audio, read_image = cache_read
    write, write_1h = cache_write
    audio, image, video = modalities
    # A modality's total holds its cached tokens, which stand in their own buckets.
    audio, image = audio - read_audio, image - read_image
    text, read_text = total - read - write - audio - image - video, read - read_audio - read_image
    plain = write - write_1h
    signs = text | audio | image | video | read_text | read_audio | read_image | plain | write_1h
    if signs >= 0:  # nothing to cut, as almost always
        return text, audio, image, video, read_text, read_audio, read_image, plain, write_1h
    uncached, read, write = _shares(total, (read, write))
    kept_read = _shares(read, cache_read[1:])
    audio, image = modalities[0] - kept_read[1], modalities[1] - kept_read[2]
    return (*_shares(uncached, (audio, image, video)), *kept_read, *_shares(write, (write_1h,)))
