"""Puts the patches on a client library and takes them off again.

`opentelemetry-instrument` asks an instrumentor for `instrument()` and, at the end, for
`uninstrument()`; these are all it needs, so `opentelemetry-instrumentation` need not be
installed. A client library is imported when it is instrumented, never before.
"""

import importlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple, Self

from opentelemetry import trace

from llm_cost import settings, surroundings
from llm_cost.providers.beneath import Undo, slip
from llm_cost.providers.endpoint import Surface


class Patch(NamedTuple):
    """Replace the attribute `name` of `owner` by `wrap` of it."""

    owner: Any
    name: str
    wrap: Callable[[Any], Any]


class Instrumentor:
    """One client library. Every construction returns the same object, as the loader expects."""

    module: ClassVar[str]
    _instance: ClassVar[Any] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()
    _undo: "list[tuple[Any, str, Any, Any]]"
    _undo_beneath: "list[Undo]"
    _is_on: threading.Event

    def __new__(cls, *_: object, **__: object) -> Self:
        """Return the one object of this class."""
        with Instrumentor._lock:
            if cls._instance is None:
                cls._instance = super().__new__(cls)
                cls._instance._undo = []
                cls._instance._undo_beneath = []
                cls._instance._is_on = threading.Event()
            instance: Self = cls._instance
            return instance

    @property
    def is_instrumented(self) -> bool:
        """Whether the patches are on."""
        return bool(self._undo)

    def instrumentation_dependencies(self) -> tuple[str, ...]:
        """Return what must be installed: nothing that a loader should check, we look ourselves."""
        return ()

    def instrument(self, **options: Any) -> None:
        """Patch the client; again does nothing. Options: `tracer_provider`.

        Raises ModuleNotFoundError when the client is not installed: loaders skip it then.
        """
        base_client = self._base_module()
        if "tracer_provider" in options:
            from llm_cost import call

            call.configure(tracer_provider=options["tracer_provider"])
        with Instrumentor._lock:
            if self._undo:
                return
            if settings.prices_path() is not None:
                # Loaded only where asked for: most applications have no prices of their own.
                importlib.import_module("llm_cost.price_files").use_from_environment()
            self._put_on(self._patches(base_client))
        # Before the first call, whose neighbour starts its span before ours is asked for.
        surroundings.watch(trace.get_tracer_provider())

    def _put_on(self, patches: list[Patch]) -> None:
        for owner, name, wrap in patches:
            original = vars(owner)[name]
            ours = wrap(original)
            setattr(owner, name, ours)
            self._undo.append((owner, name, original, ours))
            if isinstance(owner, type):  # a module has no subclasses
                self._undo_beneath += slip(owner, name, original, ours)

    def uninstrument(self, **_: Any) -> None:
        """Put the client back as it was found."""
        with Instrumentor._lock:
            self._is_on.clear()
            while self._undo_beneath:
                self._undo_beneath.pop()()
            while self._undo:
                owner, name, original, ours = self._undo.pop()
                # Somebody else's patch on top of ours stays; it is theirs to take off.
                if vars(owner).get(name) is ours:
                    setattr(owner, name, original)

    def _base_module(self) -> Any:
        """Return the module whose classes are patched; ModuleNotFoundError where there is none."""
        return importlib.import_module(f"{self.module}._base_client")

    def _patches(self, base_client: Any) -> list[Patch]:
        from llm_cost.providers import seam

        surface = self._while_on(self._surface())
        sync, async_ = base_client.SyncAPIClient, base_client.AsyncAPIClient
        patches = [
            Patch(sync, "request", partial(seam.patched_request, surface)),
            Patch(async_, "request", partial(seam.patched_async_request, surface)),
        ]
        # Older clients retry inside `request` without a seam: one call then, one span.
        if "_sleep_for_retry" in vars(sync) and "_sleep_for_retry" in vars(async_):
            patches += [
                Patch(sync, "_sleep_for_retry", seam.patched_sleep),
                Patch(async_, "_sleep_for_retry", seam.patched_async_sleep),
            ]
        return patches + self._more_patches(base_client)

    def _while_on(self, surface: Surface) -> Surface:
        """Return a surface without endpoints once these very patches are to be off.

        Where somebody else's patch keeps ours from coming off, ours has to stand aside.
        """
        is_on = self._switch_on()
        endpoint_of = surface.endpoint_of
        return surface._replace(
            endpoint_of=lambda options: endpoint_of(options) if is_on.is_set() else None
        )

    def _switch_on(self) -> threading.Event:
        """Return what tells whether these very patches are to be on."""
        is_on = self._is_on = threading.Event()
        is_on.set()
        return is_on

    def _surface(self) -> Surface:
        raise NotImplementedError

    def _more_patches(self, base_client: Any) -> list[Patch]:
        del base_client
        return []
