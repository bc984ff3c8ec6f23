"""A short run of `make chaos`: processes are killed, stalled and starved, and every token is accounted for."""

import pytest

from chaos.run import Plan, run


# With Redis and with PostgreSQL: `make chaos`. Two workers that are killed on a machine with two cores, beside the other
# tests, are away for longer than a smoke has time to wait.
@pytest.mark.parametrize(("mode", "workers"), [("embedded", 1)])
async def test_no_call_is_lost_or_counted_twice_whatever_breaks(mode, workers, tmp_path):
    """LED-01, BUD-10, OPS-14..17: 0 unaccounted, 0 duplicates, totals equal, nothing stays reserved, overshoot 0."""
    result = await run(Plan(mode, seconds=20.0, seed=7, workers=workers), tmp_path)
    told = "\n".join(result.lines())
    assert result.differences == [], told
    assert any(fault.kills for fault in result.history.faults), told
    assert len(result.history.served) > 100, told
    assert any(status.startswith("402") for status in result.statuses), told
