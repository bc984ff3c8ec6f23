"""A short run of `make chaos`: processes are killed, stalled and starved, and every token is accounted for."""

import pytest

from chaos.run import Plan, run


# The seed decides in which order things break. With PostgreSQL: `make chaos`.
@pytest.mark.parametrize(("mode", "workers", "seed"), [("embedded", 1, 7), ("redis", 2, 164)])
async def test_no_call_is_lost_or_counted_twice_whatever_breaks(mode, workers, seed, tmp_path):
    """LED-01, BUD-10, OPS-14..17: 0 unaccounted, 0 duplicates, totals equal, nothing stays reserved, overshoot 0."""
    result = await run(Plan(mode, seconds=10.0, seed=seed, workers=workers), tmp_path)
    told = "\n".join(result.lines())
    assert result.differences == [], told
    assert any(fault.kills for fault in result.history.faults), told
    assert len(result.history.served) > 100, told
    assert any(status.startswith("402") for status in result.statuses), told
