"""What a request asks for, as attributes."""

from __future__ import annotations

import pytest

from gateway.wire.asked import MAX_TEXT, asked, plain


def test_what_the_caller_did_not_say_is_not_told():
    for endpoint in ("chat", "completions", "responses", "embeddings", "moderations", "passthrough", ""):
        assert asked(endpoint, {"model": "m", "messages": [], "input": "i", "prompt": "p"}) == {}


def test_a_chat_is_told_with_the_conventions_names_and_types():
    document = {
        "temperature": 1,
        "top_p": 0.5,
        "top_k": 3,
        "frequency_penalty": 0,
        "presence_penalty": -1,
        "max_completion_tokens": 10,
        "max_tokens": 99,
        "seed": -4,
        "n": 3,
        "stop": ["a", "b"],
        "reasoning_effort": "high",
        "service_tier": "flex",
        "response_format": {"type": "json_schema", "json_schema": {}},
        "user": "u",
        "safety_identifier": "hash",
        "metadata": {"session_id": "s", "other": "o"},
    }
    told = asked("chat", document)
    assert told == {
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.top_k": 3,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": -1.0,
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.seed": -4,
        "gen_ai.request.choice.count": 3,
        "gen_ai.request.stop_sequences": ["a", "b"],
        "gen_ai.request.reasoning.level": "high",
        "openai.request.service_tier": "flex",
        "gen_ai.output.type": "json",
        "user.id": "u",
        "gen_ai.conversation.id": "s",
    }
    assert type(told["gen_ai.request.temperature"]) is float


def test_responses_have_their_own_names_for_the_same():
    document = {
        "max_output_tokens": 10,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}},
        "previous_response_id": "resp_1",
        "conversation": {"id": "conv_1"},
        "prompt": {"id": "pmpt_1", "version": "2", "variables": {"name": "secret"}},
        "safety_identifier": "hash",
        "metadata": {"session_id": "s"},
    }
    assert asked("responses", document) == {
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.reasoning.level": "low",
        "gen_ai.output.type": "text",
        "gen_ai.request.previous_response.id": "resp_1",
        "gen_ai.conversation.id": "conv_1",
        "gen_ai.prompt.name": "pmpt_1",
        "gen_ai.prompt.version": "2",
        "user.id": "hash",
    }
    assert asked("responses", {"conversation": "conv_2"}) == {"gen_ai.conversation.id": "conv_2"}


def test_embeddings_tell_their_encoding_and_size():
    assert asked("embeddings", {"encoding_format": "base64", "dimensions": 256, "user": "u"}) == {
        "gen_ai.request.encoding_formats": ["base64"],
        "gen_ai.embeddings.dimension.count": 256,
        "user.id": "u",
    }


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"n": 1}, {}),
        ({"service_tier": "auto"}, {}),
        ({"stop": "END"}, {"gen_ai.request.stop_sequences": ["END"]}),
        ({"stop": []}, {}),
        ({"modalities": ["text", "audio"]}, {"gen_ai.output.type": "speech"}),
        ({"modalities": ["text"]}, {}),
        ({"response_format": {"type": "grammar"}}, {}),
        ({"user": ""}, {}),
    ],
)
def test_what_goes_without_saying_is_not_told(document, told):
    assert asked("chat", document) == told


@pytest.mark.parametrize("odd", [True, "1", 1.5, [], {}, 2**63, -(2**70), [["x"]], {"type": []}, {"session_id": 5}])
def test_what_is_not_of_its_fields_type_is_left_out_or_told_as_that_type(odd):
    """Some fields are not checked on the way in; nothing that OTLP cannot hold comes out."""
    fields = ["temperature", "top_k", "seed", "n", "stop", "modalities", "response_format", "reasoning_effort", "user"]
    fields += ["service_tier", "metadata", "max_output_tokens", "text", "reasoning", "prompt", "conversation"]
    fields += ["encoding_format", "dimensions"]
    document = dict.fromkeys(fields, odd)
    for endpoint in ("chat", "responses", "embeddings"):
        for value in asked(endpoint, document).values():
            if type(value) is int:
                assert abs(value) < 2**63
            else:
                assert type(value) in {str, float} or all(type(one) is str for one in value)


@pytest.mark.parametrize("text", ["a\r\nb", "\x1b[31mred", "\ud800", "\u2028", "\x00", "\u202eabc"])
def test_control_characters_and_lone_surrogates_are_harmless(text):
    """HTTP-15, LOG-03"""
    found = asked("chat", {"user": text, "stop": [text]})
    for shown in (found["user.id"], *found["gen_ai.request.stop_sequences"]):
        assert shown.isprintable()
        shown.encode()


def test_texts_are_short_and_printable_ones_stay_as_they_are():
    """LOG-03"""
    assert plain("Zoë 日本") == "Zoë 日本"
    assert len(plain("x" * 10**6)) == MAX_TEXT
    assert len(plain("\n" * 10**6)) == MAX_TEXT
    assert len(asked("chat", {"stop": ["x"] * 1000})["gen_ai.request.stop_sequences"]) == 16


def test_no_prompt_is_told():
    """LOG-09"""
    canary = "canary-prompt"
    document = {
        "messages": [{"role": "user", "content": canary}],
        "input": canary,
        "instructions": canary,
        "tools": [{"description": canary}],
        "metadata": {"note": canary},
        "prompt": {"id": "p", "variables": {"v": canary}},
        "suffix": canary,
        "prediction": {"content": canary},
    }
    for endpoint in ("chat", "completions", "responses", "embeddings", "moderations"):
        assert canary not in str(asked(endpoint, document))
