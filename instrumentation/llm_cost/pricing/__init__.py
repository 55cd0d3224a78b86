"""What a call cost: `cost_of(usage, provider=..., model=..., at=...)`. Pure.

- `lookup.py`  `cost_of`, and the bounded cache of names in front of it
- `catalog.py`  names to a price row: `table.py` (generated) and `overlay.py` (ours)
- `priced_model.py`  a row, a tier and a region to a function per stretch of time
- `compiled.py`  rates to a function over `Usage`, in integers
- `buckets.py`  the rules: which price pays for which bucket
"""

from llm_cost.pricing.cost import Cost, PriceStatus
from llm_cost.pricing.lookup import cost_of

__all__ = ["Cost", "PriceStatus", "cost_of"]
