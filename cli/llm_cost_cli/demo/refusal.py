"""What the providers refuse, and how they say it."""

import json
from typing import Any, Final

from llm_cost_cli.demo.http_server import Request
from llm_cost_cli.demo.rates import RATES_BY_NAME

REQUEST_ID_HEADER: Final = {"openai": "x-request-id", "anthropic": "request-id"}
_ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def status_of(request: Request, provider: str) -> int:
    """Return the HTTP status of a request that either provider would refuse, else 0."""
    if not {"authorization", "x-api-key"} & set(request.headers):
        return 401
    try:
        asked = json.loads(request.body)
        rate = RATES_BY_NAME.get(asked["model"])
    except (ValueError, TypeError, KeyError):
        return 400
    if rate is None or rate.provider != provider:
        return 404
    if provider == "anthropic" and not asked.get("max_tokens"):
        return 400  # Anthropic insists on a limit
    return 0


def document(status: int, message: str) -> dict[str, Any]:
    """Return the body of a refusal that both clients understand."""
    kind = _ERROR_TYPES.get(status, "api_error")
    # Anthropic reads the outer type, OpenAI the inner object.
    return {"type": "error", "error": {"type": kind, "message": message, "code": kind}}
