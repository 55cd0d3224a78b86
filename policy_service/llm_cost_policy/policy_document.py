"""Reads a policy document: YAML in, `Policy` out, or every error at once.

Scalars stay text until this module reads them, so that `limit: 5.10` is five dollars and
ten cents and never a float.
"""

from collections.abc import Hashable
from importlib import resources
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import yaml

from llm_cost.errors import ConfigurationError, InvalidAmount
from llm_cost.money import parse_usd
from llm_cost.policy.decision import Action, OutageMode, OutagePolicy
from llm_cost_policy.periods import Window
from llm_cost_policy.policies import Policy, Tier, UnknownPrice, UnknownPriceMode, rule_of

LARGEST_DOCUMENT_BYTES: Final = 256 * 1024  # a thousand tiers fit; a mistaken upload does not
MOST_TIERS: Final = 200  # each is a row of every report and a label value
MOST_THRESHOLDS: Final = 10
LONGEST_TIER_BYTES: Final = 256
_SHOWN_CHARACTERS: Final = 60

_DOCUMENT_FIELDS: Final = ("time_zone", "window", "default_tier", "tiers")
_TIER_FIELDS: Final = (
    "limit",
    "action",
    "warn_at",
    "plan_price",
    "unknown_price",
    "on_unavailable",
)
_ACTIONS: Final = {"block": Action.BLOCK, "warn": Action.WARN, "dry_run": Action.DRY_RUN}
_DEFAULT_WARN_AT: Final = (80,)

_Choice = TypeVar("_Choice")


