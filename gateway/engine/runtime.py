"""What one policy set needs to serve calls. Immutable: a reload builds a new one and swaps one reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.model import Caller, Plan
from gateway.core.ports import Authenticator, Prices, Upstream
from gateway.policy.compile import PolicySet


@dataclass(frozen=True, slots=True)
class Runtime:
    policy: PolicySet
    authenticator: Authenticator
    upstreams: Mapping[str, Upstream]
    prices: Prices
    loaded_at: float
    plans: dict[tuple[int, str, str], tuple[Caller, Plan]] = field(default_factory=dict, compare=False, repr=False)
    """(id of the caller, endpoint, model) -> what they were bound to. The caller is kept, so that its id stays its."""
