"""What Bedrock says: Converse, and the bodies of its vendors in InvokeModel."""

from typing import Any

from support.aws_event_stream import CONTENT_TYPE, chunk, event, exception
from support.llm_server import COMPLETION, MESSAGE_USAGE, Answer, chat, message

USAGE = {
    "inputTokens": 100,
    "outputTokens": 50,
    "totalTokens": 200,
    "cacheReadInputTokens": 20,
    "cacheWriteInputTokens": 30,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 20}, {"ttl": "5m", "inputTokens": 10}],
}
BUCKETS = {
    "input_text_tokens": 100,
    "cache_read_text_tokens": 20,
    "cache_write_tokens": 10,
    "cache_write_1h_tokens": 20,
    "output_text_tokens": 50,
}
METRICS = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 100,
        "outputTokenCount": 50,
        "invocationLatency": 900,
        "firstByteLatency": 200,
    }
}
PLAIN_BUCKETS = {"input_text_tokens": 100, "output_text_tokens": 50}
COUNT_HEADERS = {
    "x-amzn-bedrock-input-token-count": "100",
    "x-amzn-bedrock-output-token-count": "50",
}


def converse(**more: Any) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": COMPLETION}]}},
        "stopReason": "end_turn",
        "usage": USAGE,
        "metrics": {"latencyMs": 900},
        **more,
    }


def streamed(*events: bytes, **more: Any) -> Answer:
    return Answer(events=list(events), content_type=CONTENT_TYPE, **more)


def _text_events(pieces: int) -> list[bytes]:
    delta = {"contentBlockIndex": 0, "delta": {"text": "12345678"}}
    return [event("contentBlockDelta", delta) for _ in range(pieces)]


def converse_events(*, pieces: int = 4, **metadata: Any) -> list[bytes]:
    return [
        event("messageStart", {"role": "assistant"}),
        *_text_events(pieces),
        event("contentBlockStop", {"contentBlockIndex": 0}),
        event("messageStop", {"stopReason": "end_turn"}),
        event("metadata", {"usage": USAGE, "metrics": {"latencyMs": 900}, **metadata}),
    ]


def broken_events() -> list[bytes]:
    return [*converse_events()[:2], exception("throttlingException", "slow down")]


# --- InvokeModel: (model, request body, reply body, headers, buckets) --------------------

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_BUCKETS = {
    **BUCKETS,
    "output_text_tokens": 40,
    "output_reasoning_tokens": 10,
}
NOVA_USAGE = {
    "inputTokens": 100,
    "outputTokens": 50,
    "totalTokens": 150,
    "cacheReadInputTokenCount": 20,
    "cacheWriteInputTokenCount": 0,
}
NOVA_BUCKETS = {"input_text_tokens": 100, "cache_read_text_tokens": 20, "output_text_tokens": 50}

Vector = tuple[str, dict[str, Any], dict[str, Any], dict[str, str], dict[str, int]]

