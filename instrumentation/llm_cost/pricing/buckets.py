"""Which published price pays for which bucket of `Usage`: the rules, one line per bucket.

A bucket is charged at the first price key that its row has. If that key is the bucket's own
price, the cost stays EXACT. If it is a nearest relative (after the bar), the amount is the
best there is and the cost is PARTIAL. If the row has none, the bucket is charged nothing and
the cost is PARTIAL, or UNKNOWN when nothing else in the call could be priced.

Why some general price counts as a bucket's own:
- image and video input is sold at the input price unless a row prices it apart;
- reasoning is output, and sold as output unless a row prices it apart;
- a cache write whose lifetime is the provider's default is the plain cache write.
Why others do not:
- audio costs several times the text rate, generated images and video many times;
- a cache read without its own price is charged as plain input: an upper bound;
- a 1 h cache write costs more than the default one, which is then a lower bound.
"""

from typing import Final, NamedTuple

from llm_cost.pricing.cost import CACHE_READ, CACHE_WRITE, INPUT, OUTPUT, TOOLS
from llm_cost.usage import Usage

_PER_MILLION: Final = 1_000_000
_PER_THOUSAND: Final = 1_000
_MS_PER_HOUR: Final = 3_600_000


class Rule(NamedTuple):
    """How one bucket is charged."""

    component: int
    own: tuple[str, ...]
    relatives: tuple[str, ...] = ()
    per: int = _PER_MILLION
    """How many of the bucket's unit one published price buys."""


RULES: Final[dict[str, Rule]] = {
    "input_text_tokens": Rule(INPUT, ("input_mtok",)),
    "input_audio_tokens": Rule(INPUT, ("input_audio_mtok",), ("input_mtok",)),
    "input_image_tokens": Rule(INPUT, ("input_image_mtok", "input_mtok")),
    "input_video_tokens": Rule(INPUT, ("input_video_mtok", "input_mtok")),
    "cache_read_text_tokens": Rule(CACHE_READ, ("cache_read_mtok",), ("input_mtok",)),
    "cache_read_audio_tokens": Rule(
        CACHE_READ,
        ("cache_audio_read_mtok",),
        ("input_audio_mtok", "cache_read_mtok", "input_mtok"),
    ),
    "cache_read_image_tokens": Rule(
        CACHE_READ, ("cache_image_read_mtok", "cache_read_mtok"), ("input_image_mtok", "input_mtok")
    ),
    "cache_write_tokens": Rule(CACHE_WRITE, ("cache_write_mtok",), ("input_mtok",)),
    "cache_write_1h_tokens": Rule(
        CACHE_WRITE, ("cache_write_1h_mtok",), ("cache_write_mtok", "input_mtok")
    ),
    "output_text_tokens": Rule(OUTPUT, ("output_mtok",)),
    "output_reasoning_tokens": Rule(OUTPUT, ("output_reasoning_mtok", "output_mtok")),
    "output_audio_tokens": Rule(OUTPUT, ("output_audio_mtok",), ("output_mtok",)),
    "output_image_tokens": Rule(OUTPUT, ("output_image_mtok",), ("output_mtok",)),
    "output_video_tokens": Rule(OUTPUT, ("output_video_mtok",), ("output_mtok",)),
    "web_searches": Rule(TOOLS, ("web_searches_kcount",), per=_PER_THOUSAND),
    "file_searches": Rule(TOOLS, ("storage_searches_kcount",), per=_PER_THOUSAND),
    "rerank_searches": Rule(TOOLS, ("rerank_searches_kcount",), per=_PER_THOUSAND),
    # Images are sold by size and quality, which a count does not tell: never priced.
    "images": Rule(OUTPUT, ()),
    "pages": Rule(INPUT, ("input_document_kpages",), per=_PER_THOUSAND),
    "annotated_pages": Rule(
        INPUT,
        ("input_annotated_document_kpages",),
        ("input_document_kpages",),
        per=_PER_THOUSAND,
    ),
    "input_characters": Rule(INPUT, ("input_mchars",)),
    "input_audio_ms": Rule(INPUT, ("input_audio_hours", "audio_hours"), per=_MS_PER_HOUR),
    "output_audio_ms": Rule(OUTPUT, ("output_audio_hours", "audio_hours"), per=_MS_PER_HOUR),
    "output_video_ms": Rule(OUTPUT, ()),
}
"""In the order of `Usage`; a test holds the two together."""

REQUEST_FEE_KEY: Final = "requests_kcount"
REQUEST_FEE: Final = Rule(TOOLS, (REQUEST_FEE_KEY,), per=_PER_THOUSAND)
"""Charged once per call, whatever the call used."""

PRICE_KEYS: Final = frozenset(
    key for rule in (*RULES.values(), REQUEST_FEE) for key in (*rule.own, *rule.relatives)
)
"""Every price that some rule reads."""

COMPONENT_OF: Final = tuple(rule.component for rule in RULES.values())
INPUT_TOKEN_BUCKETS: Final = Usage._fields.index("output_text_tokens")
"""The first so many buckets are input tokens: what a long-context step counts."""

MINIMUM_BILLED_AUDIO_MS: Final = {
    ("groq", "whisper-large-v3"): 10_000,
    ("groq", "whisper-large-v3-turbo"): 10_000,
}
"""Groq bills a transcription for ten seconds at least; no price key can say so."""
