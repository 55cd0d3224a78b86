"""What OpenAI's endpoints beside chat, responses and embeddings answer."""

from typing import Any

from support import llm_server as says
from support.llm_server import Answer, sse

TEXT_COMPLETION: dict[str, Any] = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "gpt-3.5-turbo-instruct:20230824-v2",
    "choices": [{"index": 0, "finish_reason": "stop", "text": says.COMPLETION, "logprobs": None}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
}


def text_completion_events() -> list[str]:
    bare = {**TEXT_COMPLETION, "usage": None}
    usage = {**TEXT_COMPLETION, "choices": []}
    return [*sse(bare, usage), "data: [DONE]\n\n"]


IMAGE_USAGE = {
    "input_tokens": 50,
    "output_tokens": 1_000,
    "total_tokens": 1_050,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}
IMAGES: dict[str, Any] = {"created": 1, "data": [{"b64_json": "eA=="}], "usage": IMAGE_USAGE}
IMAGES_WITHOUT_USAGE: dict[str, Any] = {"created": 1, "data": [{"url": "u"}, {"url": "v"}]}


def image_events(kind: str) -> list[str]:
    image = {
        "b64_json": "eA==",
        "created_at": 1,
        "size": "1024x1024",
        "quality": "low",
        "background": "opaque",
        "output_format": "png",
    }
    return sse(
        {"type": f"{kind}.partial_image", "partial_image_index": 0, **image},
        {"type": f"{kind}.completed", "usage": IMAGE_USAGE, **image},
        named=True,
    )


TOKENS_HEARD = {
    "type": "tokens",
    "input_tokens": 110,
    "output_tokens": 20,
    "total_tokens": 130,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 100},
}
TRANSCRIPT_EVENTS = sse(
    {"type": "transcript.text.delta", "delta": says.COMPLETION},
    {"type": "transcript.text.done", "text": says.COMPLETION, "usage": TOKENS_HEARD},
    named=True,
)
SPEECH_EVENTS = Answer(
    body="".join(
        sse(
            {"type": "speech.audio.delta", "audio": "eA=="},
            {
                "type": "speech.audio.done",
                "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115},
            },
        )
    ).encode(),
    content_type="text/event-stream",
)
VIDEO: dict[str, Any] = {
    "id": "video_1",
    "object": "video",
    "model": "sora-2",
    "status": "queued",
    "progress": 0,
    "seconds": "8",
    "size": "1280x720",
    "created_at": 1,
}
BATCH: dict[str, Any] = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
    "input_file_id": "file_1",
    "created_at": 1_790_000_000,
    "status": "completed",
    "model": "gpt-4o-mini-2024-07-18",
    "usage": {
        "input_tokens": 1_000,
        "output_tokens": 500,
        "total_tokens": 1_500,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}
COMPACTED: dict[str, Any] = {
    "id": "resp_c",
    "object": "response.compaction",
    "created_at": 1,
    "output": [],
    "usage": says.RESPONSE_USAGE,
}
