"""Putting the patches on and taking them off, in one process."""

import sys
from collections.abc import Iterator
from typing import Any

import fastapi.applications
import flask
import pytest
import starlette.applications
from django.core.handlers import asgi, base, wsgi
from starlette.testclient import TestClient

import llm_cost
from llm_cost import frameworks
from llm_cost.attribution import resolve
from llm_cost.errors import ConfigurationError
from llm_cost.frameworks.asgi import AsgiInstrumentor
from llm_cost.frameworks.flask import FlaskInstrumentor
from llm_cost.frameworks.instrumentor import FrameworkInstrumentor

METHODS: tuple[tuple[type, str], ...] = (
    (starlette.applications.Starlette, "build_middleware_stack"),
    (fastapi.applications.FastAPI, "build_middleware_stack"),
    (flask.Flask, "wsgi_app"),
    (flask.Flask, "preprocess_request"),
    (wsgi.WSGIHandler, "__call__"),
    (asgi.ASGIHandler, "__call__"),
    (base.BaseHandler, "load_middleware"),
)


def methods() -> list[Any]:
    return [vars(owner)[name] for owner, name in METHODS]


@pytest.fixture(autouse=True)
def _taken_off_again() -> Iterator[None]:
    before = methods()
    yield
    frameworks.uninstrument()
    assert methods() == before


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_COST_IDENTITY", "user=header:X-User-Id")


def flask_app() -> flask.Flask:
    app = flask.Flask("app")
    app.add_url_rule("/", view_func=lambda: str(resolve().user_id), endpoint="who")
    return app


def asked(app: flask.Flask) -> str:
    return app.test_client().get("/", headers={"X-User-Id": "anna"}).text


def test_without_the_variable_nothing_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_COST_IDENTITY", raising=False)
    before = methods()

    frameworks.instrument()

    assert methods() == before
    assert asked(flask_app()) == "None"


@pytest.mark.usefixtures("identity")
def test_again_does_nothing_and_uninstrument_puts_everything_back() -> None:
    before = methods()

    frameworks.instrument()
    patched = methods()
    frameworks.instrument()
    patched_again = methods()
    frameworks.uninstrument()

    assert all(a is not b for a, b in zip(before, patched, strict=True))
    assert patched_again == patched
    assert methods() == before


@pytest.mark.usefixtures("identity")
def test_on_off_and_on_again() -> None:
    answers = []
    for switch in (frameworks.instrument, frameworks.uninstrument, frameworks.instrument):
        switch()
        answers.append(asked(flask_app()))

    assert answers == ["anna", "None", "anna"]


@pytest.mark.usefixtures("identity")
def test_a_patch_that_somebody_wrapped_stands_aside_when_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FlaskInstrumentor().instrument()
    ours = flask.Flask.wsgi_app
    with monkeypatch.context() as theirs:
        theirs.setattr(flask.Flask, "wsgi_app", lambda *args: ours(*args))
        on = asked(flask_app())
        FlaskInstrumentor().uninstrument()
        off = asked(flask_app())
    # Theirs came off after ours could not: what it puts back is ours, asleep.
    monkeypatch.setattr(flask.Flask, "wsgi_app", ours.__wrapped__)  # type: ignore[attr-defined]

    assert (on, off) == ("anna", "None")


@pytest.mark.usefixtures("identity")
def test_a_stack_built_while_on_stands_aside_when_off() -> None:
    AsgiInstrumentor().instrument()
    app = fastapi.FastAPI()
    app.add_api_route("/", lambda: str(resolve().user_id))
    client = TestClient(app)

    on = client.get("/", headers={"X-User-Id": "anna"}).json()
    AsgiInstrumentor().uninstrument()
    off = client.get("/", headers={"X-User-Id": "anna"}).json()

    assert (on, off) == ("anna", "None")


@pytest.mark.usefixtures("identity")
def test_what_the_code_says_outside_counts_and_the_request_fills_the_gaps() -> None:
    FlaskInstrumentor().instrument()
    app = flask.Flask("app")
    app.add_url_rule("/", view_func=lambda: f"{resolve().user_id} {resolve().tier}", endpoint="w")

    with llm_cost.attribute_to(tier="internal"):
        filled = app.test_client().get("/", headers={"X-User-Id": "anna"}).text
    with llm_cost.attribute_to(user_id="robot"):
        said = app.test_client().get("/", headers={"X-User-Id": "anna"}).text

    assert (filled, said) == ("anna internal", "robot None")


@pytest.mark.usefixtures("identity")
def test_a_framework_that_is_not_installed_is_told_as_loaders_expect() -> None:
    class MissingInstrumentor(FrameworkInstrumentor):
        package = "a_framework_of_nobody"
        modules = ("a_framework_of_nobody.app",)

    with pytest.raises(ModuleNotFoundError) as caught:
        MissingInstrumentor().instrument()

    assert caught.value.name == "a_framework_of_nobody"


@pytest.mark.usefixtures("identity")
def test_instrumenting_imports_no_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    class UnusedInstrumentor(FrameworkInstrumentor):
        package = "wave"
        modules = ("wave",)

    monkeypatch.delitem(sys.modules, "wave", raising=False)
    UnusedInstrumentor().instrument()

    assert "wave" not in sys.modules


def test_instrument_by_hand_raises_for_a_setting_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLM_COST_IDENTITY", "user=heder:X-User-Id")

    with pytest.raises(ConfigurationError, match="heder:X-User-Id"):
        llm_cost.instrument()
