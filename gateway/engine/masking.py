"""Findings that mask -> edits of a text, with the stand-ins of the call's vault."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.rules import Rule
from gateway.core.span import Finding, Text
from gateway.masks.edits import Edit, JsonState, mask_edits, merge
from gateway.masks.vault import Vault


def masked(
    text: Text, masks: Sequence[tuple[Rule, Finding]], vault: Vault, state: JsonState | None = None
) -> list[Edit]:
    """`masks` are findings in this text with the rules they came from. `state`: where an escaped text begins."""
    merged = merge((finding, rule) for rule, finding in masks)
    ranges = [(finding.start, finding.end) for finding, _ in merged]

    def write(index: int, value: str) -> str:
        finding, rule = merged[index]
        return vault.stand_in(finding.kind, value, rule.operator, rule.text)

    return mask_edits(text.raw, ranges, write, (state or JsonState()) if text.escaped else None)


def joined(first: Sequence[Edit], second: Sequence[Edit]) -> list[Edit]:
    """Both in order; of the second only what does not overlap the first."""
    free = [one for one in second if not any(one.start < other.end and other.start < one.end for other in first)]
    return sorted([*first, *free], key=lambda edit: edit.start)
