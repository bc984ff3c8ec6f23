"""How long a test waits for what must come.

One bound for all of them, far above what a sound run needs: machines are shared, and only what hangs may get there.
"""

from __future__ import annotations

import asyncio

PATIENCE_S = 60.0


def patience() -> asyncio.Timeout:
    """`async with patience():` what hangs inside is a TimeoutError."""
    return asyncio.timeout(PATIENCE_S)
