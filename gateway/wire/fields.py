"""Checks of single fields by exact type and range; a Refusal names the field and what it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.errors import Refusal

MAX_NAME = 256

Check = Callable[[Any, str], None]


def wrong_type(param: str, wanted: str) -> Refusal:
    return Refusal("invalid_type", f"The field '{param}' must be {wanted}.", param=param)


def wrong_value(param: str, wanted: str) -> Refusal:
    return Refusal("invalid_value", f"The field '{param}' must be {wanted}.", param=param)


def missing(param: str) -> Refusal:
    return Refusal("missing_field", f"The field '{param}' is missing.", param=param)


def integer(low: int, high: int) -> Check:
    """bool is not an integer here, and neither is 1.0."""

    def check(value: Any, param: str) -> None:
        if type(value) is not int:
            raise wrong_type(param, "an integer")
        if not low <= value <= high:
            raise wrong_value(param, f"from {low} to {high}")

    return check


def number(low: float, high: float) -> Check:
    def check(value: Any, param: str) -> None:
        if type(value) is not int and type(value) is not float:
            raise wrong_type(param, "a number")
        if not low <= value <= high:
            raise wrong_value(param, f"from {low} to {high}")

    return check


def boolean(value: Any, param: str) -> None:
    if type(value) is not bool:
        raise wrong_type(param, "true or false")


def string(value: Any, param: str) -> None:
    if type(value) is not str:
        raise wrong_type(param, "a string")


def object_(value: Any, param: str) -> None:
    if type(value) is not dict:
        raise wrong_type(param, "an object")


def objects(value: Any, param: str) -> None:
    if type(value) is not list:
        raise wrong_type(param, "a list of objects")
    for index, entry in enumerate(value):
        if type(entry) is not dict:
            raise wrong_type(f"{param}[{index}]", "an object")


def string_or_strings(value: Any, param: str) -> None:
    if type(value) is list:
        for index, entry in enumerate(value):
            string(entry, f"{param}[{index}]")
    elif type(value) is not str:
        raise wrong_type(param, "a string or a list of strings")


def string_or_object(value: Any, param: str) -> None:
    if type(value) is not str and type(value) is not dict:
        raise wrong_type(param, "a string or an object")


def string_or_list(value: Any, param: str) -> None:
    if type(value) is not str and type(value) is not list:
        raise wrong_type(param, "a string or a list")


def model(value: Any, param: str) -> None:
    string(value, param)
    if not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise wrong_value(param, f"a printable name of 1 to {MAX_NAME} characters")


COUNT = integer(1, 2**31 - 1)
SEED = integer(-(2**63), 2**63 - 1)


def check(document: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Every known field that is there and not null; null means "not set", as OpenAI's own optional parameters do."""
    for name, value in document.items():
        known = checks.get(name)
        if known is not None and value is not None:
            known(value, name)


def required(document: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if document.get(name) is None:
            raise missing(name)
