"""Who pays: said, carried to where the call happens, and never wrong elsewhere."""

import asyncio
import contextvars
import gc
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import baggage, context
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context

from llm_cost import Identity, attribute_to, attribution, current_identity
from llm_cost.attributes import BAGGAGE_GROUP, BAGGAGE_USER_ID, BAGGAGE_USER_TIER
from llm_cost.attribution import resolve, without_baggage
from llm_cost.errors import InvalidSubject
from llm_cost.within import within

NOBODY = Identity()
ANNA = Identity(user_id="anna", tier="pro")
PROPAGATOR = W3CBaggagePropagator()


@pytest.fixture(autouse=True)
def _nothing_attached_and_nothing_logged_about_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    monkeypatch.setattr(attribution, "_complained_of", set())
    yield
    assert "Failed to detach" not in caplog.text
    assert resolve() == NOBODY


@pytest.mark.parametrize("field", ["user_id", "tier", "group"])
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        ("a\0b", "contains NUL"),
        ("x" * 257, "has 257 bytes"),
        ("ö" * 129, "has 258 bytes"),
        ("\ud800", "not valid Unicode"),
        (True, "is a bool"),
        (1.5, "is a float"),
        (b"anna", "is a bytes"),
        (["anna"], "is a list"),
    ],
)
def test_an_unusable_id_is_refused_where_it_is_said(
    field: str, value: object, problem: str
) -> None:
    with pytest.raises(InvalidSubject) as caught:
        attribute_to(**{field: value})  # type: ignore[arg-type]

    assert str(caught.value).startswith(field)
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["a\0b", "x" * 257, "\ud800", True, {"id": 1}])
def test_an_unusable_id_of_the_client_is_unattributed_and_logged_once(
    caplog: pytest.LogCaptureFixture, value: object
) -> None:
    resolved = [resolve(value) for _ in range(3)]

    assert resolved == [NOBODY] * 3
    assert len(caplog.records) == 1


def test_an_unusable_id_in_baggage_is_unattributed_and_the_rest_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    carried = baggage.set_baggage(BAGGAGE_USER_ID, "x" * 257)
    with within(baggage.set_baggage(BAGGAGE_USER_TIER, "pro", carried)):
        resolved = [resolve() for _ in range(3)]

    assert resolved == [Identity(tier="pro")] * 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("user_id", ["x" * 256, "ö" * 128, "'; DROP TABLE users", "a\nb", "日本"])
def test_a_usable_id_is_kept_as_it_is(user_id: str) -> None:
    with attribute_to(user_id=user_id):
        assert resolve() == Identity(user_id=user_id)


def test_a_number_is_its_decimal_text() -> None:
    with attribute_to(user_id=42):
        assert resolve() == Identity(user_id="42")
    assert resolve(42) == Identity(user_id="42")


def test_inner_fields_override_and_the_others_stay() -> None:
    with attribute_to(user_id="anna", tier="pro"):
        with attribute_to(group="search"):
            assert resolve() == Identity("anna", "pro", "search")
        with attribute_to(user_id="ben"):
            assert resolve() == Identity("ben", "pro")
        assert resolve() == ANNA


def test_what_is_said_outranks_baggage_outranks_the_client_field_by_field() -> None:
    carried = baggage.set_baggage(BAGGAGE_USER_ID, "from-baggage")
    with within(baggage.set_baggage(BAGGAGE_USER_TIER, "baggage-tier", carried)):
        assert resolve("from-client") == Identity("from-baggage", "baggage-tier")
        with attribute_to(user_id="said"):
            assert resolve("from-client") == Identity("said", "baggage-tier")
    with attribute_to(tier="pro"):
        assert resolve("from-client") == Identity("from-client", "pro")


def test_an_exception_inside_ends_the_attribution() -> None:
    with pytest.raises(ZeroDivisionError), attribute_to(user_id="anna"):
        _ = 1 / 0

    assert resolve() == NOBODY


def test_leaving_undoes_what_leaky_code_attached_inside() -> None:
    with attribute_to(user_id="anna"):
        context.attach(context.set_value("leak", 1))

    assert resolve() == NOBODY


# --- Where it is carried ----------------------------------------------------------------------


async def test_concurrent_tasks_each_keep_their_own_payer() -> None:
    async def call(user_id: str) -> str | None:
        with attribute_to(user_id=user_id):
            await asyncio.sleep(0.01)
            return resolve().user_id

    users = [f"user-{n}" for n in range(50)]

    assert await asyncio.gather(*map(call, users)) == users


async def test_tasks_and_threads_inherit_the_payer() -> None:
    async def seen() -> Identity:
        return resolve()

    with attribute_to(user_id="anna", tier="pro"):
        task = asyncio.create_task(seen())
        in_thread = await asyncio.to_thread(resolve)
        copied = contextvars.copy_context()
    with ThreadPoolExecutor() as pool:
        in_pool = pool.submit(copied.run, resolve).result()

    assert [await task, in_thread, in_pool] == [ANNA] * 3


async def test_a_cancelled_task_leaves_no_payer_behind() -> None:
    async def wait() -> None:
        with attribute_to(user_id="anna"):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert resolve() == NOBODY


def test_one_instance_serves_several_threads() -> None:
    scope, both_inside, seen = attribute_to(user_id="anna"), threading.Barrier(2), []

    def enter() -> None:
        with scope:
            both_inside.wait(5)
            seen.append(resolve().user_id)
        both_inside.wait(5)
        seen.append(resolve().user_id)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(seen, key=str) == [None, None, "anna", "anna"]


# --- As a decorator ---------------------------------------------------------------------------

