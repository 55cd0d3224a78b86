"""What a call cost: `cost_of(usage, provider=..., model=..., at=...)`. Pure.

- `lookup.py`  `cost_of`, the prices in use, and the bounded cache of names in front of them
- `catalog.py`  names to a price row: `table.py` (generated) and `overlay.py` (ours)
- `custom.py`  `PriceBook`: contracts, discounts, models that no table knows
- `priced_model.py`  a row, a tier and a region to a function per stretch of time
- `compiled.py`, `straight_line.py`  rates to a function over `Usage`, in integers
- `buckets.py`  the rules: which price pays for which bucket
- `reported.py`  `cost_reported`: the amount that a provider itself reports
- `price_list.py`, `comparison.py`, `stored.py`, `checking.py`  a table as a list of rates, beside
  another one, and as a document that is checked row by row
"""

from llm_cost.pricing.cost import Cost, PriceStatus
from llm_cost.pricing.lookup import cost_of, in_use, use
from llm_cost.pricing.reported import cost_reported

__all__ = ["Cost", "PriceStatus", "cost_of", "cost_reported", "in_use", "use"]
