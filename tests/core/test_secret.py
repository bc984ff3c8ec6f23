import copy
import json
import pickle

import pytest

from gateway.core.secret import Secret


@pytest.mark.parametrize("length", [4, 8, 19, 20, 43, 200])
def test_at_most_the_last_four_characters_of_a_long_secret_are_shown(length):
    """LOG-07"""
    value = "".join(chr(ord("a") + index % 26) for index in range(length))
    secret = Secret(value)
    shown = secret.hint().removeprefix("…")
    assert shown == (value[-4:] if length >= 20 else "")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr({"key": secret})):
        assert value[:4] not in text


def test_a_secret_is_not_written_down_by_accident():
    """LOG-07"""
    secret = Secret("sk-canary-000000000000000")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError):
        copy.copy(secret)
    assert not hasattr(secret, "__dict__")


def test_an_empty_secret_is_none_at_all():
    """AUTH-19"""
    with pytest.raises(ValueError, match="must not be empty"):
        Secret("")


def test_equal_secrets_make_equal_providers():
    assert Secret("one") == Secret("one") != Secret("two")
    assert len({Secret("one"), Secret("one"), Secret("two")}) == 2