to_anna = attribute_to(user_id="anna", tier="pro")


def test_a_function_can_be_decorated() -> None:
    @to_anna
    def call(word: str) -> tuple[str, Identity]:
        """Say."""
        return word, resolve()

    assert call("x") == ("x", ANNA)
    assert (call.__name__, call.__doc__) == ("call", "Say.")


async def test_a_coroutine_function_can_be_decorated_and_stays_one() -> None:
    @to_anna
    async def call() -> Identity:
        await asyncio.sleep(0)
        return resolve()

    assert inspect.iscoroutinefunction(call)
    assert await asyncio.gather(call(), call()) == [ANNA, ANNA]


def test_a_generator_has_its_payer_inside_and_its_consumer_has_not() -> None:
    @to_anna
    def stream() -> Iterator[Identity]:
        yield resolve()
        with attribute_to(group="search"):
            yield resolve()
            yield resolve()

    seen = [(inside, resolve()) for inside in stream()]

    searching = Identity("anna", "pro", "search")
    assert inspect.isgeneratorfunction(stream)
    assert seen == [(ANNA, NOBODY), (searching, NOBODY), (searching, NOBODY)]


def test_a_decorated_generator_takes_values_exceptions_and_a_result() -> None:
    ended = []

    @to_anna
    def echo():  # type: ignore[no-untyped-def]
        try:
            got = yield "first"
            try:
                yield got
            except KeyError:
                yield "caught"
            return "result"
        finally:
            ended.append(resolve())

    running = echo()  # type: ignore[no-untyped-call]

    assert [next(running), running.send("sent"), running.throw(KeyError())] == [
        "first", "sent", "caught",
    ]  # fmt: skip
    with pytest.raises(StopIteration) as stopped:
        next(running)
    assert stopped.value.value == "result"
    assert ended == [ANNA]


def test_a_decorated_generator_can_be_closed_in_another_context() -> None:
    ended = []

    @to_anna
    def stream() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(resolve())

    running = stream()
    next(running)
    contextvars.Context().run(running.close)  # type: ignore[attr-defined]

    assert ended == [ANNA]


def test_a_plain_generator_closed_in_another_context_logs_nothing() -> None:
    def stream() -> Iterator[int]:
        with attribute_to(user_id="anna"):
            yield 1

    def abandon() -> Iterator[int]:
        running = stream()
        next(running)
        return running

    running = contextvars.copy_context().run(abandon)
    running.close()  # type: ignore[attr-defined]

    assert resolve() == NOBODY


async def test_an_async_generator_has_its_payer_inside_and_its_consumer_has_not() -> None:
    @to_anna
    async def stream() -> AsyncIterator[Identity]:
        yield resolve()
        await asyncio.sleep(0)
        yield resolve()

    seen = [(inside, resolve()) async for inside in stream()]

    assert inspect.isasyncgenfunction(stream)
    assert seen == [(ANNA, NOBODY), (ANNA, NOBODY)]


async def test_an_abandoned_async_generator_is_closed_elsewhere_without_a_word() -> None:
    ended = []

    @to_anna
    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(resolve())

    async for _ in stream():
        break
    gc.collect()
    await asyncio.sleep(0.01)

    assert ended == [ANNA]
    assert resolve() == NOBODY


async def test_a_decorated_async_generator_takes_values_and_exceptions() -> None:
    @to_anna
    async def echo():  # type: ignore[no-untyped-def]
        got = yield "first"
        try:
            yield got
        except KeyError:
            yield "caught"

    running = echo()  # type: ignore[no-untyped-call]

    assert [
        await anext(running),
        await running.asend("sent"),
        await running.athrow(KeyError()),
    ] == ["first", "sent", "caught"]
    with pytest.raises(StopAsyncIteration):
        await anext(running)


# --- Baggage ----------------------------------------------------------------------------------


def test_a_called_service_knows_the_payer_without_code() -> None:
    headers: dict[str, str] = {}
    with attribute_to(user_id="anna & ben, söhne", tier="pro", group="a=b;c"):
        PROPAGATOR.inject(headers)

    with within(PROPAGATOR.extract(headers, Context())):
        assert current_identity() == Identity("anna & ben, söhne", "pro", "a=b;c")


def test_baggage_of_others_is_kept() -> None:
    with within(baggage.set_baggage("tenant", "acme")), attribute_to(user_id="anna"):
        assert dict(baggage.get_all()) == {"tenant": "acme", BAGGAGE_USER_ID: "anna"}


def test_a_third_party_gets_no_payer_by_baggage_and_the_payer_stays_known() -> None:
    headers: dict[str, str] = {}
    said = attribute_to(user_id="anna", tier="pro", group="search")
    with within(baggage.set_baggage("tenant", "acme")), said, within(without_baggage()):
        PROPAGATOR.inject(headers)
        inside = resolve()

    assert headers == {"baggage": "tenant=acme"}
    assert inside == Identity("anna", "pro", "search")


def test_a_payer_known_by_baggage_alone_stays_known_in_a_call_to_a_third_party() -> None:
    carried = baggage.set_baggage(BAGGAGE_GROUP, "search")
    with within(baggage.set_baggage(BAGGAGE_USER_ID, "anna", carried)), within(without_baggage()):
        assert dict(baggage.get_all()) == {}
        assert resolve() == Identity(user_id="anna", group="search")


def test_a_context_without_a_payer_in_baggage_is_returned_as_it_is() -> None:
    current = context.get_current()

    assert without_baggage() is current


def test_the_log_names_the_source_and_not_the_whole_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        resolve("secret" * 100)

    assert "the client's user field" in caplog.text
    assert len(caplog.records[0].getMessage()) < 250
