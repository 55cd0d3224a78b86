"""A Starlette application that knows nothing of us."""

from collections.abc import AsyncIterator

import serving
from opentelemetry import propagate
from starlette import applications
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket


async def ask(request: Request) -> Response:
    return PlainTextResponse(await serving.ask_model_async())


def ask_in_thread(request: Request) -> Response:
    return PlainTextResponse(serving.ask_model())


async def stream(request: Request) -> Response:
    async def answer() -> AsyncIterator[str]:
        yield "thinking\n"
        yield await serving.ask_model_async()

    return StreamingResponse(answer())


async def background(request: Request) -> Response:
    return PlainTextResponse("later", background=BackgroundTask(serving.ask_model))


async def baggage(request: Request) -> Response:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return JSONResponse(carrier)


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for _ in websocket.iter_text():
        await websocket.send_text(await serving.ask_model_async())


# By the module, as opentelemetry-instrumentation-starlette replaces the class there.
app = applications.Starlette(
    routes=[
        Mount(
            "/api/mounted",
            applications.Starlette(routes=[Route("/{feature}/ask", ask)]),
        ),
        Route("/api/{feature}/ask", ask),
        Route("/api/{feature}/ask-in-thread", ask_in_thread),
        Route("/api/{feature}/stream", stream),
        Route("/api/{feature}/background", background),
        Route("/api/{feature}/baggage", baggage),
        WebSocketRoute("/api/{feature}/talk", talk),
    ]
)

if __name__ == "__main__":
    serving.asgi(app)
