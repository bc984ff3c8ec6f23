"""Money is integer nano-dollars everywhere: no float holds a price, so sums are exact."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANO = 10**9
MAX_USD = 4 * 10**9


def nano_of(usd: str | float | Decimal) -> int:
    """Dollars as people write them -> nano-dollars, exactly. ValueError for what is not a plain, bounded, non-negative
    amount with at most nine decimals."""
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        raise ValueError("an amount of dollars, such as 12.50") from None
    _, digits, exponent = amount.as_tuple()
    if not amount.is_finite() or not isinstance(exponent, int) or exponent < -9 or not 0 <= amount <= MAX_USD:
        raise ValueError("an amount of dollars from 0 to 4 billion with at most nine decimals")
    return int("".join(map(str, digits)) + "0" * (exponent + 9))


def dollars(nano: int) -> str:
    """Exact, without an exponent and without trailing zeros: 1234500000 -> "1.2345"."""
    if nano < 0:
        return "-" + dollars(-nano)
    digits = str(nano).rjust(10, "0")
    return f"{digits[:-9]}.{digits[-9:]}".rstrip("0").rstrip(".")


def ceil_nano(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))