BODIES: list[Vector] = [
    (
        CLAUDE,
        {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": []},
        message(),
        COUNT_HEADERS,  # the body says more
        CLAUDE_BUCKETS,
    ),
    (
        "amazon.nova-lite-v1:0",
        {"messages": [], "inferenceConfig": {"maxTokens": 100}},
        {**converse(), "usage": NOVA_USAGE},
        {},
        NOVA_BUCKETS,
    ),
    (
        "amazon.titan-text-express-v1",
        {"inputText": "x", "textGenerationConfig": {"maxTokenCount": 100}},
        {
            "inputTextTokenCount": 100,
            "results": [{"tokenCount": 50, "outputText": COMPLETION, "completionReason": "FINISH"}],
        },
        {},
        PLAIN_BUCKETS,
    ),
    (
        "amazon.titan-embed-text-v2:0",
        {"inputText": "x"},
        {"embedding": [0.1], "inputTextTokenCount": 7},
        {},
        {"input_text_tokens": 7},
    ),
    (
        "meta.llama3-1-70b-instruct-v1:0",
        {"prompt": "x", "max_gen_len": 100},
        {
            "generation": COMPLETION,
            "prompt_token_count": 100,
            "generation_token_count": 50,
            "stop_reason": "stop",
        },
        {},
        PLAIN_BUCKETS,
    ),
    (
        "mistral.mistral-7b-instruct-v0:2",
        {"prompt": "x", "max_tokens": 100},
        {"outputs": [{"text": COMPLETION, "stop_reason": "stop"}]},
        COUNT_HEADERS,
        PLAIN_BUCKETS,
    ),
    (
        "cohere.command-r-plus-v1:0",
        {"message": "x", "max_tokens": 100},
        {"response_id": "r", "text": COMPLETION, "finish_reason": "COMPLETE"},
        COUNT_HEADERS,
        PLAIN_BUCKETS,
    ),
    (
        "openai.gpt-oss-120b-1:0",
        {"messages": [], "max_completion_tokens": 100},
        chat(),
        {},
        {
            "input_text_tokens": 100,
            "cache_read_text_tokens": 20,
            "output_text_tokens": 40,
            "output_reasoning_tokens": 10,
        },
    ),
    (
        "cohere.embed-english-v3",
        {"texts": ["x"], "input_type": "search_query"},
        {"id": "e", "embeddings": [[0.1]]},
        {"x-amzn-bedrock-input-token-count": "7"},
        {"input_text_tokens": 7},
    ),
    (
        "cohere.rerank-v3-5:0",
        {"query": "x", "documents": ["d"] * 101, "api_version": 2},
        {"results": [{"index": 0, "relevance_score": 0.9}]},
        {},
        {"rerank_searches": 2},
    ),
    (
        "amazon.nova-canvas-v1:0",
        {"taskType": "TEXT_IMAGE", "imageGenerationConfig": {"numberOfImages": 2}},
        {"images": ["AA", "BB"]},
        {},
        {"images": 2},
    ),
]


def _claude_chunks() -> list[dict[str, Any]]:
    first = {**MESSAGE_USAGE, "output_tokens": 1}
    del first["output_tokens_details"]
    delta = {"type": "text_delta", "text": "12345678"}
    return [
        {"type": "message_start", "message": message(content=[], usage=first)},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 10}},
        },
        {"type": "message_stop", **METRICS},
    ]


STREAMS: list[tuple[str, list[dict[str, Any]], dict[str, int]]] = [
    (CLAUDE, _claude_chunks(), CLAUDE_BUCKETS),
    (
        "amazon.nova-lite-v1:0",
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "12345678"}, "contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": NOVA_USAGE}, **METRICS},
        ],
        NOVA_BUCKETS,
    ),
    (
        "amazon.titan-text-express-v1",
        [
            {"outputText": "12345678", "index": 0, "inputTextTokenCount": 100},
            {"outputText": "", "index": 0, "completionReason": "FINISH", **METRICS},
        ],
        PLAIN_BUCKETS,
    ),
    (
        "meta.llama3-1-70b-instruct-v1:0",
        [
            {"generation": "12345678", "prompt_token_count": 100, "generation_token_count": 1},
            {"generation": "", "generation_token_count": 2, "stop_reason": "stop", **METRICS},
        ],
        PLAIN_BUCKETS,
    ),
    (
        "mistral.mistral-7b-instruct-v0:2",
        [
            {"outputs": [{"text": "12345678", "stop_reason": None}]},
            {"outputs": [{"text": "", "stop_reason": "stop"}], **METRICS},
        ],
        PLAIN_BUCKETS,
    ),
    (
        "mistral.mistral-large-2407-v1:0",
        [
            {"choices": [{"index": 0, "message": {"content": "12345678"}, "stop_reason": None}]},
            {"choices": [{"index": 0, "message": {}, "stop_reason": "stop"}], **METRICS},
        ],
        PLAIN_BUCKETS,
    ),
    (
        "cohere.command-r-plus-v1:0",
        [
            {"event_type": "text-generation", "text": "12345678"},
            {"event_type": "stream-end", "finish_reason": "COMPLETE", **METRICS},
        ],
        PLAIN_BUCKETS,
    ),
    (
        "openai.gpt-oss-120b-1:0",
        [
            {"id": "c", "choices": [{"index": 0, "delta": {"content": "12345678"}}]},
            {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"id": "c", "choices": [], **METRICS},
        ],
        PLAIN_BUCKETS,
    ),
]


def invoke_events(chunks: list[dict[str, Any]]) -> list[bytes]:
    return [chunk(one) for one in chunks]
