"""LLM_COST_IDENTITY: where inbound requests carry who pays, in one readable line.

    user=jwt:sub|header:X-User-Id; tier=jwt:app_metadata.plan; group=path:/api/{group}/*

Parsed once. Reading a request costs microseconds and never raises: what cannot be believed
leaves the field open, and is logged once. Nothing here checks a signature: see
docs/attribution.md for what may be believed.
"""

import logging
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from llm_cost import faults
from llm_cost.attribution import checked_id
from llm_cost.errors import ConfigurationError, InvalidSubject
from llm_cost.identity_places import (
    AUTHORIZATION,
    Claim,
    Cookie,
    Header,
    Path,
    Place,
    Query,
    Reading,
    Unusable,
)
from llm_cost.middleware import Request
from llm_cost.policy.decision import Identity
from llm_cost.settings import IDENTITY, identity_text

_log = logging.getLogger("llm_cost")

MOST_ALTERNATIVES: Final = 8
"""Of one field. Each is read in every request; more is a list that somebody generated."""
_EXAMPLE: Final = "user=header:X-User-Id; tier=jwt:app_metadata.plan; group=path:/api/{group}/*"
_FIELDS: Final = ("user", "tier", "group")
_BAGGAGE: Final = "baggage"
_TRUSTED: Final = "trusted"
_NOBODY: Final = Identity()
# RFC 9110's token: what may be the name of a header or a cookie.
_NAME_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`~")

_complained_of: set[str] = set()  # bounded: one entry per field and place of the setting


@dataclass(frozen=True, slots=True)
class IdentitySource:
    """Reads who pays out of a request; pass it as `identify=` of a middleware.

    trust_baggage: whether baggage of the caller may fill what the request leaves open.
    """

    user: tuple[Place, ...] = ()
    tier: tuple[Place, ...] = ()
    group: tuple[Place, ...] = ()
    trust_baggage: bool = False

    def __call__(self, request: Request) -> Identity:
        """Return who pays, with None for what the request does not say. Never raises."""
        with faults.contained("reading who pays from a request"):
            reading = Reading(request)
            return Identity(
                _first("user", self.user, reading),
                _first("tier", self.tier, reading),
                _first("group", self.group, reading),
            )
        return _NOBODY


def identity_from_environment(environment: Mapping[str, str] | None = None) -> IdentitySource:
    """Return what LLM_COST_IDENTITY describes; where it is not set, a source of nobody.

    Raises `ConfigurationError` for a value that cannot be read.
    """
    text = identity_text(environment)
    return parse(text) if text else IdentitySource()


def parse(text: str) -> IdentitySource:
    """Return the source that `text` describes. Raises `ConfigurationError`."""
    places: dict[str, tuple[Place, ...]] = {}
    trust_baggage = False
    for clause in filter(None, (clause.strip() for clause in text.split(";"))):
        field, equals, alternatives = (part.strip() for part in clause.partition("="))
        if field == _BAGGAGE and alternatives == _TRUSTED:
            trust_baggage = True
            continue
        if not equals or field not in _FIELDS:
            raise _error(
                clause, "is not user=, tier= or group= and where to read it, nor baggage=trusted"
            )
        if field in places:
            raise _error(clause, f"names {field} again; join its places by '|' in one clause")
        places[field] = _alternatives(clause, alternatives)
    if not places:
        raise _error(text, "names no place of user, tier or group")
    return IdentitySource(**places, trust_baggage=trust_baggage)


def _alternatives(clause: str, text: str) -> tuple[Place, ...]:
    alternatives = [alternative.strip() for alternative in text.split("|")]
    if len(alternatives) > MOST_ALTERNATIVES:
        raise _error(clause, f"has more than {MOST_ALTERNATIVES} alternatives; name fewer")
    return tuple(_place(alternative) for alternative in alternatives)


def _place(text: str) -> Place:
    kind, colon, name = (part.strip() for part in text.partition(":"))
    make = _PLACES.get(kind)
    if make is None or not colon or not name:
        raise _error(text, f"is not one of {', '.join(f'{known}:NAME' for known in _PLACES)}")
    return make(name)


def _header(name: str) -> Header:
    _require_name(f"header:{name}", name)
    return Header(name)


def _cookie(name: str) -> Cookie:
    _require_name(f"cookie:{name}", name)
    return Cookie(name)


def _query(name: str) -> Query:
    if not name or set(name) & set("&=%# "):
        raise _error(f"query:{name}", "is not the plain name of one query parameter")
    return Query(name)


def _require_name(place: str, name: str) -> None:
    if not name or not set(name) <= _NAME_CHARACTERS:
        raise _error(place, "has no name, or characters that no such name can have")


def _claim(text: str) -> Claim:
    """Read `sub`, `app_metadata.plan`, `sub@cookie:session`; a claim itself may hold an @."""
    for kind, make in _TOKEN_PLACES.items():
        claim, at, name = text.rpartition(f"@{kind}:")
        if at:
            return _checked_claim(text, claim.strip(), make(name.strip()))
    return _checked_claim(text, text, AUTHORIZATION)


def _checked_claim(text: str, claim: str, token: Header | Cookie | Query) -> Claim:
    if not all(claim.split(".")):
        raise _error(f"jwt:{text}", "names no claim between two dots; write jwt:app_metadata.plan")
    return Claim(claim, token)


def _path(text: str) -> Path:
    """Read `2` (the second segment) or `/api/{group}/*` (a last * stands for any rest)."""
    if text.isdecimal() and int(text) > 0:
        return Path(text, (None,) * int(text), int(text) - 1, open_end=True)
    problem = "is neither a segment's number from 1 nor a pattern such as /api/{group}/*"
    if not text.startswith("/"):
        raise _error(f"path:{text}", problem)
    segments = text[1:].removesuffix("/").split("/")
    open_end = segments[-1] == "*"
    if open_end:
        segments.pop()
    captured = [index for index, segment in enumerate(segments) if _is_capture(segment)]
    if len(captured) != 1 or any(
        not segment or (not _is_capture(segment) and set(segment) & set("{}*") and segment != "*")
        for segment in segments
    ):
        raise _error(f"path:{text}", f"{problem}; exactly one whole segment stands in braces")
    pattern = tuple(
        None if segment == "*" or _is_capture(segment) else segment for segment in segments
    )
    return Path(text, pattern, captured[0], open_end)


def _is_capture(segment: str) -> bool:
    return segment.startswith("{") and segment.endswith("}") and not set(segment[1:-1]) & set("{}*")


_TOKEN_PLACES: Final[Mapping[str, Callable[[str], Header | Cookie | Query]]] = {
    "header": _header,
    "cookie": _cookie,
    "query": _query,
}
_PLACES: Final[Mapping[str, Callable[[str], Place]]] = {
    **_TOKEN_PLACES,
    "jwt": _claim,
    "path": _path,
}


def _error(part: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"{IDENTITY}: {part!r} {problem}. For example: {_EXAMPLE}")


def _first(field: str, places: tuple[Place, ...], reading: Reading) -> str | None:
    for place in places:
        try:
            value = place.read(reading)
            if value is None or value == "":
                continue
            return checked_id(f"the {field} from {place}", value)
        except Unusable as error:
            _complain(f"the {field} from {place}", f"{place} {error}", field)
        except InvalidSubject as error:
            _complain(f"the {field} from {place}", str(error), field)
        return None
    return None


def _complain(about: str, problem: str, field: str) -> None:
    if about not in _complained_of:
        _complained_of.add(about)
        _log.warning("%s: %s; such requests have no %s (logged once)", IDENTITY, problem, field)
