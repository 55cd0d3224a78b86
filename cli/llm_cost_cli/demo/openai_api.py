"""Answers in the shapes of OpenAI's API: chat completions, responses, embeddings."""

import base64
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from llm_cost_cli.demo.answer import Answer, Event

_DEFAULT_DIMENSIONS: Final = 1_536


def chat_completion(answer: Answer) -> dict[str, Any]:
    """Return a `chat.completion` object."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": [],
    }
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(answer),
    }
    return _chat_head(answer, "chat.completion") | {
        "choices": [choice],
        "usage": _chat_usage(answer),
    }


def chat_events(answer: Answer) -> Iterator[Event]:
    """Yield the chunks of a streamed completion; usage only if the request asked for it."""
    asked = (answer.request.get("stream_options") or {}).get("include_usage") is True
    head = _chat_head(answer, "chat.completion.chunk") | ({"usage": None} if asked else {})
    opening = {"role": "assistant", "content": "", "refusal": None}
    yield Event(head | {"choices": [_delta(opening)]})
    for piece in answer.pieces():
        yield Event(head | {"choices": [_delta({"content": piece})]})
    yield Event(head | {"choices": [_delta({}, _finish_reason(answer))]})
    if asked:
        yield Event(head | {"choices": [], "usage": _chat_usage(answer)})
    yield Event("[DONE]")


def response(answer: Answer, *, status: str = "") -> dict[str, Any]:
    """Return a `response` object; with status "in_progress" it has no output and no usage."""
    final = "incomplete" if answer.is_cut_by_limit else "completed"
    ended = status != "in_progress"
    return {
        "id": f"resp_{answer.number}",
        "object": "response",
        "created_at": answer.created_unix_s,
        "status": status or final,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"}
        if ended and answer.is_cut_by_limit
        else None,
        "instructions": answer.request.get("instructions"),
        "max_output_tokens": answer.request.get("max_output_tokens"),
        "metadata": {},
        "model": answer.rate.snapshot,
        "output": [_output_message(answer)] if ended else [],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _response_usage(answer) if ended else None,
    }


def response_events(answer: Answer) -> Iterator[Event]:
    """Yield the events of a streamed response, numbered in order."""
    for number, (name, facts) in enumerate(_response_facts(answer)):
        yield Event({"type": name, "sequence_number": number} | facts, name)


def _response_facts(answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    item: dict[str, Any] = {"output_index": 0, "item_id": f"msg_{answer.number}"}
    part = item | {"content_index": 0}
    begun = _output_message(answer) | {"status": "in_progress", "content": []}
    yield "response.created", {"response": response(answer, status="in_progress")}
    yield "response.in_progress", {"response": response(answer, status="in_progress")}
    yield "response.output_item.added", {"output_index": 0, "item": begun}
    yield "response.content_part.added", part | {"part": _output_text("")}
    for piece in answer.pieces():
        yield "response.output_text.delta", part | {"delta": piece, "logprobs": []}
    yield "response.output_text.done", part | {"text": answer.text, "logprobs": []}
    yield "response.content_part.done", part | {"part": _output_text(answer.text)}
    yield "response.output_item.done", {"output_index": 0, "item": _output_message(answer)}
    ending = response(answer)
    yield f"response.{ending['status']}", {"response": ending}


def embeddings(answer: Answer) -> dict[str, Any]:
    """Return one vector for each input, in the encoding that was asked for."""
    inputs = answer.request.get("input")
    count = len(inputs) if isinstance(inputs, list) else 1
    dimensions = int(answer.request.get("dimensions") or _DEFAULT_DIMENSIONS)
    vector: Any = _vector(dimensions)
    if answer.request.get("encoding_format") != "base64":
        vector = list(struct.unpack(f"<{dimensions}f", base64.b64decode(vector)))
    data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(count)]
    used = {"prompt_tokens": answer.tokens.prompt, "total_tokens": answer.tokens.prompt}
    return {"object": "list", "data": data, "model": answer.rate.snapshot, "usage": used}


@lru_cache(maxsize=8)
def _vector(dimensions: int) -> str:
    return base64.b64encode(struct.pack(f"<{dimensions}f", *[0.0] * dimensions)).decode()


def _chat_head(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{answer.number}",
        "object": kind,
        "created": answer.created_unix_s,
        "model": answer.rate.snapshot,
        "service_tier": "default",
        "system_fingerprint": "fp_3e7d1c2a5b",
    }


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _finish_reason(answer: Answer) -> str:
    return "length" if answer.is_cut_by_limit else "stop"


def _chat_usage(answer: Answer) -> dict[str, Any]:
    used = answer.tokens
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.output,
        "total_tokens": used.prompt + used.output,
        "prompt_tokens_details": {"cached_tokens": used.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _response_usage(answer: Answer) -> dict[str, Any]:
    used = answer.tokens
    return {
        "input_tokens": used.prompt,
        "input_tokens_details": {"cached_tokens": used.cache_read, "cache_write_tokens": 0},
        "output_tokens": used.output,
        "output_tokens_details": {"reasoning_tokens": used.reasoning},
        "total_tokens": used.prompt + used.output,
    }


def _output_message(answer: Answer) -> dict[str, Any]:
    return {
        "type": "message",
        "id": f"msg_{answer.number}",
        "status": "incomplete" if answer.is_cut_by_limit else "completed",
        "role": "assistant",
        "content": [_output_text(answer.text)],
    }


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
