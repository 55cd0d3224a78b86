"""What each instrumentation calls things, as one table per file.

A new instrumentation is one file with one `Dialect`, one line in `DIALECTS`, and span vectors
in the tests. Nothing here reads a span or knows a price.
"""

from typing import Final

from llm_cost_processor.dialects.dialect import Attributes, AttributeValue, Dialect
from llm_cost_processor.dialects.genai import GENAI, GENAI_OLDER
from llm_cost_processor.dialects.openinference import OPENINFERENCE
from llm_cost_processor.dialects.openllmetry import OPENLLMETRY
from llm_cost_processor.dialects.plan import (
    BUCKET_NAMES,
    COUNTS,
    Encoded,
    Plan,
    Planner,
    SubjectNames,
)

__all__ = [
    "BUCKET_NAMES",
    "COUNTS",
    "DIALECTS",
    "LLM_SPAN_MARKS",
    "AttributeValue",
    "Attributes",
    "Dialect",
    "Encoded",
    "Plan",
    "Planner",
    "SubjectNames",
]

DIALECTS: Final = (OPENINFERENCE, OPENLLMETRY, GENAI, GENAI_OLDER)
"""The first whose mark a span carries is spoken: the most particular come first, because
OpenLLMetry and OpenInference put `gen_ai.*` beside their own names."""

LLM_SPAN_MARKS: Final = (b"gen_ai.", b"llm.")
"""Bytes of which every LLM span of every dialect holds at least one: a span without them is
passed on unread. Held by a test against `DIALECTS`."""
