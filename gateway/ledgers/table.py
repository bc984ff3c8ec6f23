"""Which ledger an address names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from gateway.core.ports import Ledger, LedgerUnusable
from gateway.ledgers.sqlite import open_sqlite


async def open_ledger(
    url: str, folder: Path, *, node: str, sync: str, lock: bool = True, read_only: bool = False
) -> Ledger:
    """ "": ledger.db in `folder`. sqlite:PATH, relative to `folder`. postgresql://..."""
    if url.startswith(("postgresql://", "postgres://")):
        from gateway.ledgers.postgres import open_postgres  # noqa: PLC0415 - asyncpg is for those who use it

        return await open_postgres(url, node=node, read_only=read_only)
    if url and not url.startswith("sqlite:"):
        raise LedgerUnusable("the ledger's address is sqlite:PATH or postgresql://..., or empty for ledger.db")
    if sync not in {"full", "normal"}:
        raise LedgerUnusable("the ledger's sync is full or normal")
    path = folder / (url.removeprefix("sqlite:") or "ledger.db")
    mode = cast("Literal['full', 'normal']", sync)
    return await open_sqlite(path, node=node, sync=mode, lock=lock, read_only=read_only)
