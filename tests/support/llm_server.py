"""A provider on loopback that says exactly what a test tells it to, faults included."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """One reply. `events` makes it a stream; `cut` drops the connection after its last event."""

    status: int = 200
    body: Any = None
    events: list[str] | list[bytes] | None = None
    delay_s: float = 0
    pause_s: float = 0  # between two events
    cut: bool = False
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    path: str
    body: Any
    headers: dict[str, str]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # a test turned away in the middle


class LlmServer:
    """Gives its answers in order, the last one again and again; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                server._answer(self)

            def do_GET(self) -> None:
                server._answer(self)

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def will(self, *answers: Answer) -> None:
        self.answers = list(answers)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        is_json = "json" in handler.headers.get("content-type", "")
        with self._lock:
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.seen.append(Seen(handler.path, json.loads(raw) if is_json else raw, headers))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        time.sleep(answer.delay_s)
        try:
            if answer.events is None:
                self._send_document(handler, answer)
            else:
                self._send_events(handler, answer)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the test turned away

    @staticmethod
    def _send_document(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        handler.send_header("content-type", answer.content_type)
        handler.send_header("content-length", str(len(raw)))
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw)

    @staticmethod
    def _send_events(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        handler.send_response(answer.status)
        is_named = answer.content_type != Answer.content_type
        handler.send_header(
            "content-type", answer.content_type if is_named else "text/event-stream"
        )
        handler.send_header("transfer-encoding", "chunked")
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        for event in answer.events or ():
            raw = event if isinstance(event, bytes) else event.encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
            handler.wfile.flush()
            time.sleep(answer.pause_s)
        if answer.cut:
            handler.close_connection = True
            return
        handler.wfile.write(b"0\r\n\r\n")


@contextmanager
def llm_server() -> Iterator[LlmServer]:
    server = LlmServer()
    try:
        yield server
    finally:
        server.stop()


# --- what OpenAI and Anthropic say -------------------------------------------------------

PROMPT = "The secret prompt nobody may record"
COMPLETION = "The secret completion nobody may record"


def sse(*documents: dict[str, Any], named: bool = False) -> list[str]:
    """Return server-sent events; `named` gives each its type as the event's name."""
    return [
        (f"event: {document['type']}\n" if named else "") + f"data: {json.dumps(document)}\n\n"
        for document in documents
    ]


CHAT_USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 50,
    "total_tokens": 170,
    "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 0},
}


def chat(**more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": COMPLETION},
            }
        ],
        "usage": CHAT_USAGE,
        **more,
    }


def _chat_chunk(**more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [],
        **more,
    }


def chat_events(*, pieces: int = 4, with_usage: bool = True, done: bool = True) -> list[str]:
    chunks = [
        _chat_chunk(choices=[{"index": 0, "delta": {"content": "12345678"}}]) for _ in range(pieces)
    ]
    chunks.append(_chat_chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if with_usage:
        chunks.append(_chat_chunk(usage=CHAT_USAGE))
    return sse(*chunks) + (["data: [DONE]\n\n"] if done else [])


RESPONSE_USAGE = {
    "input_tokens": 120,
    "output_tokens": 50,
    "total_tokens": 170,
    "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 10},
}


def response(**more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": "gpt-4o-mini-2024-07-18",
        "status": "completed",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": COMPLETION, "annotations": []}],
            }
        ],
        "usage": RESPONSE_USAGE,
        **more,
    }


def response_events(*, pieces: int = 4) -> list[str]:
    bare = response(status="in_progress", output=[], usage=None)
    item = {**response()["output"][0], "content": [], "status": "in_progress"}
    part = {"type": "output_text", "text": "", "annotations": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    documents: list[dict[str, Any]] = [
        {"type": "response.created", "response": bare},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", "part": part, **where},
        *(
            {"type": "response.output_text.delta", "delta": "12345678", **where}
            for _ in range(pieces)
        ),
        {"type": "response.completed", "response": response()},
    ]
    return sse(*({**d, "sequence_number": n} for n, d in enumerate(documents)), named=True)


def embeddings() -> dict[str, Any]:
    return {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 120, "total_tokens": 120},
    }


MESSAGE_USAGE = {
    "input_tokens": 100,
    "output_tokens": 50,
    "cache_read_input_tokens": 20,
    "cache_creation_input_tokens": 30,
    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
    "output_tokens_details": {"thinking_tokens": 10},
    "service_tier": "standard",
}


def message(**more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": COMPLETION}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": MESSAGE_USAGE,
        **more,
    }


def message_events(*, pieces: int = 4) -> list[str]:
    first = {**MESSAGE_USAGE, "output_tokens": 1}
    del first["output_tokens_details"]
    return sse(
        {
            "type": "message_start",
            "message": message(content=[], stop_reason=None, usage=first),
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": "12345678"},
            }
            for _ in range(pieces)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            # Cumulative: the counts of message_start are inside, not beside.
            "usage": {"output_tokens": 50, "output_tokens_details": {"thinking_tokens": 10}},
        },
        {"type": "message_stop"},
        named=True,
    )
