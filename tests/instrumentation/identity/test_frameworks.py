"""Applications without a line of ours under opentelemetry-instrument: who pays for each call."""

import base64
import json
import site
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from llm_cost import attributes as names
from llm_cost_cli.demo import provider
from support import official_instrumentations, otlp
from support.processes import running

APPS = Path(__file__).parent / "apps"
INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"
IDENTITY = (
    "user=jwt:sub|header:X-User-Id|query:user|cookie:user;"
    " tier=jwt:app_metadata.plan|header:X-Tier; group=path:/api/{group}/*"
)
Payer = tuple[str | None, str | None, str | None]

ALONE, OFFICIAL_FIRST, OURS_FIRST = "alone", "official first", "ours first"
# The loader takes instrumentors in the order of the path.
ORDERS: Mapping[str, Callable[[], list[str]]] = {
    ALONE: list,
    OFFICIAL_FIRST: lambda: [str(official_instrumentations.folder())],
    OURS_FIRST: lambda: [*site.getsitepackages(), str(official_instrumentations.folder())],
}


def token(claims: object) -> str:
    def part(document: object) -> str:
        text = json.dumps(document).encode()
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    return f"{part({'alg': 'HS256'})}.{part(claims)}.c2lnbmF0dXJl"


@dataclass
class App:
    """A running application and what was exported about it."""

    port: int
    sink: otlp.Sink

    def get(self, path: str, **headers: str) -> str:
        url = f"http://127.0.0.1:{self.port}{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=named), timeout=30
        ) as reply:
            return str(reply.read().decode())

    def talk(self, path: str, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=named) as socket:
            socket.send("hello")
            socket.recv(timeout=30)

    def has_server_spans(self) -> bool:
        return any(span.kind == otlp.Span.SPAN_KIND_SERVER for span in self.sink.spans)

    def payers(self, calls: int) -> "Counter[Payer]":
        """Who paid for each LLM call, once `calls` of them were exported."""
        spans = self.sink.wait_for(lambda spans: len(_llm_calls(spans)) >= calls, 30)
        return Counter(
            (span.get(names.USER_ID), span.get(names.USER_TIER), span.get(names.GROUP))
            for span in _llm_calls(spans)
        )


def _llm_calls(spans: list[otlp.Span]) -> list[dict[str, Any]]:
    plain = [otlp.attributes_of(span) for span in spans]
    return [attributes for attributes in plain if names.COST_NANO_USD in attributes]


@contextmanager
def app(
    command: str, order: str = ALONE, *, identity: str = IDENTITY, **environment: str
) -> Iterator[App]:
    file, *arguments = command.split()
    with provider.running() as served, otlp.sink() as sink:
        settings = {
            "LLM_COST_IDENTITY": identity,
            "DJANGO_SETTINGS_MODULE": "django_settings",
            "PYTHONPATH": ":".join([*ORDERS[order](), str(APPS)]),
            "OPENAI_BASE_URL": served.openai_base_url,
            "OPENAI_API_KEY": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{sink.endpoint}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            **environment,
        }
        command_line = [str(INSTRUMENT), sys.executable, str(APPS / file), *arguments]
        with running(command_line, environment=settings) as process:
            yield App(process.ready["port"], sink)


