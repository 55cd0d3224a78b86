"""OpenLLMetry (Traceloop): older GenAI names beside `llm.*` ones of its own.

Its input counts include cached tokens; its Anthropic instrumentation adds them up itself.
"""

from dataclasses import replace
from typing import Final

from llm_cost_processor.dialects.genai import GENAI

OPENLLMETRY: Final = replace(
    GENAI,
    name="openllmetry",
    marks=("llm.request.type", "llm.request.model", "traceloop.span.kind"),
    provider=(*GENAI.provider, "llm.vendor"),
    # Workflows, tasks, agents and tools say what they are and have no request type.
    operation=("llm.request.type", "traceloop.span.kind", *GENAI.operation),
    model=(*GENAI.model, "llm.response.model", "llm.request.model"),
    input_tokens=(*GENAI.input_tokens, "llm.usage.prompt_tokens"),
    output_tokens=(*GENAI.output_tokens, "llm.usage.completion_tokens"),
    cache_read_tokens=(*GENAI.cache_read_tokens, "llm.usage.cache_read_input_tokens"),
    cache_write_tokens=(*GENAI.cache_write_tokens, "llm.usage.cache_creation_input_tokens"),
    reasoning_tokens=(*GENAI.reasoning_tokens, "llm.usage.reasoning_tokens"),
    operation_unsaid="chat",
)
