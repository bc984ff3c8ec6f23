"""Where a bug is, for the log: its text may quote what was asked, so only its type and its place are told."""

from __future__ import annotations


def place(bug: BaseException) -> str:
    """The file and line that raised it, without the folders above the package; "" when it was not raised."""
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{trace.tb_frame.f_code.co_filename.rsplit('gateway/', 1)[-1]}:{trace.tb_lineno}"
