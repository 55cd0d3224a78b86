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
    _is_on: threading.Event

    def __new__(cls, *_: object, **__: object) -> Self:
        """Return the one object of this class."""
        with Instrumentor._lock:
            if cls._instance is None:
                cls._instance = super().__new__(cls)
                cls._instance._undo = []
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
        base_client = importlib.import_module(f"{self.module}._base_client")
        if "tracer_provider" in options:
            from llm_cost import call

            call.configure(tracer_provider=options["tracer_provider"])
        with Instrumentor._lock:
            if self._undo:
                return
            for owner, name, wrap in self._patches(base_client):
                original = vars(owner)[name]
                ours = wrap(original)
                setattr(owner, name, ours)
                self._undo.append((owner, name, original, ours))

    def uninstrument(self, **_: Any) -> None:
        """Put the client back as it was found."""
        with Instrumentor._lock:
            self._is_on.clear()
            while self._undo:
                owner, name, original, ours = self._undo.pop()
                # Somebody else's patch on top of ours stays; it is theirs to take off.
                if vars(owner).get(name) is ours:
                    setattr(owner, name, original)

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
        is_on = self._is_on = threading.Event()
        is_on.set()
        endpoint_of = surface.endpoint_of
        return surface._replace(
            endpoint_of=lambda options: endpoint_of(options) if is_on.is_set() else None
        )

    def _surface(self) -> Surface:
        raise NotImplementedError

    def _more_patches(self, base_client: Any) -> list[Patch]:
        del base_client
        return []
