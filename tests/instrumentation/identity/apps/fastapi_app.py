"""A FastAPI application that knows nothing of us."""

from collections.abc import AsyncIterator, Awaitable, Callable

import serving
from fastapi import BackgroundTasks, FastAPI, Request, Response, WebSocket
from opentelemetry import propagate
from starlette.responses import StreamingResponse

app = FastAPI()
mounted = FastAPI()


@app.middleware("http")
async def moderate(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    if request.url.path == "/api/moderation/ask":
        await serving.ask_model_async()
    return await call_next(request)


@app.get("/api/{feature}/ask")
async def ask(feature: str) -> str:
    return await serving.ask_model_async()


@app.get("/api/{feature}/ask-in-thread")
def ask_in_thread(feature: str) -> str:
    return serving.ask_model()


@app.get("/api/{feature}/stream")
async def stream(feature: str) -> StreamingResponse:
    async def answer() -> AsyncIterator[str]:
        yield "thinking\n"
        yield await serving.ask_model_async()

    return StreamingResponse(answer())


@app.get("/api/{feature}/background")
async def background(feature: str, tasks: BackgroundTasks) -> str:
    tasks.add_task(serving.ask_model)
    tasks.add_task(serving.ask_model_async)
    return "later"


@app.get("/api/{feature}/baggage")
async def baggage(feature: str) -> dict[str, str]:
    """What a service called from here would be sent."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


@app.websocket("/api/{feature}/talk")
async def talk(websocket: WebSocket, feature: str) -> None:
    await websocket.accept()
    async for _ in websocket.iter_text():
        await websocket.send_text(await serving.ask_model_async())


@mounted.get("/{feature}/ask")
async def ask_mounted(feature: str) -> str:
    return await serving.ask_model_async()


app.mount("/api/mounted", mounted)

if __name__ == "__main__":
    serving.asgi(app)
