"""The OpenTelemetry GenAI conventions: the current ones, and the generations before them.

Input counts include cached tokens, and output counts include reasoning, by the conventions'
own words. Also spoken by this library, by clients that trace themselves (Anthropic's), and by
Logfire, OpenLIT and the Vercel AI SDK.
"""

from dataclasses import replace
from typing import Final

from llm_cost import attributes as names
from llm_cost_processor.dialects.dialect import OPERATIONS, Dialect

GENAI: Final = Dialect(
    name="genai",
    marks=(names.PROVIDER_NAME,),
    provider=(names.PROVIDER_NAME, "gen_ai.system"),
    operation=(names.OPERATION_NAME,),
    # The model that answered is the one that is billed.
    model=(names.RESPONSE_MODEL, names.REQUEST_MODEL),
    input_tokens=(names.USAGE_INPUT_TOKENS, "gen_ai.usage.prompt_tokens"),
    output_tokens=(names.USAGE_OUTPUT_TOKENS, "gen_ai.usage.completion_tokens"),
    cache_read_tokens=(
        names.USAGE_CACHE_READ_TOKENS,
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
    ),
    cache_write_tokens=(
        names.USAGE_CACHE_WRITE_TOKENS,
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
    ),
    cache_write_1h_tokens=(
        names.USAGE_BUCKET_PREFIX + "cache_write_1h_tokens",
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    ),
    reasoning_tokens=(
        names.USAGE_REASONING_TOKENS,
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning",
    ),
    input_audio_tokens=(names.USAGE_BUCKET_PREFIX + "input_audio_tokens",),
    output_audio_tokens=(names.USAGE_BUCKET_PREFIX + "output_audio_tokens",),
    service_tier=(
        names.OPENAI_RESPONSE_SERVICE_TIER,
        names.ANTHROPIC_RESPONSE_SERVICE_TIER,
        "gen_ai.openai.response.service_tier",
    ),
    operations={
        **OPERATIONS,
        "completion": "text_completion",
        "embedding": "embeddings",
        "image": "image_generation",
    },
)

GENAI_OLDER: Final = replace(
    GENAI,
    name="genai_older",
    # Written before `gen_ai.provider.name`, and often without an operation.
    marks=(
        "gen_ai.system",
        names.OPERATION_NAME,
        names.REQUEST_MODEL,
        names.RESPONSE_MODEL,
    ),
    operation_unsaid="chat",
)
