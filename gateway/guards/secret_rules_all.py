"""All rules for secrets."""

from __future__ import annotations

from gateway.guards import (
    secret_rules_ai,
    secret_rules_cloud,
    secret_rules_code,
    secret_rules_data,
    secret_rules_general,
    secret_rules_services,
)
from gateway.guards.secret_rules import Rule

MIN_ENTROPY = 3.5


def rules(min_entropy: float = MIN_ENTROPY) -> tuple[Rule, ...]:
    """Those of vendors first: where two find the same secret, the earlier tells it."""
    return (
        *secret_rules_code.RULES,
        *secret_rules_cloud.RULES,
        *secret_rules_ai.RULES,
        *secret_rules_services.RULES,
        *secret_rules_data.RULES,
        *secret_rules_general.rules(min_entropy),
    )
