"""OpenInference (Arize): `llm.*` names of its own, and a kind on every span.

`llm.token_count.prompt` is the whole prompt, cached tokens included.
"""

from typing import Final

from llm_cost import attributes as names
from llm_cost_processor.dialects.dialect import Dialect

OPENINFERENCE: Final = Dialect(
    name="openinference",
    marks=("openinference.span.kind", "llm.model_name"),
    # The provider that is billed may differ from the maker of the model ("system").
    provider=("llm.provider", "llm.system", names.PROVIDER_NAME),
    operation=("openinference.span.kind",),
    model=("llm.model_name", "embedding.model_name", names.RESPONSE_MODEL, names.REQUEST_MODEL),
    input_tokens=("llm.token_count.prompt", names.USAGE_INPUT_TOKENS),
    output_tokens=("llm.token_count.completion", names.USAGE_OUTPUT_TOKENS),
    cache_read_tokens=(
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
    ),
    cache_write_tokens=("llm.token_count.prompt_details.cache_write",),
    reasoning_tokens=("llm.token_count.completion_details.reasoning",),
    input_audio_tokens=("llm.token_count.prompt_details.audio",),
    output_audio_tokens=("llm.token_count.completion_details.audio",),
    operations={"LLM": "chat", "EMBEDDING": "embeddings"},
    operation_unsaid="chat",
)
