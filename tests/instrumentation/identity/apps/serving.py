"""Serves an application on a free port and says which, as one JSON line."""

import json
import socket
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import openai

QUESTION = [{"role": "user", "content": "How do I get there?"}]


def ask_model() -> str:
    """One call, as any application makes it."""
    completion = openai.OpenAI().chat.completions.create(
        model="gpt-4o-mini", messages=QUESTION, max_tokens=5
    )
    return completion.id


async def ask_model_async() -> str:
    """The same from an event loop."""
    async with openai.AsyncOpenAI() as client:
        completion = await client.chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, max_tokens=5
        )
    return completion.id


def asgi(app: Any) -> None:
    """Serve an ASGI application."""
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    server.run(sockets=[listening])


class _Threading(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """No access log."""


def wsgi(app: Any) -> None:
    """Serve a WSGI application."""
    server = make_server("127.0.0.1", 0, app, server_class=_Threading, handler_class=_Quiet)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()
