"""Answers in the shapes of Anthropic's Messages API."""

from collections.abc import Iterator
from typing import Any

from llm_cost_cli.demo.answer import Answer, Event


def message(answer: Answer) -> dict[str, Any]:
    """Return a `message` object."""
    return _head(answer) | {
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": _stop_reason(answer),
        "usage": _usage(answer, output_tokens=answer.tokens.output),
    }


def message_events(answer: Answer) -> Iterator[Event]:
    """Yield the events of a streamed message; output counts are cumulative."""
    begun = _head(answer) | {
        "content": [],
        "stop_reason": None,
        "usage": _usage(answer, output_tokens=1),
    }
    ended = _usage(answer, output_tokens=answer.tokens.output)
    ended.pop("cache_creation")  # told at the start only, as is the service tier
    ended.pop("service_tier")
    yield _event("message_start", message=begun)
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield _event("ping")
    for piece in answer.pieces():
        yield _event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield _event("content_block_stop", index=0)
    yield _event(
        "message_delta",
        delta={"stop_reason": _stop_reason(answer), "stop_sequence": None},
        usage=ended,
    )
    yield _event("message_stop")


def _event(name: str, **facts: Any) -> Event:
    return Event({"type": name} | facts, name)


def _head(answer: Answer) -> dict[str, Any]:
    return {
        "id": f"msg_{answer.number}",
        "type": "message",
        "role": "assistant",
        "model": answer.rate.snapshot,
        "stop_sequence": None,
    }


def _stop_reason(answer: Answer) -> str:
    return "max_tokens" if answer.is_cut_by_limit else "end_turn"


def _usage(answer: Answer, *, output_tokens: int) -> dict[str, Any]:
    used = answer.tokens
    return {
        "input_tokens": used.input,  # cached tokens are not among them
        "cache_creation_input_tokens": used.cache_write_5m + used.cache_write_1h,
        "cache_read_input_tokens": used.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": used.cache_write_5m,
            "ephemeral_1h_input_tokens": used.cache_write_1h,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
