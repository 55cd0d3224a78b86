"""The shape of a dialect: which attribute says what, first found first taken."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Names = tuple[str, ...]

AttributeValue = str | int | float | bool
Attributes = Mapping[str, AttributeValue]

OPERATIONS: Mapping[str, str] = {
    name: name
    for name in (
        "chat",
        "text_completion",
        "embeddings",
        "generate_content",
        "responses",
        "rerank",
        "image_generation",
        "speech",
        "transcription",
    )
}
"""The operations that are one attempt at a model. Agents, workflows, tools and retrievals are
not: they repeat the usage of the attempts inside them."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One instrumentation's names. Each tuple is tried in order.

    marks: a span that carries any of them speaks this dialect.
    operations: its word for what was done → ours; a word that is missing is no LLM attempt.
    operation_unsaid: what a span with usage and no such word did; None: no attempt.
    input_includes_cache: whether its input count holds the cached tokens too.
    """

    name: str
    marks: Names
    provider: Names
    operation: Names
    model: Names
    input_tokens: Names
    output_tokens: Names
    cache_read_tokens: Names = ()
    cache_write_tokens: Names = ()
    cache_write_1h_tokens: Names = ()
    reasoning_tokens: Names = ()
    input_audio_tokens: Names = ()
    output_audio_tokens: Names = ()
    service_tier: Names = ()
    operations: Mapping[str, str] = field(default_factory=lambda: OPERATIONS)
    operation_unsaid: str | None = None
    input_includes_cache: bool = True

    def names(self) -> frozenset[str]:
        """Every attribute that this dialect reads."""
        return frozenset(
            self.marks
            + self.provider
            + self.operation
            + self.model
            + self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
            + self.reasoning_tokens
            + self.input_audio_tokens
            + self.output_audio_tokens
            + self.service_tier
        )