def everybody_at_once(asks: list[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for asked in [pool.submit(ask) for ask in asks]:
            asked.result(60)


COMMANDS = {
    "fastapi_app.py": ("ask", "ask-in-thread", "stream", "background"),
    "starlette_app.py": ("ask", "ask-in-thread", "stream", "background"),
    "flask_app.py": ("ask", "stream", "stream-with-context"),
    "django_app.py wsgi": ("ask", "ask-async", "stream"),
    "django_app.py asgi": ("ask", "ask-async", "stream", "stream-async"),
}
HAS_WEBSOCKETS = ("fastapi_app.py", "starlette_app.py")
HAS_MIDDLEWARE_THAT_CALLS = ("fastapi_app.py", "flask_app.py", "django_app.py")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_call_is_paid_by_the_user_of_its_request(command: str, order: str) -> None:
    anna = {"Authorization": f"Bearer {token({'sub': 'anna', 'app_metadata': {'plan': 'pro'}})}"}
    bert = {"X_User_Id": "bert", "X_Tier": "free"}
    expected: Counter[Payer] = Counter()
    asks: list[Callable[[], object]] = []

    with app(command, order) as served:

        def add(feature: str, ask: Callable[..., object], path: str, calls: int = 1) -> None:
            for headers, user, tier in ((anna, "anna", "pro"), (bert, "bert", "free")):
                asks.append(lambda headers=headers: ask(path, **headers))  # type: ignore[misc]
                expected[user, tier, feature] += calls
            asks.append(lambda: ask(path))
            expected[None, None, feature] += calls

        for endpoint in COMMANDS[command]:
            calls = 2 if (command, endpoint) == ("fastapi_app.py", "background") else 1
            add(f"{endpoint}-feature", served.get, f"/api/{endpoint}-feature/{endpoint}", calls)
        if command in HAS_WEBSOCKETS:
            add("talking", served.talk, "/api/talking/talk")
            add("mounted", served.get, "/api/mounted/search/ask")
        if command.startswith(HAS_MIDDLEWARE_THAT_CALLS):
            add("moderation", served.get, "/api/moderation/ask", 2)
        everybody_at_once(asks)
        paid = served.payers(sum(expected.values()))

    assert paid == expected
    # FastAPI has spans of its own nowadays, so alone there may be some as well.
    assert order == ALONE or served.has_server_spans()


VICTIM = "user.id=victim,llm_cost.user.tier=enterprise"


@pytest.mark.parametrize("order", [OFFICIAL_FIRST, OURS_FIRST])
@pytest.mark.parametrize("command", COMMANDS)
def test_baggage_of_a_stranger_neither_pays_nor_travels_on(command: str, order: str) -> None:
    with app(command, order) as served:
        served.get("/api/chat/ask", baggage=VICTIM)
        served.get("/api/chat/ask", baggage=VICTIM, X_User_Id="anna")
        carried = json.loads(served.get("/api/chat/baggage", baggage=f"{VICTIM},other=kept"))
        annas = json.loads(served.get("/api/chat/baggage", baggage=VICTIM, X_User_Id="anna"))
        paid = served.payers(2)

    assert paid == Counter({(None, None, "chat"): 1, ("anna", None, "chat"): 1})
    assert "victim" not in carried["baggage"]
    assert "other=kept" in carried["baggage"]
    assert "user.id=anna" in annas["baggage"]
    assert "victim" not in annas["baggage"]


def test_baggage_of_a_trusted_caller_fills_what_the_request_leaves_open() -> None:
    with app("fastapi_app.py", OFFICIAL_FIRST, identity=f"{IDENTITY}; baggage=trusted") as served:
        served.get("/api/chat/ask", baggage=VICTIM)
        served.get("/api/chat/ask", baggage=VICTIM, X_User_Id="anna")
        paid = served.payers(2)

    assert paid == Counter({("victim", "enterprise", "chat"): 1, ("anna", "enterprise", "chat"): 1})


@pytest.mark.parametrize("identity", ["", "user=heder:X-User-Id"])
def test_an_unset_or_unreadable_setting_leaves_the_application_working(identity: str) -> None:
    with app("flask_app.py", identity=identity) as served:
        served.get("/api/chat/ask", X_User_Id="anna")
        paid = served.payers(1)

    assert paid == Counter({(None, None, None): 1})


@pytest.mark.parametrize("command", COMMANDS)
def test_hostile_requests_are_served_and_unattributed(command: str) -> None:
    with app(command) as served:
        for headers in (
            {"X_User_Id": "a" * 60_000},
            {"X_User_Id": "anna,bert"},
            {"Authorization": "Bearer a.%%%.c", "X_User_Id": "anna"},
            {"Authorization": f"Bearer {token({'sub': ['anna']})}"},
            {"Cookie": "user=%ff"},
        ):
            served.get("/api/chat/ask", **headers)
        served.get("/api/chat/ask?user=%00")
        paid = served.payers(6)

    assert paid == Counter({(None, None, "chat"): 6})
