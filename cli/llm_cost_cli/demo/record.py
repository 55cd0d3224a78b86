"""What the provider server has served: the bill that everything else is compared with."""

from dataclasses import asdict, dataclass
from typing import Any

from llm_cost_cli.demo.rates import Rate, Tokens, price_nano_usd


@dataclass(frozen=True, slots=True)
class Served:
    """One billed request. `outcome`: ok, cut (by a fault) or cancelled (by the client)."""

    request_id: str
    response_id: str
    provider: str
    model: str
    operation: str
    streamed: bool
    outcome: str
    tokens: Tokens
    price_nano_usd: int


class Record:
    """Every billed request in order, and how many were refused without a bill."""

    def __init__(self) -> None:
        self.rows: list[Served] = []
        self.refused = 0

    def bill(self, rate: Rate, tokens: Tokens, **facts: Any) -> None:
        """Add one request at the price list's price."""
        self.rows.append(
            Served(tokens=tokens, price_nano_usd=price_nano_usd(rate, tokens), **facts)
        )

    @property
    def total_nano_usd(self) -> int:
        """The whole bill."""
        return sum(row.price_nano_usd for row in self.rows)

    def document(self, *, with_rows: bool) -> dict[str, Any]:
        """Return what `GET /served` answers."""
        totals: dict[str, Any] = {
            "calls": len(self.rows),
            "refused": self.refused,
            "total_nano_usd": self.total_nano_usd,
        }
        return totals | ({"rows": [asdict(row) for row in self.rows]} if with_rows else {})
