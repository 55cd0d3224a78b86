"""Where a web request may carry who pays: headers, cookies, the query, the path, JWT claims.

Each place reads one value. None: this request has no such thing, and the next alternative
may answer. `Unusable`: it is there and cannot be believed (sent twice, say), and then no
alternative answers in its stead: a client must not choose the source by breaking another.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from llm_cost.middleware import Request

LARGEST_READ_CHARACTERS: Final = 16_384
"""What is longer is not looked into. Tokens and paths of real requests are far below; servers
accept more, and nobody may make every request pay for parsing a megabyte."""

_NESTED_QUOTE: Final = '"'


class Unusable(ValueError):
    """The request has a value there that must not be used; the message says why."""


@dataclass(slots=True)
class Reading:
    """One request while it is read; a token that several fields use is decoded once."""

    request: Request
    claims: "dict[Place, Mapping[str, Any] | None]" = field(default_factory=dict)


class Place(Protocol):
    """One place of a request; `str()` of it is how the setting names it."""

    def read(self, reading: Reading) -> object:
        """Return the value or None. Raises `Unusable`."""


@dataclass(frozen=True, slots=True)
class Header:
    """A request header."""

    name: str

    def __str__(self) -> str:
        return f"header:{self.name}"

    def read(self, reading: Reading) -> str | None:
        """Return the header's text."""
        value = reading.request.headers.get(self.name)
        if value is None:
            return None
        # A repeated header arrives joined by commas, from servers as from `Headers`.
        if "," in value:
            raise Unusable("was sent more than once, or holds a comma")
        return _from_utf8(_limited(value).strip())


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie of the request."""

    name: str

    def __str__(self) -> str:
        return f"cookie:{self.name}"

    def read(self, reading: Reading) -> str | None:
        """Return the cookie's value, percent-decoded."""
        header = reading.request.headers.get("cookie")
        if not header:
            return None
        pairs = (pair.strip().partition("=") for pair in _limited(header).split(";"))
        value = _only([value for name, _, value in pairs if name == self.name])
        return None if value is None else _percent_decoded(value.strip(_NESTED_QUOTE))


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter."""

    name: str

    def __str__(self) -> str:
        return f"query:{self.name}"

    def read(self, reading: Reading) -> str | None:
        """Return the parameter's value, percent-decoded."""
        query = reading.request.query
        if not query:
            return None
        pairs = (pair.partition("=") for pair in _limited(query).split("&"))
        value = _only([value for name, _, value in pairs if name == self.name])
        return None if value is None else _percent_decoded(value.replace("+", " "))


@dataclass(frozen=True, slots=True)
class Path:
    """One segment of the path: the `captured`th, where the segments before it match.

    `pattern`: the text that a segment must be, or None for any; `open_end`: more may follow.
    """

    text: str
    pattern: tuple[str | None, ...]
    captured: int
    open_end: bool

    def __str__(self) -> str:
        return f"path:{self.text}"

    def read(self, reading: Reading) -> str | None:
        """Return the captured segment, as the application's router sees it."""
        segments = _limited(_path_of(reading.request)).removesuffix("/").split("/")[1:]
        if len(segments) < len(self.pattern):
            return None
        if len(segments) > len(self.pattern) and not self.open_end:
            return None
        for wanted, segment in zip(self.pattern, segments, strict=False):
            if wanted is not None and wanted != segment:
                return None
        captured = segments[self.captured]
        if "\ufffd" in captured:  # how servers decode bytes that are not text
            raise Unusable("is not UTF-8")
        return captured


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a JWT that the application (or its gateway) verifies; we only read it."""

    name: str
    token: "Header | Cookie | Query"

    def __str__(self) -> str:
        return f"jwt:{self.name}" + ("" if self.token == AUTHORIZATION else f"@{self.token}")

    def read(self, reading: Reading) -> object:
        """Return the claim: by its whole name, or else step by step along the dots."""
        if self.token not in reading.claims:
            reading.claims[self.token] = _claims(self.token.read(reading))
        claims = reading.claims[self.token]
        if claims is None:
            return None
        if self.name in claims:  # namespaced claims are URLs: https://example.com/plan
            return claims[self.name]
        found: Any = claims
        for step in self.name.split("."):
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return found


AUTHORIZATION: Final = Header("Authorization")


def _claims(token: str | None) -> Mapping[str, Any] | None:
    if token is None:
        return None
    scheme, _, rest = token.partition(" ")
    if rest and scheme.lower() == "bearer":
        token = rest.strip()
    parts = token.split(".")
    if len(parts) != 3:
        return None  # another kind of credential: an API key, basic authentication
    if not all(parts):
        raise Unusable("holds a token without a header, payload or signature")
    payload = parts[1]
    try:
        padded = payload + "=" * (-len(payload) % 4)  # tokens leave it out
        claims = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise Unusable("holds a token that is not base64 of JSON") from None
    if not isinstance(claims, Mapping):
        raise Unusable("holds a token whose payload is not an object")
    return claims


def _path_of(request: Request) -> str:
    """The decoded path from the server's root, mounts included."""
    environ = request.scope
    if "wsgi.version" not in environ:
        return request.path
    # WSGI carries bytes as latin-1 text.
    return _from_utf8(str(environ.get("SCRIPT_NAME", "")) + request.path)


def _only(values: list[str]) -> str | None:
    if len(values) > 1:
        raise Unusable("was sent more than once")
    return values[0] if values else None


def _limited(text: str) -> str:
    if len(text) > LARGEST_READ_CHARACTERS:
        raise Unusable(f"is longer than {LARGEST_READ_CHARACTERS} characters")
    return text


def _percent_decoded(text: str) -> str:
    if "%" not in text:
        return _from_utf8(text)
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError:
        raise Unusable("is not UTF-8") from None


def _from_utf8(text: str) -> str:
    """Servers hand over bytes as latin-1 text; ids are UTF-8 everywhere in this project."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        raise Unusable("is not UTF-8") from None
