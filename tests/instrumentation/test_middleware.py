"""The payer of a web request, from the first byte to the last."""

import asyncio
import threading
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from llm_cost import AttributionMiddleware, Identity, WsgiAttributionMiddleware, faults
from llm_cost.attribution import resolve
from llm_cost.middleware import Headers, Request, from_headers
from llm_cost.within import within

Identify = Callable[[Request], Any]
NOBODY = "None None"


def said() -> str:
    payer = resolve()
    return f"{payer.user_id} {payer.tier}"


async def plain(request: StarletteRequest) -> Response:
    return PlainTextResponse(said())


async def streaming(request: StarletteRequest) -> Response:
    async def body() -> AsyncIterator[str]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield said() + "\n"

    return StreamingResponse(body())


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(said())
    await websocket.close()


APP = Starlette(
    routes=[Route("/", plain), Route("/stream", streaming), WebSocketRoute("/talk", talk)]
)


async def ask(
    app: Callable[..., Awaitable[None]],
    path: str = "/",
    *,
    headers: Iterable[tuple[str, str]] = (),
    kind: str = "http",
) -> str:
    """Drive an ASGI app as a server does; return all that it sent as text."""
    scope = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"key=1",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "subprotocols": [],
    }
    sent: list[str] = []
    received = asyncio.Event()

    async def receive() -> dict[str, object]:
        if not received.is_set():
            received.set()
            return {"type": "websocket.connect" if kind == "websocket" else "http.request"}
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("text") or message.get("body", b"").decode())

    await app(scope, receive, send)
    return "".join(sent)


def asgi(identify: Identify, **options: bool) -> AttributionMiddleware:
    return AttributionMiddleware(APP, identify=identify, **options)


def fail(request: Request) -> None:
    raise LookupError("the session store is down")


@pytest.mark.parametrize(
    "identify",
    [
        fail,
        lambda request: {"user": "anna"},
        lambda request: {"user_id": "x" * 257},
        lambda request: "anna",
        lambda request: Identity(user_id=""),
        lambda request: None,
    ],
    ids=["raises", "unknown field", "bad id", "not a mapping", "empty id", "nobody"],
)
async def test_an_identify_that_fails_leaves_the_request_whole_and_unattributed(
    monkeypatch: pytest.MonkeyPatch, identify: Identify
) -> None:
    monkeypatch.setattr(faults, "reraise", False)

    assert await ask(asgi(identify)) == NOBODY


@pytest.mark.parametrize(
    "payer", [Identity("anna", "pro"), {"user_id": "anna", "tier": "pro"}], ids=["value", "dict"]
)
async def test_identify_may_be_a_function_or_a_coroutine_function(payer: object) -> None:
    async def later(request: Request) -> object:
        await asyncio.sleep(0)
        return payer

    assert await ask(asgi(lambda request: payer)) == "anna pro"
    assert await ask(asgi(later)) == "anna pro"


async def test_a_streaming_response_has_its_payer_until_the_last_byte() -> None:
    answer = await ask(asgi(lambda request: Identity("anna", "pro")), "/stream")

    assert answer == "anna pro\n" * 3


async def test_a_websocket_has_a_payer() -> None:
    app = asgi(lambda request: Identity("anna", "pro"))

    assert await ask(app, "/talk", kind="websocket") == "anna pro"


async def test_requests_at_the_same_time_do_not_mix() -> None:
    app = asgi(from_headers(user="X-User-Id", tier="X-Tier"))
    answers = await asyncio.gather(
        *(ask(app, "/stream", headers=[("x-user-id", f"u{n}"), ("x-tier", "t")]) for n in range(30))
    )

    assert answers == [f"u{n} t\n" * 3 for n in range(30)]


async def test_identify_sees_the_request() -> None:
    seen: list[Request] = []
    await ask(asgi(seen.append), "/stream", headers=[("X-A", "1"), ("x-a", "2")])

    (request,) = seen
    assert (request.method, request.path, request.query) == ("GET", "/stream", "key=1")
    assert request.headers["X-a"] == "1, 2"
    assert request.scope["type"] == "http"


