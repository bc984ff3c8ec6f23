"""What the rows of all guards share, and what most guards inherit."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.ports import Guard
from gateway.core.span import Context


class GuardRow(BaseModel):
    """A guard in the policy. A guard's own row adds its `type` (a literal) and its parameters."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    action: Literal["allow", "flag", "mask", "block", "replace", "regenerate"] = Field(
        description="What a finding leads to; allow: it is only counted. replace and regenerate are for answers."
    )
    on_error: Literal["block", "allow"] = Field(
        description="What it means when the guard fails, is late or cannot read the text."
    )
    mode: Literal["enforce", "monitor"] = Field("enforce", description="monitor: findings are told, nothing else.")
    budget_ms: float = Field(1000, gt=0, le=60_000, description="The guard has not run when it takes longer.")
    operator: Literal["placeholder", "replace", "hash", "last4", "remove", "fake"] = Field(
        "placeholder", description="How a masked value is written; placeholders and fakes are restored in the answer."
    )
    text: str = Field("", description="The text that takes the place: of the value (replace) or of the answer.")
    attempts: int = Field(2, ge=1, le=5, description="How often an answer is asked for again (regenerate).")
    roles: list[Literal["system", "developer", "user", "assistant", "tool", ""]] | None = Field(
        None, description="Only texts of these roles; none: of all."
    )
    definitions: bool = Field(False, description="Also look at tool definitions, which apps and not users write.")


class BaseGuard:
    """A guard that does not look at the request. `reads_parts`: texts that stand in several places of a document are
    also shown in parts (kind `part`), where a word ends with its part; guards that judge wholes skip them."""

    reads_parts = True

    def for_call(self, _: Context) -> Guard:
        return self  # type: ignore[return-value]  # subclasses have the other two methods
