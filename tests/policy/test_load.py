"""Policy files: what is accepted, and how wrong ones are told."""

import hashlib
from pathlib import Path

import pytest
from pydantic import BaseModel

from gateway.core.model import Target
from gateway.policy.load import PolicyError, PolicyErrors, load, read_source, version_of
from gateway.policy.schema import PolicyDocument, json_schema

D1, D2 = (hashlib.sha256(text).hexdigest() for text in (b"real-1", b"real-2"))
GOOD = f"""\
providers:
  up: {{shape: openai, base_url: "https://up.example/v1", api_key: env:UP_KEY}}
models:
  a: {{targets: [{{provider: up, model: real-a}}]}}
  "fam-*": {{targets: [{{provider: up}}]}}
  "fam-long-*": {{targets: [{{provider: up, model: long}}]}}
callers:
  app:
    key_sha256: ["{D1}"]
    team: t
    models: ["*"]
"""
ENV = {"UP_KEY": "sk-canary-value"}


def loaded(text: str, env=ENV, name="p.yaml", directory=Path("/nowhere")):
    return load(((name, text.encode()),), directory, env)


def problems(text: str, env=ENV, **more) -> str:
    with pytest.raises(PolicyErrors) as error:
        loaded(text, env, **more)
    return str(error.value)


def test_a_sound_policy_is_compiled():
    policy = loaded(GOOD)
    assert policy.models.targets_for("a") == (Target("up", "real-a"),)
    assert policy.keys[D1].caller.name == "app"
    assert policy.providers["up"].api_key.reveal() == "sk-canary-value"
    assert "canary" not in repr(policy.providers)


@pytest.mark.parametrize(
    ("asked", "model"), [("fam-1", "fam-1"), ("fam-long-1", "long"), ("fam-", "fam-"), ("a", "real-a")]
)
def test_the_exact_name_wins_and_then_the_longest_pattern(asked, model):
    assert loaded(GOOD).models.targets_for(asked) == (Target("up", model),)


@pytest.mark.parametrize("asked", ["A", "a ", "b", "xfam-1", "FAM-1", "", "*"])
def test_names_match_exactly_or_not_at_all(asked):
    """AUTH-14"""
    assert loaded(GOOD).models.targets_for(asked) is None


BROKEN = [
    ("providers:\n  up: {shape: openai", "p.yaml:3", "not valid YAML"),
    (GOOD + "modles: {}\n", "p.yaml:12", 'did you mean "models"?'),
    (GOOD.replace("shape: openai", "shape: opnai"), "p.yaml:2", "'openai' or 'demo'"),
    (GOOD.replace("api_key:", "api_kye:"), "p.yaml:2", 'did you mean "api_key"?'),
    (GOOD.replace("env:UP_KEY", "sk-literal-canary"), "p.yaml:2", "write env:NAME or file:PATH"),
    (
        GOOD.replace("{provider: up}", "{provider: upp}"),
        "p.yaml:5",
        'models.fam-*.targets[0].provider: there is no provider "upp"; did you mean "up"?',
    ),
    (GOOD.replace("team: t", "team: no"), "p.yaml:10", "quote it"),
    (GOOD.replace("team: t", "team: t\n    team: u"), "p.yaml:11", "stands twice"),
    (GOOD.replace("    team: t\n", ""), "p.yaml:8", "callers.app.team: is missing"),
    (GOOD.replace(D1, D1[:-1]), "p.yaml:9", "64 lower-case"),
    (GOOD.replace(D1, hashlib.sha256(b"changeme").hexdigest()), "p.yaml:9", "example key"),
    (GOOD.replace("https://up.example/v1", "file:///etc/passwd"), "p.yaml:2", "must be http(s)://"),
    (GOOD.replace("https://up.example/v1", "http://u:p@up/v1"), "p.yaml:2", "must be http(s)://"),
    (GOOD.replace("https://up.example/v1", "unix:/run/x"), "p.yaml:2", "must be http(s)://"),
    (GOOD.replace("models: [", "expires_at: soon\n    models: ["), "p.yaml:11", "RFC 3339"),
    (GOOD + "passthrough:\n  x: {path: /v1/models, methods: [GET], provider: up}\n", "p.yaml:13", "built-in"),
    (GOOD + "passthrough:\n  x: {path: /v2/x, methods: [GET], provider: up}\n", "p.yaml:13", "passthrough.x.path"),
    (GOOD + "passthrough:\n  x: {path: /v1/x, methods: [FETCH], provider: up}\n", "p.yaml:13", "methods"),
    (GOOD.replace("models:\n  a", "  idle: {shape: demo}\nmodels:\n  a"), "p.yaml:3", "uses this provider"),
    (GOOD + "limits: {max_body_bytes: '5'}\n", "p.yaml:12", "max_body_bytes"),
    (GOOD + "limits: {max_body_bytes: true}\n", "p.yaml:12", "max_body_bytes"),
    ("- a\n- b\n", "p.yaml:1", "mapping of sections"),
    ("a: &x [1]\nb: *x\n", "p.yaml:1", "anchors and aliases"),
    ("a: !!python/object/apply:os.system [x]\n", "p.yaml:1", "tags"),
    ("a: 1\n---\nb: 2\n", "p.yaml:2", "not valid YAML"),
    ("a: " + "[" * 100 + "]" * 100 + "\n", "p.yaml:1", "nested too deeply"),
    ("x: [" + "1," * 300_000 + "]\n", "p.yaml:1", "too large"),
    ("\x00\n", "p.yaml:1", "not valid YAML"),
]


