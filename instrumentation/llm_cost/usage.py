"""How much one call used, as counts in exclusive buckets. Pure.

Exclusive: every billed unit stands in exactly one field, so that a price is a sum of
products and nothing is counted twice. Providers report overlapping totals; each file in
`providers/` states its provider's rule and subtracts.
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
