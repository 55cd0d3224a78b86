"""What each user and plan tier of an LLM product costs to serve, and limits that hold.

Nothing is loaded here until it is used: `import llm_cost.money` runs this file, and an
application that only sets attributes must not pay for gRPC.
"""

from importlib import import_module

TYPE_CHECKING = False  # type checkers know the name; importing `typing` takes milliseconds
if TYPE_CHECKING:
    from llm_cost.attribution import attribute_to, current_identity
    from llm_cost.errors import ConfigurationError, LlmCostError, PolicyBlocked
    from llm_cost.middleware import AttributionMiddleware, WsgiAttributionMiddleware
    from llm_cost.policy import flush
    from llm_cost.policy.decision import BudgetWarning, Identity
    from llm_cost.policy.warning import on_budget_warning

__all__ = [
    "AttributionMiddleware",
    "BudgetWarning",
    "ConfigurationError",
    "Identity",
    "LlmCostError",
    "PolicyBlocked",
    "WsgiAttributionMiddleware",
    "attribute_to",
    "current_identity",
    "flush",
    "instrument",
    "on_budget_warning",
    "uninstrument",
]

_HOMES = {
    "AttributionMiddleware": ".middleware",
    "BudgetWarning": ".policy.decision",
    "ConfigurationError": ".errors",
    "Identity": ".policy.decision",
    "LlmCostError": ".errors",
    "PolicyBlocked": ".errors",
    "WsgiAttributionMiddleware": ".middleware",
    "attribute_to": ".attribution",
    "current_identity": ".attribution",
    "flush": ".policy",
    "on_budget_warning": ".policy.warning",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'llm_cost' has no attribute {name!r}; it has {__all__}")
    value: object = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return __all__


def instrument(**options: object) -> None:
    """Patch the installed LLM clients; the options are those of `llm_cost.providers`.

    With LLM_COST_IDENTITY set, the installed web frameworks too: before the application
    is made.

    Raises `ConfigurationError` when a setting cannot be read: here is the place to hear of
    it, before the first call. `opentelemetry-instrument` does this without code.
    """
    from llm_cost.settings import Settings, identity_text

    Settings.from_environment()
    import_module(".policy", __name__).require_usable_settings()
    if identity_text():
        import_module(".identity_source", __name__).identity_from_environment()
        import_module(".frameworks", __name__).instrument()
    import_module(".providers", __name__).instrument(**options)


def uninstrument() -> None:
    """Undo `instrument`."""
    import_module(".frameworks", __name__).uninstrument()
    import_module(".providers", __name__).uninstrument()
