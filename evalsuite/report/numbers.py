"""How numbers look on the page: about three digits, or two digits of their standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable


def number(value: float, decimals: int | None = None) -> str:
    """A number as tables show it: thousands separated, about three digits, NaN as a dash."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if decimals is None:
        size = abs(value)
        if value == round(value) and size < 1e15:
            decimals = 0
        elif size < 0.001 or size >= 1e15:
            return f"{value:.2e}".replace("-", "−")
        else:
            decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    return f"{value:,.{decimals}f}".replace("-", "−")


def decimals_of(errors: Iterable[float]) -> list[int | None]:
    """Decimals that show two digits of each standard error; None where there is none."""
    return [
        min(max(1 - math.floor(math.log10(se)), 0), 8) if se > 0 and math.isfinite(se) else None
        for se in errors
    ]


def interval(low: float, high: float, decimals: int | None) -> str:
    """Both ends in brackets; a dash where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return "[–]"
    return f"[{number(low, decimals)}, {number(high, decimals)}]"
