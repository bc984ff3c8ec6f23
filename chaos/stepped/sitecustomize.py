"""Imported by every interpreter that has this folder on its path, before the gateway is: its wall clock is this
machine's and an offset that another process writes (`chaos.clock`)."""

import mmap
import os
import struct
import time
from pathlib import Path

_now = time.time
with Path(os.environ["CHAOS_CLOCK"]).open("rb") as _file:
    _offset = mmap.mmap(_file.fileno(), 0, prot=mmap.PROT_READ)


def _stepped() -> float:
    (seconds,) = struct.unpack_from("d", _offset)
    return _now() + float(seconds)


time.time = _stepped
