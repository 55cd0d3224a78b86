"""The exceptions of this project.

    LlmCostError
    ├── PolicyBlocked           the one we raise into an application on purpose
    ├── ConfigurationError      (also ValueError) a setting or a policy file is wrong
    ├── InvalidAmount           (also ValueError) not a storable amount of money
    └── InvalidSubject          (also ValueError) not a usable user id, tier or group

Whatever else goes wrong inside the library is logged and never reaches the host.
"""

from datetime import datetime


class LlmCostError(Exception):
    """Base of every exception of this project."""


class ConfigurationError(LlmCostError, ValueError):
    """A setting or a policy file cannot be used; the message names it and the way out."""


class InvalidAmount(LlmCostError, ValueError):
    """Not a storable amount of money; the message names the value and the way out."""


class InvalidSubject(LlmCostError, ValueError):
    """Not a usable user id, tier or group; the message names the value and the way out."""


class PolicyBlocked(LlmCostError):
    """The policy refused this call before the provider was contacted: nothing was spent.

    `limit_nano_usd` and `resets_at` are None where the rule has none (an outage, say);
    `period` is the window's name, for example "2026-11".
    """

    def __init__(
        self,
        message: str,
        *,
        user_id: str,
        tier: str,
        limit_nano_usd: int | None = None,
        spent_nano_usd: int | None = None,
        period: str | None = None,
        resets_at: datetime | None = None,
        reason: str = "",
        rule: str = "",
    ) -> None:
        super().__init__(message)
        self.user_id = user_id
        self.tier = tier
        self.limit_nano_usd = limit_nano_usd
        self.spent_nano_usd = spent_nano_usd
        self.period = period
        self.resets_at = resets_at
        self.reason = reason
        self.rule = rule

    def __reduce__(self) -> tuple[object, ...]:
        # By state: a worker's exception travels to its parent pickled, and the default way
        # would call the constructor without its keywords.
        return _unpickled, (self.args, self.__dict__)


def _unpickled(args: tuple[object, ...], state: dict[str, object]) -> PolicyBlocked:
    error = PolicyBlocked.__new__(PolicyBlocked, *args)
    error.__dict__.update(state)
    return error
