"""Tracing in policy files: what is accepted, what it comes to, and how wrong rows are told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gateway.callers.jwt import caller_from
from gateway.core.model import Names
from gateway.policy.compile import ContentCapture, PolicySet, Tracing
from gateway.policy.explain import explain
from gateway.policy.load import PolicyErrors, load, read_source
from gateway.policy.schema import json_schema
from gateway.sinks.sampling import Keep

DIGEST = hashlib.sha256(b"real-canary").hexdigest()
ROOT = Path(__file__).parents[2]
ISSUER = """\
issuers:
  corp: {issuer: "https://idp.example", audience: a, discover: true, rights: [{when: {}, models: ["*"]%s}]}
"""


def head(provider: str = "", caller: str = "") -> str:
    return f"""\
providers: {{demo: {{shape: demo{provider}}}}}
models: {{demo: {{targets: [{{provider: demo}}]}}}}
callers: {{app: {{key_sha256: ["{DIGEST}"], team: research, models: ["*"]{caller}}}}}
"""


def loaded(text: str = "", *, provider: str = "", caller: str = "") -> PolicySet:
    return load((("p.yaml", (head(provider, caller) + text).encode()),), Path("policies"), {})


def problems(text: str = "", **parts: str) -> list[str]:
    with pytest.raises(PolicyErrors) as error:
        loaded(text, **parts)
    return [line.split("p.yaml:", 1)[1] for line in str(error.value).splitlines()]


def test_without_a_section_everything_is_traced() -> None:
    assert loaded().tracing == loaded("tracing:\n").tracing == loaded("tracing: {}\n").tracing == Tracing()
    assert Tracing().keep == Keep(True, True, False, 30.0, 10**9, Names.of([]))


def test_a_section_says_it_all() -> None:
    found = loaded("""\
tracing:
  sample: 0.1
  keep: {errors: false, blocked: false, masked: true, slower_than_s: 2, dearer_than_usd: "0.05", callers: [app, "a*"]}
  profiles: [langfuse]
  spans: thin
  metrics: both
