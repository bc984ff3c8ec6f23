"""The provider that the accounting is measured against: what it says and what it writes down."""

import asyncio
import json
import socket

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.answers import Rates, answer_to
from chaos.oracle import Log, read_log
from chaos.servers import Oracle
from tests.support.process import until

WHOLE, CUT, SILENT, ERROR = Rates(0, 0, 0, 0), Rates(0, 1, 0, 0), Rates(0, 0, 1, 0), Rates(1, 0, 0, 0)


def asked(tag="ann-1", **members):
    return {"messages": [{"role": "user", "content": f"[{tag}] " + "some words " * 9}], "max_tokens": 20, **members}


@given(st.text("abc-0123456789", min_size=1), st.integers(1, 500), st.integers(0, 9))
def test_the_size_of_an_answer_follows_from_the_request_alone(tag, cap, turn):
    answer = answer_to(asked(tag, max_tokens=cap), turn, Rates())
    other = answer_to(asked(tag, max_tokens=cap), turn + 1, ERROR)
    assert (answer.input, answer.cached, answer.output) == (other.input, other.cached, other.output)
    assert 0 <= answer.cached <= answer.input
    assert 1 <= answer.output <= cap
    assert answer.cost_nano == (answer.input - answer.cached) * 150 + answer.cached * 75 + answer.output * 600


@pytest.mark.parametrize(("rates", "fate"), [(WHOLE, "whole"), (CUT, "cut"), (SILENT, "silent"), (ERROR, "error")])
def test_the_rates_decide_the_fate(rates, fate):
    assert {answer_to(asked(), turn, rates).fate for turn in range(50)} == {fate}


def test_the_fates_come_in_their_shares():
    fates = [answer_to(asked(), turn, Rates(0.25, 0.25, 0.25, 0.25)).fate for turn in range(4000)]
    assert all(900 < fates.count(fate) < 1100 for fate in ("error", "cut", "silent", "slow"))


async def test_the_log_joins_a_calls_begin_and_end_and_keeps_a_repeated_attempt(tmp_path):
    log = Log(tmp_path / "log")
    begun = {"attempt": "a", "tag": "t", "at": 1.0, "status": 200, "cap": 9, "cost_nano": 7, "reported": True}
    for number in (1, 2):
        log.add({"number": number, **begun})
    log.add({"number": 1, "until": 2.0, "finished": True})
    await asyncio.gather(log.sync(), log.sync())
    first, second = read_log(tmp_path / "log")
    assert (first.until, first.finished, second.until, second.finished) == (2.0, True, None, False)
    with (tmp_path / "log").open("ab") as file:
        file.write(b'{"number": 3, "att')  # a line that is being written
    assert len(read_log(tmp_path / "log")) == 2


@pytest.fixture
async def oracle(tmp_path):
    server = Oracle(tmp_path / "oracle", WHOLE)
    await server.start()
    yield server
    await server.kill()


async def test_a_stream_and_a_document_say_the_same_usage_as_the_log(oracle):
    usages = []
    async with aiohttp.ClientSession() as session:
        for extra in ({}, {"stream": True, "stream_options": {"include_usage": True}}):
            headers = {"x-client-request-id": f"attempt-{len(usages)}"}
            url = f"http://127.0.0.1:{oracle.port}/v1/chat/completions"
            async with session.post(url, json=asked(**extra), headers=headers) as reply:
                events = (await reply.text()).replace("data: [DONE]", "").replace("data: ", "").split("\n\n")
            usages.append(
                next(found for event in events if event.strip() and (found := json.loads(event).get("usage")))
            )
    assert usages[0] == usages[1]
    await until(lambda: all(call.until for call in read_log(oracle.log)))
    calls = read_log(oracle.log)
    answer = answer_to(asked(), 0, WHOLE)
    assert [(call.attempt, call.tag, call.cost_nano) for call in calls] == [
        (f"attempt-{number}", "ann-1", answer.cost_nano) for number in range(2)
    ]
    assert all(call.finished and call.reported and call.cap == 20 for call in calls)


async def test_a_call_is_in_the_log_before_the_first_byte_of_its_answer(oracle):
    """Also when nobody waits for the answer."""
    body = json.dumps(asked()).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", oracle.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: o\r\nx-client-request-id: a\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    assert await reader.read(1)
    assert [call.attempt for call in read_log(oracle.log)] == ["a"]
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
