"""What Mistral says, in the shapes of its API."""

import json
from typing import Any

from support.llm_server import COMPLETION, sse

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 50,
    "total_tokens": 170,
    "prompt_tokens_details": {"cached_tokens": 20},
    "service_tier": "standard",
}


def chat(**more: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "mistral-small-latest",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": COMPLETION, "tool_calls": None},
            }
        ],
        "usage": USAGE,
        **more,
    }


def _chunk(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {
        "id": "cmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "mistral-small-latest",
        "choices": [{**choice, **more.pop("choice", {})}],
        **more,
    }


def chat_events(*, pieces: int = 4) -> list[str]:
    chunks = [_chunk("12345678") for _ in range(pieces)]
    chunks.append(_chunk("", choice={"finish_reason": "stop"}, usage=USAGE))
    return [*sse(*chunks), "data: [DONE]\n\n"]


def embeddings() -> dict[str, Any]:
    return {
        "id": "e1",
        "object": "list",
        "model": "mistral-embed",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 120, "completion_tokens": 0, "total_tokens": 120},
    }


CONVERSATION_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 50,
    "total_tokens": 470,
    "connector_tokens": 300,
    "connectors": {"web_search": 2},
}


def conversation() -> dict[str, Any]:
    return {
        "object": "conversation.response",
        "conversation_id": "c1",
        "outputs": [
            {
                "object": "entry",
                "type": "message.output",
                "id": "m1",
                "role": "assistant",
                "model": "mistral-medium-latest",
                "content": COMPLETION,
            }
        ],
        "usage": CONVERSATION_USAGE,
    }


def conversation_events(*, pieces: int = 4) -> list[str]:
    at = "2026-11-24T00:00:00Z"
    documents: list[dict[str, Any]] = [
        {"type": "conversation.response.started", "created_at": at, "conversation_id": "c1"},
        *(
            {
                "type": "message.output.delta",
                "created_at": at,
                "output_index": 0,
                "id": "m1",
                "content_index": 0,
                "model": "mistral-medium-latest",
                "role": "assistant",
                "content": "12345678",
            }
            for _ in range(pieces)
        ),
        {"type": "conversation.response.done", "created_at": at, "usage": CONVERSATION_USAGE},
    ]
    return sse(*documents, named=True)


def pages() -> dict[str, Any]:
    return {
        "model": "mistral-ocr-latest",
        "pages": [],
        "usage_info": {"pages_processed": 10, "doc_size_bytes": 1000},
    }


def transcript() -> dict[str, Any]:
    return {
        "model": "voxtral-mini-latest",
        "text": COMPLETION,
        "language": "en",
        "segments": [],
        "usage": {
            "prompt_audio_seconds": 60,
            "prompt_tokens": 4,
            "completion_tokens": 635,
            "total_tokens": 1389,
        },
    }


def transcript_events() -> list[str]:
    done = {"type": "transcription.done", **transcript()}
    return sse({"type": "transcription.text.delta", "text": "12345678"}, done, named=True)


def json_chat(answer: Any) -> dict[str, Any]:
    """Return a chat whose content is a JSON document."""
    body = chat()
    body["choices"][0]["message"]["content"] = json.dumps(answer)
    return body
