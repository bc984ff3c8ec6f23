"""`make chaos`: the proof of the accounting. Exit status 1 when what provider, ledger and callers saw differs."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path
from typing import get_args

import uvloop

from chaos.rig import Mode
from chaos.run import Plan, run
from chaos.servers import commit


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--mode", choices=get_args(Mode), action="append", help="default: each for its share of time")
    parser.add_argument("--kills", type=int, help="go on until so many kills are done in each mode")
    parser.add_argument("--workers", type=int, help="processes of the gateway; default 1, with Redis 2")
    parser.add_argument("--clients", type=int, default=32, help="calls at a time (default 32)")
    parser.add_argument("--disconnect", choices=("close", "drain"), default="close")
    parser.add_argument("--keep", type=Path, help="folder for the files of the run")
    options = parser.parse_args()
    modes = options.mode or list(get_args(Mode))
    print(f"commit {commit()}, seed {options.seed}", flush=True)
    failed = False
    for mode in modes:
        workers = options.workers or (1 if mode == "embedded" else 2)
        share_s = options.seconds / len(modes)
        plan = Plan(mode, share_s, options.seed, workers, options.kills, options.disconnect, options.clients)
        with tempfile.TemporaryDirectory(prefix="chaos-") as made:
            result = uvloop.run(run(plan, (options.keep or Path(made)) / mode))
        print("\n".join(result.lines()), flush=True)
        failed |= bool(result.differences)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
