"""A Flask application that knows nothing of us."""

from collections.abc import Iterator

import flask
import serving
from flask import Response, stream_with_context
from opentelemetry import propagate

app = flask.Flask(__name__)


@app.before_request
def moderate() -> None:
    if flask.request.path == "/api/moderation/ask":
        serving.ask_model()


@app.get("/api/<feature>/ask")
def ask(feature: str) -> str:
    return serving.ask_model()


@app.get("/api/<feature>/stream")
def stream(feature: str) -> Response:
    def answer() -> Iterator[str]:
        yield "thinking\n"
        yield serving.ask_model()

    return Response(answer())


@app.get("/api/<feature>/stream-with-context")
def stream_in_request(feature: str) -> Response:
    @stream_with_context
    def answer() -> Iterator[str]:
        yield flask.request.path
        yield serving.ask_model()

    return Response(answer())


@app.get("/api/<feature>/baggage")
def baggage(feature: str) -> dict[str, str]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


if __name__ == "__main__":
    serving.wsgi(app)
