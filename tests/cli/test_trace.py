"""`gateway trace`: what is asked of the gateway, and how spans look on a terminal."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import orjson
import pytest

from gateway.cli.span_tree import WIDTH, tree
from gateway.core.trace import CLIENT, INTERNAL, SERVER, SpanEvent, TraceSpan, Value
from gateway.server.traces import span_row
from tests.cli.conftest import Run
from tests.cli.fakes import NOON, FakeLedger

TOKEN = "admin-canary-0123456789"
TRACE = 0x4BF92F3577B34DA6A3CE929D0E0E4736
BEGAN = int(NOON) * 10**9


def span(
    span_id: int, parent_id: int, name: str, start_ms: float, ms: float, kind: int = INTERNAL, error: str | None = None, **attributes: Value
) -> TraceSpan:  # fmt: skip
    """`attributes` with "__" for the dots."""
    start_ns = BEGAN + int(start_ms * 1e6)
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return TraceSpan(name, kind, TRACE, span_id, parent_id, start_ns, start_ns + int(ms * 1e6), named, error=error)


CALL = [
    span(
        1, 99, "POST /v1/chat/completions", 0, 800, SERVER, http__response__status_code=200, gw__request__id="req_1",
        gw__caller="checkout", gw__team="payments", gw__model__alias="fast", gw__cost__usd_nano=120_000, gw__overhead__ms=1.2,
    ),
    span(
        2, 1, "chat gpt-4o-mini", 3, 780, CLIENT, http__response__status_code=200, gw__provider="openai",
        gen_ai__response__model="gpt-4o-mini-2024-07-18", gen_ai__usage__input_tokens=812,
        gen_ai__usage__cache_read__input_tokens=200, gen_ai__usage__output_tokens=90, gw__cost__usd_nano=120_000,
        gen_ai__response__time_to_first_chunk=0.21, gen_ai__response__finish_reasons=["stop"],
    ),
    span(3, 1, "guard personal-data", 0.6, 1.9, gw__guardrail__verdict="mask", gw__guardrail__kinds=["EMAIL_ADDRESS=2", "IBAN=1"]),
    span(4, 1, "reserve", 0.3, 0.2, gw__budget__reserved_usd_nano=1_500_000),
]  # fmt: skip
PRINTED = """\
trace 4bf92f3577b34da6a3ce929d0e0e4736  2026-11-05 12:00:00.000 UTC
POST /v1/chat/completions                ======================       0.0      800.0 ms  200
    req_1, caller checkout, team payments, asked for fast, 0.00012 USD, overhead 1.2 ms
  reserve                                =                            0.3        0.2 ms
      reserved 0.0015 USD
  guard personal-data                    =                            0.6        1.9 ms  mask
      EMAIL_ADDRESS=2 IBAN=1
  chat gpt-4o-mini                       =====================        3.0      780.0 ms  200
      from openai, model gpt-4o-mini-2024-07-18, 812 in, 200 of it cached, 90 out, 0.00012 USD,
      first chunk after 210.0 ms, stop"""


@contextmanager
def admin(status: int, body: object) -> Iterator[tuple[int, list[str]]]:
    """An admin listener on a free port that gives one answer, and the targets that it was asked for."""
    targets: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            targets.append(self.path)
            self.send_response(status if self.headers["authorization"] == f"Bearer {TOKEN}" else 401)
            self.end_headers()
            self.wfile.write(orjson.dumps(body))

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server.server_port, targets
        server.shutdown()


def document(*traces: list[TraceSpan]) -> dict[str, object]:
    return {"traces": [[span_row(one) for one in spans] for spans in traces]}


def env(port: int) -> dict[str, str]:
    return {"GATEWAY_ADMIN_PORT": str(port), "GATEWAY_ADMIN_TOKEN": TOKEN}


def test_the_last_call_is_printed(run: Run) -> None:
    with admin(200, document(CALL)) as (port, targets):
        result = run(FakeLedger(), "trace", **env(port))
    assert (result.returncode, result.stderr, result.stdout) == (0, "", PRINTED + "\n")
    assert targets == ["/traces?last=1"]


def test_several_are_printed_one_below_the_other(run: Run) -> None:
    with admin(200, document(CALL, CALL)) as (port, targets):
        result = run(FakeLedger(), "trace", "--last", "2", **env(port))
    assert result.stdout == f"{PRINTED}\n\n{PRINTED}\n"
    assert targets == ["/traces?last=2"]


def test_one_is_meant_by_its_id(run: Run) -> None:
    with admin(200, document(CALL)) as (port, targets):
        assert run(FakeLedger(), "trace", "--id", "req_1/?#", **env(port)).returncode == 0
    assert targets == ["/traces/req_1%2F%3F%23"]


def test_json_is_what_the_gateway_gave(run: Run) -> None:
    with admin(200, document(CALL)) as (port, _):
        result = run(FakeLedger(), "trace", "--json", **env(port))
    assert json.loads(result.stdout) == document(CALL)


def test_no_call_yet_is_said(run: Run) -> None:
    for nothing in ([], [[]]):
        with admin(200, {"traces": nothing}) as (port, _):
            result = run(FakeLedger(), "trace", **env(port))
        assert (result.returncode, result.stdout) == (0, "no call has left a trace yet\n")


@pytest.mark.parametrize(("status", "code"), [(404, 1), (400, 2), (401, 2), (500, 2)])
def test_a_gateway_that_has_no_answer_is_told(run: Run, status: int, code: int) -> None:
    with admin(status, {"error": {"message": "It says why."}}) as (port, _):
        result = run(FakeLedger(), "trace", "--id", "req_9", **env(port))
    assert (result.returncode, result.stdout) == (code, "")
    assert f"{status}: It says why." in result.stderr


def test_without_a_gateway_nothing_is_known(run: Run) -> None:
    result = run(FakeLedger(), "trace", **env(1))
    assert (result.returncode, result.stdout) == (2, "")
    assert "no gateway runs" in result.stderr


@pytest.mark.parametrize("arguments", [("--last", "many"), ("--last", "2", "--id", "req_1")])
def test_what_cannot_be_meant_is_a_usage_error(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(FakeLedger(), "trace", *arguments, **env(1)).returncode == 2


def test_colours_are_for_terminals_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with admin(200, document(CALL)) as (port, _):
        assert "\x1b" not in run(FakeLedger(), "trace", **env(port)).stdout
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        assert "\x1b[1mPOST" in run(FakeLedger(), "trace", **env(port)).stdout
        assert "\x1b" not in run(FakeLedger(), "trace", **env(port), NO_COLOR="1").stdout


def test_a_failure_is_red_and_says_what_it_was() -> None:
    failed = span(
        1, 0, "POST /v1/responses", 0, 5, SERVER, "502", http__response__status_code=502, error__type="upstream_timeout"
    )
    assert tree([failed], colours=True).count("\x1b[31m") == 2
    assert tree([failed]).splitlines()[1:] == [
        "POST /v1/responses                       ======================       0.0        5.0 ms  502",
        "    error upstream_timeout",
    ]


def test_events_are_moments_in_their_span() -> None:
    """Thin traces."""
    server = span(1, 0, "POST /v1/responses", 0, 100, SERVER)
    server.events = [
        SpanEvent(
            "guard secrets",
            BEGAN + 50_000_000,
            {"gw.guardrail.verdict": "regenerate", "gw.guardrail.direction": "input"},
        )
    ]
    assert tree([server]).splitlines()[2:] == [
        "  guard secrets input                               *                50.0                regenerate",
    ]


def test_a_span_whose_parent_is_elsewhere_is_a_root() -> None:
    """Calls of one trace."""
    lines = tree([span(5, 77, "second", 10, 5), span(6, 5, "below", 11, 1), span(1, 99, "first", 0, 5)]).splitlines()
    assert [line.split("=")[0].rstrip() for line in lines[1:]] == ["first", "second", "  below"]


def test_no_line_is_wider_than_the_terminal_and_none_steers_it() -> None:
    """HTTP-15"""
    odd = "\x1b[2J\x07" + "name\u202e" * 40
    spans = [
        span(1, 0, odd, 0, 1e6, error=odd, gw__guardrail__verdict="regenerate", gw__caller=odd, error__type=odd),
        span(2, 1, "x", 1e6 - 0.001, 0.001),
    ]
    text = tree([*spans, span(3, 2, "y" * 99, 0, 0), span(4, 1, "", 5e5, 1e9)])
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.replace("\n", "").isprintable()


def test_a_trace_of_no_time_is_printed() -> None:
    assert "0.0        0.0 ms" in tree([span(1, 0, "GET /v1/models", 0, 0)])


def test_facts_stay_whole_at_the_end_of_a_line() -> None:
    facts = {
        "gw__request__id": "req_" + "8" * 24,
        "gw__caller": "an-app-of-some-length-",
        "gw__team": "its-team-and-more",
    }
    lines = tree([span(1, 0, "POST", 0, 1, gw__overhead__ms=178.0, **facts)]).splitlines()
    assert lines[-1] == "    overhead 178.0 ms"


SAID = span(
    2, 1, "chat gpt", 3, 780, CLIENT,
    gen_ai__system_instructions=json.dumps([{"type": "text", "content": "Be brief."}]),
    gen_ai__input__messages=json.dumps(
        [
            {"role": "user", "parts": [{"type": "text", "content": "Who is it?\nAnd \x1b[2J why? " + "long " * 40}, {"type": "blob", "modality": "image"}]},
            {"role": "assistant", "parts": [{"type": "tool_call", "id": None, "name": "find", "arguments": {"who": "[NAME_1]"}}]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "response": "nobody"}]},
        ]
    ),
    gen_ai__output__messages=json.dumps([{"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Ann."}]}]),
    input__value="{}", gw__content__cut=["input"], gw__content__left_out=["output=blocked"],
)  # fmt: skip


def test_what_was_said_is_shown_only_when_it_is_asked_for(run: Run) -> None:
    with admin(200, document([CALL[0], SAID])) as (port, _):
        without = run(FakeLedger(), "trace", **env(port)).stdout
        plain = run(FakeLedger(), "trace", "--json", **env(port)).stdout
        told = run(FakeLedger(), "trace", "--content", **env(port)).stdout
        whole = run(FakeLedger(), "trace", "--content", "--json", **env(port)).stdout
    assert "Ann." not in without + plain
    assert "gw.content.cut" in plain
    assert json.loads(whole) == document([CALL[0], SAID])
    lines = told.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert told.replace("\n", "").isprintable()
    shown = [line.strip() for line in lines if line.startswith("      ")]
    assert shown[:2] == ["system: Be brief.", "user: Who is it?"]
    assert shown[-7:] == [
        "user: [image]",
        'assistant: find({"who":"[NAME_1]"})',
        "tool: nobody",
        "assistant: (thinks) hm",
        "assistant: Ann.",
        "(cut to the policy's size: input)",
        "(not captured: output=blocked)",
    ]
