"""Calendar windows, in UTC. A counter's key holds its window, so that a reset is a new key and never a racing write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from gateway.core.accounts import Ask, Limit, Window


def bound(limit: Limit, amount: int, at: float) -> Ask:
    """The ask for `limit` in the window of the wall time `at`."""
    key, start, end = _counted(limit.counter, limit.window, int(at) // 3600)
    return Ask(limit, key, amount, start, end)


@lru_cache(maxsize=8192)
def _counted(counter: str, window: Window, hour: int) -> tuple[str, float, float | None]:
    """The counter's key in its window, and when that begins and ends. No window is shorter than an hour but those
    without a calendar."""
    name, start, end = _window(window, hour)
    return f"{counter}@{name}" if name else counter, start, end


@lru_cache(maxsize=64)
def _window(window: Window, hour: int) -> tuple[str, float, float | None]:
    """Its name, its start and its end."""
    now = datetime.fromtimestamp(hour * 3600, UTC)
    if window == "hour":
        return now.strftime("%Y-%m-%dT%H"), now.timestamp(), (now + timedelta(hours=1)).timestamp()
    if window == "day":
        start = now.replace(hour=0)
        return start.strftime("%Y-%m-%d"), start.timestamp(), (start + timedelta(days=1)).timestamp()
    if window == "month":
        start = now.replace(hour=0, day=1)
        return start.strftime("%Y-%m"), start.timestamp(), (start + timedelta(days=32)).replace(day=1).timestamp()
    return "", 0.0, None