class PolicyDocumentError(ConfigurationError):
    """The document cannot run; `errors` names every path, value and way out."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("the policy document was refused: " + "; ".join(errors))
        self.errors = tuple(errors)


def example_document() -> str:
    """Return the policy that runs until another one is put."""
    return resources.files(__package__).joinpath("example_policy.yaml").read_text("utf-8")


def parse_policy(document_yaml: str) -> Policy:
    """Return the policy that `document_yaml` states, or raise `PolicyDocumentError`."""
    if len(document_yaml.encode()) > LARGEST_DOCUMENT_BYTES:
        raise PolicyDocumentError([f"the document is larger than {LARGEST_DOCUMENT_BYTES} bytes"])
    reading = _Reading()
    try:
        # A subclass of SafeLoader's base: it builds text, lists and mappings, nothing else.
        tree = yaml.load(document_yaml, Loader=_loader_reporting_to(reading))
    except yaml.YAMLError as error:
        raise PolicyDocumentError([f"not YAML: {_one_line(error)}"]) from None
    except RecursionError:
        raise PolicyDocumentError(["nested too deeply; a policy has three levels"]) from None
    policy = reading.policy(tree)
    if policy is None or reading.errors:
        raise PolicyDocumentError(reading.errors)
    return policy


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def _loader_reporting_to(reading: "_Reading") -> type[yaml.BaseLoader]:
    class Loader(yaml.BaseLoader):
        """Keeps scalars as text and reports a key that stands twice."""

        def construct_mapping(
            self, node: yaml.MappingNode, deep: bool = False
        ) -> dict[Hashable, Any]:
            seen: set[str] = set()
            for key, _ in node.value:
                if key.value in seen if isinstance(key, yaml.ScalarNode) else False:
                    line = key.start_mark.line + 1
                    reading.refuse(f"line {line}", key.value, "stands twice; keep one")
                elif isinstance(key, yaml.ScalarNode):
                    seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

    return Loader


class _Reading:
    """One pass over a document that collects errors instead of stopping at the first."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def refuse(self, path: str, value: object, way_out: str) -> None:
        self.errors.append(f"{path}: {_shown(value)} {way_out}")

    def policy(self, tree: object) -> Policy | None:
        if not isinstance(tree, dict):
            self.refuse("document", tree, "is not a mapping with 'tiers' and 'default_tier'")
            return None
        self._only(tree, _DOCUMENT_FIELDS, "")
        zone = self._zone(tree.get("time_zone", "UTC"))
        window = self._one_of("window", tree.get("window", "month"), {w.value: w for w in Window})
        tiers = self._tiers(tree.get("tiers"))
        default_tier = self._default_tier(tree.get("default_tier"), tree.get("tiers"))
        if self.errors or zone is None or window is None or default_tier is None:
            return None
        return Policy(
            zone,
            window,
            default_tier,
            tiers,
            {
                name: rule_of(tier, name=f"tier:{name}", note="", booked_tier=name)
                for name, tier in tiers.items()
            },
        )

    def _only(self, mapping: dict[Any, Any], known: tuple[str, ...], path: str) -> None:
        for key in mapping:
            if key not in known:
                self.refuse(f"{path}{key}", key, f"is not a field; known are {', '.join(known)}")

    def _one_of(self, path: str, value: object, choices: dict[str, _Choice]) -> _Choice | None:
        if isinstance(value, str) and value in choices:
            return choices[value]
        self.refuse(path, value, f"is none of {', '.join(choices)}")
        return None

    def _zone(self, value: object) -> ZoneInfo | None:
        try:
            if not isinstance(value, str):
                raise ValueError
            return ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            self.refuse("time_zone", value, "is no IANA time zone; write for example Europe/Berlin")
            return None

    def _default_tier(self, value: object, tiers: object) -> str | None:
        if isinstance(value, str) and isinstance(tiers, dict) and value in tiers:
            return value
        named = ", ".join(map(str, tiers)) if isinstance(tiers, dict) else "missing"
        self.refuse("default_tier", value, f"is not one of the tiers ({named})")
        return None

    def _tiers(self, value: object) -> dict[str, Tier]:
        if not isinstance(value, dict) or not value:
            self.refuse("tiers", value, "is not a mapping of at least one tier")
            return {}
        if len(value) > MOST_TIERS:
            self.refuse("tiers", len(value), f"are too many; at most {MOST_TIERS}")
            return {}
        read = [self._tier(name, fields) for name, fields in value.items()]
        return {tier.name: tier for tier in read if tier is not None}

    def _tier(self, name: object, fields: object) -> Tier | None:
        path = f"tiers.{_shown(name)[1:-1] if isinstance(name, str) else name}"
        if not isinstance(name, str) or not name or "\0" in name:
            self.refuse(path, name, "is no tier name; write a plain word")
            return None
        if len(name.encode()) > LONGEST_TIER_BYTES:
            self.refuse(path, name, f"is longer than {LONGEST_TIER_BYTES} bytes")
            return None
        if fields == "":
            fields = {}
        if not isinstance(fields, dict):
            self.refuse(path, fields, f"is not a mapping of {', '.join(_TIER_FIELDS)}")
            return None
        self._only(fields, _TIER_FIELDS, f"{path}.")
        return Tier(
            name=name,
            limit_nano_usd=self._amount_or_none(f"{path}.limit", fields.get("limit")),
            action=self._one_of(f"{path}.action", fields.get("action", "block"), _ACTIONS)
            or Action.BLOCK,
            warn_at_percents=self._thresholds(f"{path}.warn_at", fields.get("warn_at")),
            plan_price_nano_usd=self._amount_or_none(
                f"{path}.plan_price", fields.get("plan_price")
            ),
            unknown_price=self._unknown_price(
                f"{path}.unknown_price", fields.get("unknown_price", "allow")
            ),
            on_unavailable=self._on_unavailable(
                f"{path}.on_unavailable", fields.get("on_unavailable", "block")
            ),
        )

    def _amount(self, path: str, value: object) -> int:
        try:
            if not isinstance(value, str) or not value:
                raise InvalidAmount("is not an amount; write for example 5.00")
            return parse_usd(value)
        except InvalidAmount as error:
            self.refuse(path, value, f"is refused: {error}")
            return 0

    def _amount_or_none(self, path: str, value: object) -> int | None:
        if value in (None, "", "none", "null", "~"):
            return None
        return self._amount(path, value)

    def _thresholds(self, path: str, value: object) -> tuple[int, ...]:
        if value is None:
            return _DEFAULT_WARN_AT
        if not isinstance(value, list) or len(value) > MOST_THRESHOLDS:
            self.refuse(path, value, f"is not a list of up to {MOST_THRESHOLDS} percents")
            return ()
        percents = [self._percent(f"{path}[{i}]", item) for i, item in enumerate(value)]
        return tuple(sorted({percent for percent in percents if percent}))

    def _percent(self, path: str, value: object) -> int:
        digits = value.removesuffix("%").strip() if isinstance(value, str) else ""
        if digits.isascii() and digits.isdigit() and len(digits) <= 3 and 1 <= int(digits) <= 100:
            return int(digits)
        self.refuse(path, value, "is not a whole percent from 1 to 100, such as 80")
        return 0

    def _unknown_price(self, path: str, value: object) -> UnknownPrice:
        word, amount = _word_and_amount(value)
        if word == "ceiling":
            return UnknownPrice(UnknownPriceMode.CEILING, self._amount(path, amount))
        if word in ("deny", "allow") and amount is None:
            return UnknownPrice(UnknownPriceMode(word))
        self.refuse(path, value, "is none of deny, allow, ceiling:AMOUNT")
        return UnknownPrice()

    def _on_unavailable(self, path: str, value: object) -> OutagePolicy:
        word, amount = _word_and_amount(value)
        if word == "allow_up_to":
            return OutagePolicy(OutageMode.ALLOW_UP_TO, self._amount(path, amount))
        if word in ("block", "allow") and amount is None:
            return OutagePolicy(OutageMode(word))
        self.refuse(path, value, "is none of block, allow, allow_up_to: AMOUNT")
        return OutagePolicy(OutageMode.BLOCK)


def _word_and_amount(value: object) -> tuple[object, object]:
    """Read "word", "word:amount" and {word: amount} alike."""
    if isinstance(value, dict) and len(value) == 1:
        return next(iter(value.items()))
    if isinstance(value, str) and ":" in value:
        word, _, amount = value.partition(":")
        return word.strip(), amount.strip()
    return value, None
