"""Puts the patches on a web framework when it is imported, and takes them off again."""

import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, Self

import wrapt

from llm_cost import faults
from llm_cost.errors import ConfigurationError
from llm_cost.frameworks.request_payer import Switch
from llm_cost.identity_source import identity_from_environment
from llm_cost.settings import identity_text

_log = logging.getLogger("llm_cost")


class Patch(NamedTuple):
    """Replace the method `name` of the class `owner` by `wrap` of it."""

    owner: type
    name: str
    wrap: Callable[[Any], Any]


class FrameworkInstrumentor:
    """One framework. Every construction returns the same object, as loaders expect.

    A patch that somebody else has wrapped cannot come off; it stands aside while `switch`
    is off.
    """

    package: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]
    """Where the classes to patch are; a module is patched once the application imports it."""
    _instance: ClassVar[Any] = None
    _lock: ClassVar[threading.RLock] = threading.RLock()
    switch: Switch
    _undo: "list[tuple[type, str, Any, Any]]"
    _awaited: set[str]

    def __new__(cls, *_: object, **__: object) -> Self:
        """Return the one object of this class."""
        with FrameworkInstrumentor._lock:
            if cls._instance is None:
                cls._instance = super().__new__(cls)
                cls._instance.switch = Switch()
                cls._instance._undo = []
                cls._instance._awaited = set()
            instance: Self = cls._instance
            return instance

    @property
    def is_installed(self) -> bool:
        """Whether the framework could be imported; it is not imported to find out."""
        return importlib.util.find_spec(self.package) is not None

    def instrumentation_dependencies(self) -> tuple[str, ...]:
        """Return what must be installed: nothing that a loader should check, we look ourselves."""
        return ()

    def instrument(self, **_: Any) -> None:
        """Attribute requests from now on; again does nothing, as does an unset LLM_COST_IDENTITY.

        Raises ModuleNotFoundError when the framework is not installed: loaders skip it then.
        A setting that cannot be read is logged, because loaders would drop every later
        instrumentation for it; `llm_cost.instrument` raises it.
        """
        if not identity_text():
            return
        if not self.is_installed:
            raise ModuleNotFoundError(f"No module named {self.package!r}", name=self.package)
        try:
            self.switch.source = identity_from_environment()
        except ConfigurationError as error:
            _log.error("%s. Requests of %s stay unattributed", error, self.package)
            return
        for module in self.modules:
            # An import hook cannot be taken back, so that one is enough for ever.
            if module not in self._awaited:
                self._awaited.add(module)
                wrapt.register_post_import_hook(self._patch, module)
            elif module in sys.modules:
                self._patch(sys.modules[module])

    def uninstrument(self, **_: Any) -> None:
        """Put the framework back as it was found."""
        with FrameworkInstrumentor._lock:
            self.switch.source = None
            while self._undo:
                owner, name, original, ours = self._undo.pop()
                if vars(owner).get(name) is ours:
                    setattr(owner, name, original)

    def _patch(self, module: ModuleType) -> None:
        with faults.contained(f"patching {module.__name__}"), FrameworkInstrumentor._lock:
            if self.switch.source is None:
                return
            patched = {(owner, name) for owner, name, _, _ in self._undo}
            for owner, name, wrap in self.patches(module):
                if (owner, name) in patched or name not in vars(owner):
                    continue
                original = vars(owner)[name]
                ours = wrap(original)
                setattr(owner, name, ours)
                self._undo.append((owner, name, original, ours))

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return what to replace in a module that has just been imported."""
        raise NotImplementedError
