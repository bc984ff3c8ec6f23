"""The HTTP layer, both sides of it."""

import asyncio
import gzip
import json
import time
import zlib

import pytest

from tests.support.patience import patience
from tests.support.provider import ANSWER, STREAM_HEAD, chunk, plain
from tests.support.raw import chat
from tests.support.running import KEY, PROVIDER_KEY, policy_for, running

BODY = chat()


def head(*lines: str) -> bytes:
    first = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: g",
        f"Authorization: Bearer {KEY}",
        "Content-Type: application/json",
    ]
    return "\r\n".join([*first, *lines]).encode("latin-1") + b"\r\n\r\n"


FRAMING = [
    head(f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked") + BODY,
    head("Content-Length: 5", "Content-Length: 6") + BODY,
    head("Content-Length: 5", "Content-Length: 5") + BODY,
    *(head(f"Content-Length: {value}") + BODY for value in ("5, 5", "+5", "-1", "0x5", "5_0", "\u0663".encode().decode("latin-1"), "5 5")),
    head("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    head("Transfer-Encoding: ,chunked") + b"0\r\n\r\n",
    head("Transfer-Encoding: gzip") + BODY,
    head("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    head("Transfer-Encoding: chunked") + b"0x5\r\nhello\r\n0\r\n\r\n",
    head("Transfer-Encoding: chunked") + b"5\nhello\n0\n\n",
    head("Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\nhello\r\n",
    head("Transfer-Encoding: chunked") + b"\r\nhello\r\n",
    head("Transfer-Encoding: chunked") + b"5\r\nhelloworld\r\n0\r\n\r\n",
    b"POST /v1/chat/completions HTTP/9.9\r\nHost: g\r\n\r\n",
    b"GET / HTTP/1.1.1\r\nHost: g\r\n\r\n",
    b"GET\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", FRAMING, ids=range(len(FRAMING)))
async def test_ambiguous_framing_is_refused_and_the_connection_closed(gateway, provider, data):
    """HTTP-01, HTTP-02, HTTP-21"""
    raw = await gateway.connect()
    await raw.send(data)
    assert (await raw.answer()).status in {400, 505}
    assert await raw.closed()
    raw.close()
    assert provider.calls == []


BROKEN = {
    "length and chunks": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{} ",
    "bad chunk": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "control byte": b"HTTP/1.1 200 OK\r\nx-a: a\x00b\r\ncontent-length: 2\r\n\r\n{}",
    "not HTTP": b"SMTP ready\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    "interim flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
    "huge head": b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 100_000 + b"\r\n\r\n",
    "not JSON": plain(b"<html>"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_unsound_answer_is_a_502_and_its_connection_is_not_used_again(gateway, provider, name):
    """HTTP-03, JSON-09"""
    provider.says(BROKEN[name])
    answer = await gateway.ask(body=BODY, key=KEY)
    assert (answer.status, answer.code) == (502, "upstream_invalid")
    provider.says(plain(ANSWER))
    assert (await gateway.ask(body=BODY, key=KEY)).body == ANSWER
    if name != "not JSON":  # sound HTTP: the connection is good
        assert [call.connection for call in provider.calls] == [1, 2]


async def test_an_answer_cut_short_is_a_502(gateway, provider):
    """HTTP-03"""

    async def script(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        writer.close()

    provider.script = script
    answer = await gateway.ask(body=BODY, key=KEY)
    assert (answer.status, answer.code) == (502, "upstream_closed")


async def test_an_extra_answer_never_reaches_the_next_caller(gateway, provider):
    """HTTP-04"""
    provider.says(plain(ANSWER) + plain(b'{"stolen":true}'))
    for _ in range(200):
        assert (await gateway.ask(body=BODY, key=KEY)).body == ANSWER
    assert provider.connections == 200


async def test_sound_answers_share_a_connection(gateway, provider):
    for _ in range(20):
        await gateway.ask(body=BODY, key=KEY)
    assert provider.connections == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(gateway, provider, status):
    """SSRF-03"""
    provider.says(plain(b"", status, (("location", f"{provider.base_url}/elsewhere"),)))
    answer = await gateway.ask(body=BODY, key=KEY)
    assert (answer.status, answer.code) == (502, "upstream_redirect")
    assert len(provider.calls) == 1


async def test_a_providers_401_is_ours_and_shows_no_key(gateway, provider):
    """LOG-02"""
    provider.says(plain(b'{"error":{"message":"Incorrect API key ' + PROVIDER_KEY.encode() + b'"}}', 401))
    answer = await gateway.ask(body=BODY, key=KEY)
    assert (answer.status, answer.code) == (502, "upstream_authentication")
    provider.says(plain(b"<pre>key=" + PROVIDER_KEY.encode() + b"</pre>", 500))
    answer = await gateway.ask(body=BODY, key=KEY)
    assert answer.status == 502
    assert PROVIDER_KEY.encode() not in answer.body


async def test_slow_headers_are_cut_at_the_deadline(provider, tmp_path):
    """HTTP-05: both a silent connection and one that drips a byte now and then."""
    async with running(policy_for(provider.base_url), tmp_path, header_timeout_s=0.3) as gateway:
        silent, dripping = await gateway.connect(), await gateway.connect()
        raw_request = dripping.request(body=BODY, key=KEY)
        began = time.monotonic()

        async def drip() -> None:
            for byte in raw_request:
                await dripping.send(bytes([byte]))
                await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        assert (await dripping.answer()).status == 408
        assert (await silent.answer()).status == 408
        assert await silent.closed()
        assert time.monotonic() - began < 5
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        silent.close()
        dripping.close()


async def test_a_second_request_on_a_connection_has_the_same_header_deadline(provider, tmp_path):
    """HTTP-05"""
    async with running(policy_for(provider.base_url), tmp_path, header_timeout_s=0.3) as gateway:
        raw = await gateway.connect()
        assert (await raw.ask(body=BODY, key=KEY)).status == 200
        await raw.send(b"POST /v1/ch")
        assert (await raw.answer()).status == 408
        raw.close()


async def test_a_body_that_stalls_or_drips_is_cut(provider, tmp_path):
    """HTTP-06"""
    async with running(policy_for(provider.base_url), tmp_path, body_timeout_s=0.3) as gateway:
        raw = await gateway.connect()
        request = raw.request(body=BODY, key=KEY)
        await raw.send(request[:-1])
        answer = await raw.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await raw.closed()
        raw.close()
    assert provider.calls == []


async def test_a_caller_that_goes_away_in_the_middle_of_its_upload_has_sent_nothing(gateway, provider):
    raw = await gateway.connect()
    request = raw.request(body=BODY, key=KEY)
    await raw.send(request[:-5])
    raw.close()
    assert (await gateway.ask("GET", "/v1/models", key=KEY)).status == 200
    assert provider.calls == []


async def test_too_many_connections_are_refused_and_the_others_served(provider, tmp_path):
    """HTTP-08, OPS-24"""
    async with running(policy_for(provider.base_url), tmp_path, max_connections=3) as gateway:
        held = [await gateway.connect() for _ in range(3)]
        assert (await held[0].ask(body=BODY, key=KEY)).status == 200
        extra = await gateway.connect()
        answer = await extra.answer()
        assert (answer.status, answer.code) == (503, "overloaded")
        assert answer.header("retry-after") == "1"
        for raw in (*held, extra):
            raw.close()


@pytest.mark.parametrize("how", ["length", "chunked", "gzip"])
async def test_a_body_over_the_limit_is_refused(provider, tmp_path, how):
    """HTTP-09, HTTP-10"""
    policy = policy_for(provider.base_url, rest="limits: {max_body_bytes: 10000}\n")
    body = chat("x" * 10_000)
    headers: tuple[tuple[str, str], ...] = ()
    if how == "chunked":
        body, headers = chunk(body) + b"0\r\n\r\n", (("Transfer-Encoding", "chunked"),)
    elif how == "gzip":
        body, headers = gzip.compress(chat("x" * 5_000_000)), (("Content-Encoding", "gzip"),)
    async with running(policy, tmp_path) as gateway:
        answer = await gateway.ask(body=body, key=KEY, headers=headers)
        assert (answer.status, answer.code) == (413, "body_too_large")
    assert provider.calls == []


async def test_a_caller_that_sends_all_of_a_refused_upload_before_it_looks_gets_its_answer(provider, tmp_path):
    """What nobody wants is read on for a moment: a connection that is closed on unread bytes takes the answer along."""
    policy = policy_for(provider.base_url, rest="limits: {max_body_bytes: 10000}\n")
    async with running(policy, tmp_path) as gateway:
        for key, refused in ((KEY, (413, "body_too_large")), ("gw-unknown", (401, "invalid_api_key"))):
            raw = await gateway.connect()
            await raw.send(raw.request(body=chat("x" * 20_000_000), key=key))
            answer = await raw.answer()
            assert (answer.status, answer.code, answer.header("connection")) == (*refused, "close")
            assert await raw.closed()
            raw.close()


async def test_a_compressed_body_reaches_the_provider_as_what_was_checked(gateway, provider):
    answer = await gateway.ask(body=gzip.compress(BODY), key=KEY, headers=(("Content-Encoding", "gzip"),))
    assert answer.status == 200
    assert provider.calls[0].body == BODY
    assert provider.calls[0].header("content-encoding") is None


@pytest.mark.parametrize("coding", ["gzip, gzip", "x-foo", "identity;q=0"])
async def test_an_unknown_coding_is_a_415(gateway, coding):
    """HTTP-11"""
    answer = await gateway.ask(body=BODY, key=KEY, headers=(("Content-Encoding", coding),))
    assert (answer.status, answer.code) == (415, "unsupported_encoding")


async def test_a_compressed_answer_is_read_and_delivered_plain(gateway, provider):
    """HTTP-12"""
    packed = gzip.compress(ANSWER)
    provider.says(plain(packed, headers=(("content-type", "application/json"), ("content-encoding", "gzip"))))
    answer = await gateway.ask(body=BODY, key=KEY, headers=(("Accept-Encoding", "gzip"),))
    assert (answer.body, answer.header("content-encoding")) == (ANSWER, None)
    assert provider.calls[0].header("accept-encoding") == b"identity"
    assert gateway.lines[0]["output_tokens"] == 4


async def test_a_providers_zip_bomb_is_a_502(gateway, provider):
    """HTTP-12"""
    bomb = zlib.compress(b"\0" * 300_000_000)
    provider.says(plain(bomb, headers=(("content-type", "application/json"), ("content-encoding", "deflate"))))
    answer = await gateway.ask(body=BODY, key=KEY)
    assert answer.status == 502


@pytest.mark.parametrize("lines", [[("X-A", "a" * 100_000)], [(f"X-{number}", "a") for number in range(10_000)]])
async def test_oversized_heads_are_refused(gateway, provider, lines):
    """HTTP-13"""
    raw = await gateway.connect()
    await raw.send(raw.request(body=BODY, key=KEY, headers=tuple(lines)))
    assert (await raw.answer()).status in {400, 431}
    raw.close()


@pytest.mark.parametrize("value", ["a\xffb", "caf\xe9"])
async def test_header_bytes_outside_ascii_are_refused(gateway, value):
    """HTTP-14, HTTP-15"""
    assert (await gateway.ask(body=BODY, key=KEY, headers=(("X-Client-Request-Id", value),))).status == 400


async def test_pipelined_requests_are_each_authenticated_and_answered_in_order(gateway, provider):
    """HTTP-18"""
    raw = await gateway.connect()
    good, bad = raw.request(body=BODY, key=KEY), raw.request(body=BODY, key="wrong")
    writing = asyncio.create_task(raw.send((good + bad) * 50))
    assert [(await raw.answer()).status for _ in range(100)] == [200, 401] * 50
    await writing
    raw.close()


@pytest.mark.parametrize("upgrade", ["websocket", "h2c"])
async def test_an_upgrade_is_refused(gateway, provider, upgrade):
    """HTTP-19"""
    raw = await gateway.connect()
    headers = (
        ("Connection", "Upgrade"),
        ("Upgrade", upgrade),
        ("Sec-WebSocket-Key", "x"),
        ("Sec-WebSocket-Version", "13"),
    )
    await raw.send(raw.request("GET", "/v1/realtime?model=m", key=KEY, headers=headers) + b"smuggled")
    assert (await raw.answer()).status in {400, 404}
    raw.close()
    assert provider.calls == []


async def test_expect_100_continue_is_answered_after_the_key_was_checked(gateway, provider):
    """HTTP-19"""
    raw = await gateway.connect()
    request = raw.request(body=BODY, key=KEY, headers=(("Expect", "100-continue"),))
    await raw.send(request[: -len(BODY)])
    assert (await raw.head()).status == 100
    await raw.send(BODY)
    assert (await raw.answer()).status == 200
    raw.close()
    refused = await gateway.connect()
    await refused.send(refused.request(body=BODY, key="wrong", headers=(("Expect", "100-continue"),))[: -len(BODY)])
    assert (await refused.answer()).status == 401
    refused.close()


async def test_the_answer_to_a_stream_that_fails_at_once_is_a_status(gateway, provider):
    async def script(_, writer):
        writer.write(STREAM_HEAD)
        await writer.drain()
        writer.transport.abort()

    provider.script = script
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert (answer.status, answer.code) == (502, "upstream_closed")


async def test_each_of_many_concurrent_callers_gets_its_own_answer_on_shared_connections(gateway, provider):
    """HTTP-14, SSRF-10: a connection that is free again may be taken before the former owner has run."""

    async def echo(call, writer):
        writer.write(plain(json.dumps({"echo": call.json()["messages"][0]["content"]}).encode()))
        await writer.drain()

    provider.script = echo

    async def caller(number: int) -> None:
        raw = await gateway.connect()
        for turn in range(20):
            text = f"caller {number} turn {turn}"
            assert (await raw.ask(body=chat(text), key=KEY)).json() == {"echo": text}
        raw.close()

    async with patience():
        await asyncio.gather(*(caller(number) for number in range(40)))
    assert provider.connections <= 40
