"""Views of the Django applications, which know nothing of us."""

from collections.abc import AsyncIterator, Callable, Iterator

import serving
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path
from opentelemetry import propagate


def moderate(get_response: Callable[[HttpRequest], HttpResponse]) -> object:
    """A middleware of the plain, synchronous kind."""

    def respond(request: HttpRequest) -> HttpResponse:
        if request.path == "/api/moderation/ask":
            serving.ask_model()
        return get_response(request)

    return respond


def ask(request: HttpRequest, feature: str) -> HttpResponse:
    return HttpResponse(serving.ask_model())


async def ask_async(request: HttpRequest, feature: str) -> HttpResponse:
    return HttpResponse(await serving.ask_model_async())


def stream(request: HttpRequest, feature: str) -> HttpResponse:
    def answer() -> Iterator[str]:
        yield "thinking\n"
        yield serving.ask_model()

    return StreamingHttpResponse(answer())


async def stream_async(request: HttpRequest, feature: str) -> HttpResponse:
    async def answer() -> AsyncIterator[str]:
        yield "thinking\n"
        yield await serving.ask_model_async()

    return StreamingHttpResponse(answer())


def baggage(request: HttpRequest, feature: str) -> HttpResponse:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return JsonResponse(carrier)


urlpatterns = [
    path("api/<feature>/ask", ask),
    path("api/<feature>/ask-async", ask_async),
    path("api/<feature>/stream", stream),
    path("api/<feature>/stream-async", stream_async),
    path("api/<feature>/baggage", baggage),
]