async def test_other_protocols_pass_untouched() -> None:
    seen = []

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        seen.append(scope["type"])

    await AttributionMiddleware(app, identify=fail)({"type": "lifespan"}, None, None)

    assert seen == ["lifespan"]


async def test_an_exception_of_the_application_travels_unchanged() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        await ask(AttributionMiddleware(app, identify=lambda request: None))
    assert resolve() == Identity()


BAGGAGE = {"baggage": "user.id=mallory,llm_cost.user.tier=enterprise"}


@pytest.mark.parametrize(
    ("trust_baggage", "answer"), [(False, "anna None"), (True, "anna enterprise")]
)
async def test_baggage_of_the_caller_is_believed_only_where_that_is_said(
    trust_baggage: bool, answer: str
) -> None:
    app = asgi(lambda request: Identity("anna"), trust_baggage=trust_baggage)
    with within(W3CBaggagePropagator().extract(BAGGAGE)):
        assert await ask(app) == answer


async def test_baggage_extracted_further_in_is_not_believed_either() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with within(W3CBaggagePropagator().extract(BAGGAGE)):
            await APP(scope, receive, send)

    answer = await ask(AttributionMiddleware(app, identify=lambda request: None))

    assert answer == NOBODY


def test_headers_are_found_in_any_case() -> None:
    headers = Headers([("X-User", "anna")])

    assert (headers["x-USER"], headers.get("other"), len(headers)) == ("anna", None, 1)
    assert list(headers) == ["x-user"]


# --- WSGI -------------------------------------------------------------------------------------


class Stream:
    """A body that says the payer of each step and of its closing."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(3):
            self.steps.append(said())
            yield b"chunk"

    def close(self) -> None:
        self.steps.append(f"closed {said()}")


def wsgi_answer(app: Callable[..., Iterable[bytes]], headers: dict[str, str]) -> bytes:
    """Serve one request with wsgiref, which checks the protocol as it goes."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - wsgiref's name
            pass

    with make_server("127.0.0.1", 0, validator(app), handler_class=Quiet) as server:  # type: ignore[arg-type]
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        address = f"http://127.0.0.1:{server.server_port}/path?key=1"
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            body: bytes = response.read()
        serving.join()
    return body


def test_a_wsgi_response_has_its_payer_until_it_is_closed() -> None:
    steps: list[str] = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        steps.append(said())
        return Stream(steps)

    identify = from_headers(user="X-User-Id", tier="X-Tier")
    wrapped = WsgiAttributionMiddleware(app, identify=identify)

    assert wsgi_answer(wrapped, {"X-User-Id": "anna", "X-Tier": "pro"}) == b"chunk" * 3
    assert steps == ["anna pro"] * 4 + ["closed anna pro"]


def test_a_wsgi_response_that_is_complete_is_passed_on_as_it_is() -> None:
    body = [b"all of it"]
    wrapped = WsgiAttributionMiddleware(lambda environ, start: body, identify=lambda request: None)

    assert wrapped({}, None) is body


def test_a_failing_identify_leaves_a_wsgi_request_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "reraise", False)

    wrapped = WsgiAttributionMiddleware(lambda environ, start: [said().encode()], identify=fail)

    assert wrapped({}, None) == [NOBODY.encode()]


def test_an_async_identify_is_refused_where_wsgi_is_wired() -> None:
    async def identify(request: Request) -> None:
        return None

    with pytest.raises(TypeError, match="needs a plain function"):
        WsgiAttributionMiddleware(lambda environ, start: [], identify=identify)


def test_nothing_is_left_attached_between_wsgi_steps() -> None:
    wrapped = WsgiAttributionMiddleware(
        lambda environ, start: Stream([]), identify=lambda request: Identity("anna")
    )
    between = [said() for _ in wrapped({}, None)]

    assert between == [NOBODY] * 3