""").tracing
    keep = Keep(False, False, True, 2.0, 50_000_000, Names.of(["app", "a*"]))
    assert found == Tracing(0.1, keep, frozenset({"langfuse"}), thin=True, metrics="both")


def test_times_and_prices_can_be_no_reason() -> None:
    keep = loaded("tracing: {keep: {slower_than_s: null, dearer_than_usd: null}}\n").tracing.keep
    assert (keep.slower_than_s, keep.dearer_than_nano) == (None, None)


@pytest.mark.parametrize(("written", "share"), [("0", 0.0), ("1", 1.0), ("0.001", 0.001)])
def test_a_share_may_be_written_as_any_number(written: str, share: float) -> None:
    assert loaded(f"tracing: {{sample: {written}}}\n").tracing.sample == share


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{sampel: 1}", 'tracing.sampel: there is no such key; did you mean "sample"'),
        ("{sample: 1.5}", "tracing.sample: must be less than or equal to 1"),
        ("{sample: -0.1}", "tracing.sample: must be greater than or equal to 0"),
        ("{sample: .nan}", "tracing.sample: "),
        ("{sample: all}", "tracing.sample: must be a number"),
        ("{keep: {eror: true}}", "tracing.keep.eror: there is no such key"),
        ("{keep: {blockd: true}}", 'tracing.keep.blockd: there is no such key; did you mean "blocked"'),
        ("{keep: {errors: 1}}", "tracing.keep.errors: must be a boolean"),
        ("{keep: {slower_than_s: 0}}", "tracing.keep.slower_than_s: must be greater than 0"),
        ("{keep: {dearer_than_usd: -1}}", "tracing.keep.dearer_than_usd: must be dollars"),
        ("{profiles: [phoenix]}", "tracing.profiles[0]: must be 'openinference', 'langfuse' or 'mlflow'"),
        ("{spans: thick}", "tracing.spans: must be 'full' or 'thin'"),
        ("{metrics: a}", "tracing.metrics: must be 'b', 'c' or 'both'"),
        ("{keep: {callers: [ap]}}", 'tracing.keep.callers[0]: there is no caller "ap"; did you mean "app"'),
        ("{content: {captur: true}}", 'tracing.content.captur: there is no such key; did you mean "capture"'),
        ("{content: true}", "tracing.content: "),
        ("{content: {capture: 1}}", "tracing.content.capture: must be a boolean"),
        ("{content: {callers: []}}", "tracing.content.callers: "),
        ("{content: {callers: [ap]}}", 'tracing.content.callers[0]: there is no caller "ap"; did you mean "app"'),
        ("{content: {models: [demos]}}", 'tracing.content.models[0]: there is no model "demos"; did you mean "demo"'),
        ("{content: {max_bytes: 100}}", "tracing.content.max_bytes: must be greater than or equal to 1024"),
        ('{keep: {callers: [app, "x*"]}}', 'tracing.keep.callers[1]: there is no caller "x*"'),
    ],
)
def test_a_wrong_row_is_told_with_its_line(row: str, said: str) -> None:
    (problem,) = problems(f"tracing: {row}\n")
    assert problem.startswith("4: ")
    assert said in problem


def test_no_content_is_captured_unless_it_is_asked_for() -> None:
    for text in ("", "tracing: {}\n", "tracing: {content: {}}\n", "tracing: {content: {models: [demo]}}\n"):
        assert loaded(text).tracing.content is None


def test_content_is_captured_of_callers_and_models() -> None:
    assert loaded("tracing: {content: {capture: true}}\n").tracing.content == ContentCapture(
        Names.of(["*"]), Names.of(["*"]), 32_768
    )
    row = "{capture: true, callers: [app], models: ['de*'], max_bytes: 1024}"
    content = loaded(f"tracing: {{content: {row}}}\n").tracing.content
    assert content == ContentCapture(Names.of(["app"]), Names.of(["de*"]), 1024)
    assert [content.holds(*pair) for pair in (("app", "demo"), ("other", "demo"), ("app", "other"))] == [
        True,
        False,
        False,
    ]


def test_explain_says_that_content_is_captured_where_it_is() -> None:
    policy = loaded("tracing: {content: {capture: true, models: [demo]}}\n")
    assert "content    captured, what guards find masked, up to 32768 bytes" in explain(policy, "app", "demo")
    assert "captured" not in explain(loaded(), "app", "demo")


def test_a_caller_that_only_tokens_name_can_be_kept() -> None:
    found = loaded(ISSUER % "" + "tracing: {keep: {callers: [somebody]}}\n")
    assert "somebody" in found.tracing.keep.callers


def test_the_section_stands_in_one_file() -> None:
    files = (("a.yaml", (head() + "tracing: {sample: 1}\n").encode()), ("b.yaml", b"tracing: {spans: thin}\n"))
    with pytest.raises(PolicyErrors, match=r"b\.yaml:1: tracing is already defined in .*a\.yaml:4"):
        load(files, Path("policies"), {})


@pytest.mark.parametrize(
    ("row", "mode", "trusted"),
    [
        ("", "link", False),
        (", trace: {}", "link", False),
        (", trace: {mode: continue}", "continue", False),
        (", trace: {mode: continue-plain, trusted: true}", "continue-plain", True),
    ],
)
def test_callers_by_key_and_by_token_say_what_becomes_of_their_context(row: str, mode: str, trusted: bool) -> None:
    by_key = loaded(caller=row).keys[DIGEST].caller
    (issuer,) = loaded(ISSUER % row).issuers
    by_token = caller_from(issuer, {"sub": "app", "team": "research"})
    assert (by_key.trace_mode, by_key.trusted) == (by_token.trace_mode, by_token.trusted) == (mode, trusted)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (", trace: {mode: join}", "callers.app.trace.mode: must be 'continue', 'link' or 'continue-plain'"),
        (", trace: {trustd: true}", 'callers.app.trace.trustd: there is no such key; did you mean "trusted"'),
        (", trace: continue", "callers.app.trace: "),
        (", trace: {trusted: yes please}", "callers.app.trace.trusted: must be a boolean"),
    ],
)
def test_a_wrong_trace_row_of_a_caller_is_told(row: str, said: str) -> None:
    (problem,) = problems(caller=row)
    assert said in problem


def test_a_provider_is_told_of_the_trace_only_where_its_row_says_so() -> None:
    assert not loaded().providers["demo"].traceparent
    assert loaded(provider=", traceparent: true").providers["demo"].traceparent


@pytest.mark.parametrize("name", ["traceparent", "TraceState"])
def test_no_row_forges_a_providers_trace_context(name: str) -> None:
    (problem,) = problems(provider=f", headers: {{{name}: x}}")
    assert "this header is set by the gateway itself" in problem


def test_every_key_is_described() -> None:
    rows = json_schema()["$defs"]
    for row in ("TracingRow", "KeepRow", "ContentRow", "CallerTraceRow"):
        undescribed = {key for key, entry in rows[row]["properties"].items() if "description" not in entry}
        assert rows[row]["description"]
        assert undescribed <= {"keep", "content"}
    assert rows["KeepRow"]["properties"]["dearer_than_usd"]["default"] == 1


def test_the_starter_is_what_holds_without_it() -> None:
    for folder in (ROOT / "policies", ROOT / "gateway" / "policy" / "starter"):
        assert load(read_source(folder), folder, {}).tracing == Tracing()


def test_explain_says_what_becomes_of_the_trace() -> None:
    text = "tracing: {sample: 0.1, keep: {blocked: false, callers: [app]}, profiles: [mlflow], spans: thin}\n"
    trace = ", trace: {mode: continue-plain, trusted: true}"
    lines = explain(loaded(text, provider=", traceparent: true", caller=trace), "app", "demo").splitlines()
    assert "    trace      the caller's is continued, without tokens and cost, its sampled flag decides" in lines
    assert "               is told of the trace (traceparent)" in lines
    assert lines[-3:] == [
        "8 settle",
        "    sampled    0.1 of the calls; always errors, slower than 30 s, dearer than 1 dollars, of app",
        "    spans      thin, for mlflow",
    ]


def test_explain_is_short_where_nothing_is_special() -> None:
    lines = explain(loaded(), "app", "demo").splitlines()
    assert "    trace      linked to the caller's" in lines
    assert not any("traceparent" in line for line in lines)
    assert lines[-2:] == ["    sampled    1 of the calls", "    spans      full, for langfuse, mlflow, openinference"]
    assert "trace linked to the caller's" in explain(loaded(ISSUER % ""), "corp", "demo")
