"""What a run consists of: callers, budgets, the policy that says so, and the processes of its mode."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError

from chaos.answers import CACHED_NANO, INPUT_NANO, OUTPUT_NANO, Rates
from chaos.clock import SteppedClock
from chaos.history import Budget, Counter, Row
from chaos.servers import Gateway, Oracle, Server, Valkey
from gateway.core.accounts import Entry, Query
from gateway.core.money import dollars
from gateway.ledgers.table import open_ledger
from tests.support.postgres import Postgres, postgres_server

_AWAY_S = 60.0

Mode = Literal["embedded", "redis", "redis-postgres"]


@dataclass(frozen=True, slots=True)
class Caller:
    name: str
    team: str

    @property
    def key(self) -> str:
        """Made when it is needed: no key lies in a file of the repository."""
        return "gw-" + hashlib.sha256(self.name.encode()).hexdigest()[:43]


CALLERS = (Caller("red-1", "red"), Caller("red-2", "red"), Caller("blue-1", "blue"), Caller("blue-2", "blue"))


def budgets_for(seconds: float) -> tuple[Budget, ...]:
    """Some that run out in the first half of such a run (and begin anew when the clock steps), and some that do not.
    NAME:VALUE is the counter of VALUE in a row NAME that counts each caller by itself."""
    poor, rich = int(seconds * 250_000), 10**12
    each = (Budget(f"each:{caller.name}", "caller", caller.name, rich) for caller in CALLERS)
    return (
        Budget("red", "team", "red", poor, "day"),
        Budget("red-1", "caller", "red-1", poor // 2, "hour"),
        Budget("blue", "team", "blue", rich, "month"),
        Budget("blue-2", "caller", "blue-2", poor),
        *each,
    )


_POLICY = """\
providers:
  oracle: {{shape: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: "env:ORACLE_KEY"}}
models:
  oracle: {{targets: [{{provider: oracle, model: oracle-1}}]}}
prices:
  oracle: {{provider: oracle, model: "oracle*", input: {input}, cached_input: {cached}, output: {output}}}
accounting: {{max_output_tokens: 150, disconnect: {disconnect}}}
rate_limits:
  all: {{concurrency: 1000}}
callers:
{callers}
budgets:
{budgets}
"""


def policy(port: int, budgets: tuple[Budget, ...], disconnect: str) -> str:
    """Prices in dollars a million tokens: a nano-dollar a token is a thousandth of that."""
    return _POLICY.format(
        port=port,
        input=INPUT_NANO / 1000,
        cached=CACHED_NANO / 1000,
        output=OUTPUT_NANO / 1000,
        disconnect=disconnect,
        callers="\n".join(
            f'  {caller.name}: {{key_sha256: ["{hashlib.sha256(caller.key.encode()).hexdigest()}"], '
            f"team: {caller.team}, models: [oracle]}}"
            for caller in CALLERS
        ),
        budgets="\n".join({_row(budget): None for budget in budgets}),
    )


def _row(budget: Budget) -> str:
    name, each, _ = budget.name.partition(":")
    held = "each: [caller]" if each else f"match: {{{budget.dimension}: {budget.value}}}"
    return f"  {name}: {{{held}, usd: {dollars(budget.amount_nano)}, window: {budget.window}}}"


@dataclass(frozen=True, slots=True)
class Rig:
    """A running gateway, its provider and what it keeps its state in."""

    gateway: Gateway
    oracle: Oracle
    valkey: Valkey | None
    postgres: Postgres | None
    ledger: str
    budgets: tuple[Budget, ...]
    clock: SteppedClock

    async def rows(self) -> list[Row]:
        ledger = await open_ledger(self.ledger, self.gateway.data, node="chaos", sync="full", read_only=True)
        try:
            return [_row_of(entry, self.clock) async for entry in ledger.entries(Query())]
        finally:
            await ledger.close()

    async def counters(self) -> dict[str, Counter]:
        found: dict[str, Counter] = {}
        for line in await self._balances():
            for budget in self.budgets:
                name, each, value = budget.name.partition(":")
                counter, _, window = line["counter"].partition("@")
                if line["name"] == name and (not each or value in counter):
                    amounts = (line["amount_nano"], line["spent_nano"], line["reserved_nano"])
                    found[budget.name] = Counter(*amounts, window)
        return found

    async def _balances(self) -> list[dict[str, Any]]:
        """Asked again while the workers or the ledger are away for a moment, as they are after a fault. That is a 503;
        any other error is a defect."""
        end = time.monotonic() + _AWAY_S
        while True:
            try:
                lines: list[dict[str, Any]] = (await self.gateway.admin("/budgets"))["budgets"]
                return lines
            except HTTPError as error:
                if error.code != http.HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > end:
                    raise
                await asyncio.sleep(float(error.headers["retry-after"]))


def _row_of(entry: Entry, clock: SteppedClock) -> Row:
    intent, outcome = entry.intent, entry.outcome
    who, at = intent.origin, clock.right(intent.at)
    row = Row(intent.attempt, who.caller, who.team, at, intent.reserved_nano + entry.extended_nano, shown_at=intent.at)
    if outcome is None:
        return row
    cost_nano = (outcome.cost_nano or 0) + entry.corrected_nano
    return replace(row, state=outcome.state, cost_nano=cost_nano, flags=outcome.flags)


@contextlib.asynccontextmanager
async def running(
    mode: Mode, folder: Path, seconds: float, workers: int, disconnect: str = "close"
) -> AsyncIterator[Rig]:
    """Everything is up; all of it is gone afterwards, but for its files."""
    async with contextlib.AsyncExitStack() as stack:
        oracle, budgets, settings, ledger = (
            Oracle(folder / "oracle", Rates()),
            budgets_for(seconds),
            _settings(workers),
            "",
        )
        await _up(stack, oracle)
        valkey = None if mode == "embedded" else Valkey(folder / "valkey")
        if valkey is not None:
            await _up(stack, valkey)
            settings["GATEWAY_STORE"] = f"redis://127.0.0.1:{valkey.port}/0"
        postgres = stack.enter_context(postgres_server()) if mode == "redis-postgres" else None
        if postgres is not None:
            ledger = settings["GATEWAY_LEDGER"] = postgres.dsn
        said = policy(oracle.port, budgets, disconnect)
        clock = SteppedClock(folder / "clock")
        gateway = Gateway(folder / "gateway", said, {**settings, **clock.environ}, _secret("admin"))
        await _up(stack, gateway)
        yield Rig(gateway, oracle, valkey, postgres, ledger, budgets, clock)


def _settings(workers: int) -> dict[str, str]:
    return {"GATEWAY_WORKERS": str(workers), "ORACLE_KEY": _secret("provider")}


def _secret(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


async def _up(stack: contextlib.AsyncExitStack, server: Server) -> None:
    stack.push_async_callback(server.kill)
    await server.start()