@pytest.mark.parametrize(("text", "where", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_told_with_file_line_and_fix(text, where, message):
    """OPS-09, SSRF-06, SSRF-07, AUTH-19"""
    found = problems(text)
    assert any(where in line and message in line for line in found.splitlines()), found
    assert "canary" not in found


def test_all_problems_are_told_at_once():
    text = GOOD.replace("team: t", "team: 1").replace("{provider: up}", "{provider: up, x: 1}")
    assert len(problems(text).splitlines()) == 2


def test_a_missing_variable_names_itself_and_not_its_value():
    assert "environment variable UP_KEY is not set" in problems(GOOD, env={})


def test_an_optional_provider_without_its_key_is_left_out_with_what_needs_it():
    text = (
        GOOD.replace("api_key:", "optional: true, api_key:")
        + "passthrough: {f: {path: /v1/f, methods: [GET], provider: up}}\n"
    )
    policy = loaded(text, env={})
    assert (policy.left_out, policy.models.names(), policy.passthrough) == (("up",), [], ())


def test_an_entry_belongs_to_one_file():
    with pytest.raises(PolicyErrors) as error:
        load((("a.yaml", GOOD.encode()), ("b.yaml", b"models:\n  a: {targets: []}\n")), Path("p"), ENV)
    assert "p/b.yaml:2: models.a is already defined in p/a.yaml:4" in str(error.value)


def test_sections_may_be_split_over_files():
    head, tail = GOOD.split("callers:")
    policy = load((("a.yaml", head.encode()), ("b.yaml", b"callers:" + tail.encode())), Path("p"), ENV)
    assert D1 in policy.keys


def test_two_callers_cannot_share_a_key():
    more = f'  other: {{key_sha256: ["{D1}"], team: t, models: []}}\n'
    assert 'the caller "app" has the same key' in problems(GOOD + more)


def test_the_same_files_have_the_same_version_and_any_byte_changes_it():
    """OPS-10, OPS-13"""
    one = version_of((("a", b"x"), ("b", b"y")))
    assert one == version_of((("a", b"x"), ("b", b"y")))
    assert (
        len({one, version_of((("a", b"xb"), ("b", b"y"))), version_of((("a", b"x"),)), version_of((("ab", b"xy"),))})
        == 4
    )


def test_a_reference_to_a_file_is_read_beside_the_policy(tmp_path):
    (tmp_path / "key").write_text("sk-from-file\n")
    policy = loaded(GOOD.replace("env:UP_KEY", "file:key"), env={}, directory=tmp_path)
    assert policy.providers["up"].api_key.reveal() == "sk-from-file"


@pytest.mark.parametrize("kind", ["missing", "file", "empty", "folder inside"])
def test_a_folder_that_cannot_be_read_is_one_clear_line(tmp_path, kind):
    """OPS-09"""
    target = tmp_path / "p"
    if kind == "file":
        target.write_text("x")
    elif kind != "missing":
        target.mkdir()
    if kind == "folder inside":
        (target / "x.yaml").mkdir()
    with pytest.raises(PolicyError) as error:
        read_source(target)
    assert len(str(error.value).splitlines()) == 1


def test_a_huge_file_is_refused(tmp_path):
    """OPS-09"""
    (tmp_path / "x.yaml").write_bytes(b"#" * 5_000_000)
    with pytest.raises(PolicyError, match="larger"):
        read_source(tmp_path)


def _models_in(annotation):
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def test_no_place_of_the_format_takes_an_unknown_key():
    """I8"""
    seen = set()

    def check(model: type[BaseModel]) -> None:
        if model in seen:
            return
        seen.add(model)
        assert model.model_config["extra"] == "forbid"
        assert model.model_config["strict"] is True
        for field in model.model_fields.values():
            for inner in _models_in(field.annotation):
                check(inner)

    check(PolicyDocument)
    assert len(seen) >= 12


def test_every_field_changes_the_schema_that_editors_read():
    schema = json_schema()
    assert set(schema["properties"]) == set(PolicyDocument.model_fields)
    assert schema["additionalProperties"] is False


def test_the_starter_policy_is_sound_and_the_same_everywhere():
    root = Path(__file__).parents[2]
    starter = read_source(root / "gateway" / "policy" / "starter")
    shipped = tuple(entry for entry in read_source(root / "policies") if ".local." not in entry[0])
    assert starter == shipped
    without = load(starter, root / "policies", {})
    assert (without.left_out, without.models.names()) == (("openai",), ["demo", "demo-embedding"])
    with_key = load(starter, root / "policies", {"OPENAI_API_KEY": "sk-x"})
    assert with_key.models.targets_for("fast") == (Target("openai", "gpt-4o-mini"),)
    assert with_key.models.targets_for("gpt-4.1") == (Target("openai", "gpt-4.1"),)
