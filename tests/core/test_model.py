import pytest

from gateway.core.errors import CODES, Refusal
from gateway.core.model import Caller, Names


@pytest.mark.parametrize(
    ("listed", "inside", "outside"),
    [
        (["gpt-4o"], ["gpt-4o"], ["gpt-4o ", "GPT-4o", "gpt-4", "gpt-4o-mini", "openai/gpt-4o", "gpt\u20114o", ""]),
        (["gpt-*"], ["gpt-", "gpt-4o", "gpt-4o/x"], ["Gpt-4", "xgpt-4", ""]),
        (["a?c", "[ab]"], ["a?c", "[ab]"], ["abc", "a"]),
        (["a?*"], ["a?", "a?b"], ["ab", "abc"]),
        (["[x]*"], ["[x]1"], ["x1"]),
        ([], [], ["", "a"]),
    ],
)
def test_only_the_star_is_special_and_everything_else_is_exact(listed, inside, outside):
    """AUTH-14"""
    names = Names.of(listed)
    assert all(name in names for name in inside)
    assert not any(name in names for name in outside)


@pytest.mark.parametrize(("name", "team"), [("", "t"), ("n", "")])
def test_there_is_no_anonymous_caller(name, team):
    """AUTH-02"""
    with pytest.raises(ValueError, match="a name and a team"):
        Caller(name, team, Names.of(["*"]), Names.of(["*"]), {})


def test_every_code_has_a_status_and_a_type_and_no_message_shows_its_cause():
    for code, (status, kind) in CODES.items():
        refusal = Refusal(code, "message")
        assert (refusal.status, refusal.type) == (status, kind)
        assert 400 <= status <= 504
        assert str(refusal) == code
