"""What Google says, in the shapes of the Gemini API and of Vertex."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from support.llm_server import COMPLETION, sse

USAGE = {
    "promptTokenCount": 120,
    "cachedContentTokenCount": 20,
    "candidatesTokenCount": 50,
    "thoughtsTokenCount": 10,
    "totalTokenCount": 180,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 120}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
    "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 50}],
}


def _candidate(text: str, **more: Any) -> dict[str, Any]:
    return {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}


def answer(**more: Any) -> dict[str, Any]:
    return {
        "candidates": [_candidate(COMPLETION, finishReason="STOP")],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
        **more,
    }


def tool_call() -> dict[str, Any]:
    call = {"functionCall": {"name": "weather_in", "args": {"city": "Oslo"}}}
    return answer(
        candidates=[
            {"content": {"role": "model", "parts": [call]}, "finishReason": "STOP", "index": 0}
        ]
    )


def answer_events(*, pieces: int = 4, ended: bool = True) -> list[str]:
    """Return chunks that each tell the counts so far, as Gemini's do."""
    chunks: list[dict[str, Any]] = [
        answer(
            candidates=[_candidate("12345678")],
            usageMetadata={
                "promptTokenCount": 120,
                "cachedContentTokenCount": 20,
                "candidatesTokenCount": piece,
                "totalTokenCount": 120 + piece,
            },
        )
        for piece in range(1, pieces + 1)
    ]
    if ended:
        chunks.append(answer(candidates=[_candidate("", finishReason="STOP")]))
    return sse(*chunks)


ERROR = {"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}


def embeddings() -> dict[str, Any]:
    return {"embeddings": [{"values": [0.1, 0.2]}], "usageMetadata": {"promptTokenCount": 120}}


def vertex_embeddings() -> dict[str, Any]:
    statistics = {"token_count": 60, "truncated": False}
    one = {"embeddings": {"values": [0.1], "statistics": statistics}}
    return {"predictions": [one, one], "metadata": {"billableCharacterCount": 300}}


def images() -> dict[str, Any]:
    picture = {"mimeType": "image/png", "bytesBase64Encoded": "aGk="}
    return {"predictions": [picture, picture, {"raiFilteredReason": "held back"}]}


def video() -> dict[str, Any]:
    return {"name": "models/veo-3.0-generate-001/operations/o1", "done": False}


INTERACTION_USAGE = {
    "total_input_tokens": 120,
    "total_cached_tokens": 20,
    "total_output_tokens": 50,
    "total_thought_tokens": 10,
    "total_tool_use_tokens": 0,
    "total_tokens": 180,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 120}],
}


def interaction(**more: Any) -> dict[str, Any]:
    return {
        "id": "i1",
        "object": "interaction",
        "model": "gemini-2.5-flash",
        "status": "completed",
        "steps": [
            {"type": "model_output", "content": [{"type": "text", "text": COMPLETION}]},
        ],
        "usage": INTERACTION_USAGE,
        **more,
    }


def interaction_events(*, pieces: int = 4) -> list[str]:
    bare = interaction(status="in_progress", steps=[])
    del bare["usage"]
    documents: list[dict[str, Any]] = [
        {"event_type": "interaction.created", "interaction": bare},
        {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
        *(
            {
                "event_type": "step.delta",
                "index": 0,
                "delta": {"type": "text", "text": "12345678"},
            }
            for _ in range(pieces)
        ),
        {"event_type": "step.stop", "index": 0},
        {"event_type": "interaction.completed", "interaction": interaction()},
    ]
    return [*sse(*documents), "data: [DONE]\n\n"]


@asynccontextmanager
async def live_server(turns: list[dict[str, Any]]) -> AsyncIterator[str]:
    """Serve live sessions: each message of the client is answered by a turn with that usage."""

    async def session(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"setupComplete": {}}))
        for usage in turns:
            await socket.recv()
            part = {"inlineData": {"mimeType": "audio/pcm", "data": "aGk="}}
            await socket.send(json.dumps({"serverContent": {"modelTurn": {"parts": [part]}}}))
            await socket.send(
                json.dumps({"serverContent": {"turnComplete": True}, "usageMetadata": usage})
            )
        await socket.wait_closed()

    async with serve(session, "127.0.0.1", 0) as running:
        yield f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"
