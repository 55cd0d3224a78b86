"""What Cohere says, in the shapes of its v1 and v2 APIs."""

import json
from typing import Any

from support.llm_server import COMPLETION, sse

BILLED = {"input_tokens": 100, "output_tokens": 40}
USAGE = {
    "billed_units": BILLED,
    "tokens": {"input_tokens": 587, "output_tokens": 41},  # with what Cohere puts around it
    "cached_tokens": 30,
}
META = {"api_version": {"version": "1"}, **USAGE}


def chat(**more: Any) -> dict[str, Any]:
    return {
        "id": "chat_1",
        "finish_reason": "COMPLETE",
        "message": {"role": "assistant", "content": [{"type": "text", "text": COMPLETION}]},
        "usage": USAGE,
        **more,
    }


def chat_events(*, pieces: int = 4, ended: bool = True) -> list[str]:
    end = {
        "type": "message-end",
        "id": "chat_1",
        "delta": {"finish_reason": "COMPLETE", "usage": USAGE},
    }
    text = {"message": {"content": {"text": "12345678"}}}
    return [
        *sse(
            {"type": "message-start", "id": "chat_1", "delta": {"message": {"role": "assistant"}}},
            {
                "type": "content-start",
                "index": 0,
                "delta": {"message": {"content": {"type": "text", "text": ""}}},
            },
            *({"type": "content-delta", "index": 0, "delta": text} for _ in range(pieces)),
            {"type": "content-end", "index": 0},
            *([end] if ended else []),
            named=True,
        ),
        *(["data: [DONE]\n\n"] if ended else []),
    ]


def chat_v1(**more: Any) -> dict[str, Any]:
    return {
        "response_id": "chat_1",
        "generation_id": "generation_1",
        "text": COMPLETION,
        "finish_reason": "COMPLETE",
        "meta": META,
        **more,
    }


def _lines(*documents: dict[str, Any]) -> list[str]:
    return [json.dumps(document) + "\n" for document in documents]


def chat_v1_events(*, pieces: int = 4) -> list[str]:
    return _lines(
        {"event_type": "stream-start", "generation_id": "generation_1", "is_finished": False},
        *({"event_type": "text-generation", "text": "12345678"} for _ in range(pieces)),
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": chat_v1()},
    )


def generation() -> dict[str, Any]:
    one = {"id": "1", "text": COMPLETION, "finish_reason": "COMPLETE"}
    return {"id": "generation_1", "generations": [one], "meta": META}


def generation_events(*, pieces: int = 4) -> list[str]:
    return _lines(
        *({"event_type": "text-generation", "text": "12345678"} for _ in range(pieces)),
        {
            "event_type": "stream-end",
            "finish_reason": "COMPLETE",
            "response": {"id": "generation_1", "generations": []},
        },
    )


def embeddings(texts: int, *, by_type: bool = False) -> dict[str, Any]:
    vectors: Any = [[0.1, 0.2]] * texts
    return {
        "id": "embed_1",
        "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        "embeddings": {"float": vectors} if by_type else vectors,
        "texts": ["text"] * texts,
        "meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": texts}},
    }


def ranking() -> dict[str, Any]:
    return {
        "id": "rerank_1",
        "results": [{"index": 0, "relevance_score": 0.9}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 2}},
    }


def classification() -> dict[str, Any]:
    one = {"id": "1", "predictions": [], "confidences": [], "labels": {}}
    return {
        "id": "classify_1",
        "classifications": [{**one, "classification_type": "single-label"}],
        "meta": {"api_version": {"version": "1"}, "billed_units": {"classifications": 1}},
    }


def summary() -> dict[str, Any]:
    return {"id": "summary_1", "summary": COMPLETION, "meta": META}


def parsed() -> dict[str, Any]:
    return {
        "id": "parse_1",
        "pages": [],
        "finish_reason": "COMPLETE",
        "meta": {"api_version": {"version": "2"}, "billed_units": {"pages": 3}},
    }
