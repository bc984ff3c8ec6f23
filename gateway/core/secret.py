"""A string that does not print itself."""

from __future__ import annotations


class Secret:
    """Holds a credential. `reveal()` is the only way to the value; repr, str, format and pickling show stars.

    Shown hint: the last four characters of values of at least twenty, nothing of shorter ones.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        if not value:
            raise ValueError("a secret must not be empty")
        self._value = value

    def reveal(self) -> str:
        return self._value

    def hint(self) -> str:
        return f"…{self._value[-4:]}" if len(self._value) >= 20 else "…"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "Secret(****)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not pickled")
