"""A process that appends attempts as fast as it can and prints what the ledger has acknowledged, until it is killed. One
of them runs all the time.

python -m tests.ledgers.postgres_child DSN NODE
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys

from gateway.ledgers.postgres import open_postgres
from tests.ledgers.contract import intent, outcome


async def append(dsn: str, node: str) -> None:
    ledger = await open_postgres(dsn, node=node)
    numbers = itertools.count()
    await ledger.intend(intent(f"{node}-runs", node=node))
    os.write(1, f"intent {node}-runs\n".encode())

    async def one_after_another() -> None:
        for number in numbers:
            attempt = f"{node}-{number}"
            await ledger.intend(intent(attempt, node=node))
            os.write(1, f"intent {attempt}\n".encode())
            await ledger.conclude(outcome(attempt, number))
            os.write(1, f"outcome {attempt}\n".encode())

    await asyncio.gather(*(one_after_another() for _ in range(8)))


asyncio.run(append(*sys.argv[1:]))
