"""A small table for a terminal: aligned columns, and nothing in them that could steer the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int], foot: Sequence[str] = ()) -> str:
    """`right`: the columns that end at the same place. `foot` is set off by a line."""
    lines = [[shown(cell) for cell in line] for line in (head, *rows, *([foot] if foot else []))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    told = [_line(line, widths, right) for line in lines]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    if foot:
        told.insert(-1, rule)
    return "\n".join([told[0], rule, *told[1:]])


def shown(text: str) -> str:
    """Names come from callers: control characters are written out."""
    return "".join(_visible(text)) if not text.isprintable() else text


def _visible(text: str) -> Iterator[str]:
    for char in text:
        yield char if char.isprintable() else char.encode("unicode_escape").decode()


def _line(cells: Sequence[str], widths: Sequence[int], right: frozenset[int]) -> str:
    placed = [
        cell.rjust(width) if at in right else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()
