"""What the memory store counts with: windows, running calls, buckets."""

from __future__ import annotations

from gateway.core.accounts import Ask, Balance
from gateway.stores.balances import FILL_S, FUZZ, balance_of, bucket_of


class Counter:
    """Of a calendar window that ends at the wall time `end_at`. `_open`: lease -> what it holds here."""

    __slots__ = ("_end_at", "_open", "reserved", "spent")

    def __init__(self, spent: int, end_at: float | None) -> None:
        self.spent = spent
        self.reserved = 0
        self._open: dict[str, int] = {}
        self._end_at = end_at

    def level(self, _amount: int, _now: float) -> float:
        return self.spent

    def room(self, want: int, amount: int, _now: float) -> bool:
        return self.spent + self.reserved + want <= amount

    def holds(self, lease: str) -> bool:
        return lease in self._open

    def hold(self, lease: str, want: int) -> None:
        self.reserved += want
        self._open[lease] = self._open.get(lease, 0) + want

    def settle(self, lease: str, _reserved: int, actual: int, _amount: int, _now: float) -> bool:
        """Books `actual`; False when it does not know the lease."""
        held = self._open.pop(lease, None)
        if held is None:
            return False
        self.reserved -= held
        self.spent += actual
        return True

    def balance(self, ask: Ask, _now: float, wall: float) -> Balance:
        return balance_of(ask, self.spent, self.reserved, wall)

    def idle(self, _now: float, wall: float) -> bool:
        """Whether dropping it loses nothing."""
        return not self._open and self._end_at is not None and self._end_at <= wall


class Running(Counter):
    """What runs at the same time: nothing is spent."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0, 0.0)

    def settle(self, lease: str, _reserved: int, _actual: int, _amount: int, _now: float) -> bool:
        self.reserved -= self._open.pop(lease, 0)
        return True


class Bucket(Counter):
    """Refills evenly. `_used` is what has not refilled yet: more than the limit's amount when more was booked than was
    there. Nothing is reserved: what is asked for is taken at once, and the difference comes back."""

    __slots__ = ("_at", "_rate", "_used")

    def __init__(self, now: float) -> None:
        super().__init__(0, None)
        self._used = 0.0
        self._at = now
        self._rate = 0

    def level(self, amount: int, now: float) -> float:
        """Brings it up to date, at the rate of the limit's present amount."""
        if now > self._at:
            self._used = max(0.0, self._used - (now - self._at) * amount / FILL_S)
            self._at = now
        self._rate = amount
        return self._used

    def room(self, want: int, amount: int, now: float) -> bool:
        return self.level(amount, now) + want <= amount + FUZZ

    def holds(self, _lease: str) -> bool:
        return True

    def hold(self, _lease: str, want: int) -> None:
        self._used += want

    def settle(self, _lease: str, reserved: int, actual: int, amount: int, now: float) -> bool:
        self._used = max(0.0, self.level(amount, now) + actual - reserved)
        return True

    def balance(self, ask: Ask, now: float, _wall: float) -> Balance:
        return bucket_of(ask, self.level(ask.limit.amount, now))

    def idle(self, now: float, _wall: float) -> bool:
        return self.level(self._rate, now) == 0.0
