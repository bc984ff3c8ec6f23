"""Streams that end badly, stall, or lose their reader."""

import asyncio
import json

import pytest

from tests.support.patience import patience
from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain
from tests.support.raw import chat
from tests.support.running import KEY, policy_for, running


def error_in(body: bytes) -> dict:
    return json.loads(body.rsplit(b"data: ", 1)[1])["error"]


async def test_a_provider_that_dies_in_the_middle_is_an_error_event(gateway, provider):
    """SSE-03, SSE-07"""

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await writer.drain()
        writer.transport.abort()

    provider.script = script
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert answer.body.startswith(delta("a"))
    assert error_in(answer.body)["code"] == "upstream_closed"
    assert len(provider.calls) == 1
    assert gateway.lines[0]["outcome"] == "cut"


async def test_a_clean_close_without_an_end_mark_is_not_a_clean_end(gateway, provider):
    """SSE-03"""
    provider.says(STREAM_HEAD, chunk(delta("a")), LAST_CHUNK)
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert error_in(answer.body)["code"] == "upstream_closed"


async def test_a_finish_reason_is_an_end_mark_where_done_is_missing(gateway, provider):
    provider.says(STREAM_HEAD, chunk(delta("a", "stop")), LAST_CHUNK)
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert answer.body == delta("a", "stop")


async def test_the_stream_ends_at_done_even_when_the_provider_stays(gateway, provider):
    async def script(call, writer):
        writer.write(STREAM_HEAD + chunk(delta("a", "stop") + DONE + b"data: {}\n\n"))
        await call.closed.wait()

    provider.script = script
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert answer.body == delta("a", "stop") + DONE


async def test_a_caller_that_leaves_closes_the_provider_within_a_second(gateway, provider):
    async def script(call, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await call.closed.wait()

    provider.script = script
    raw = await gateway.connect()
    await raw.send(raw.request(body=chat(stream=True), key=KEY))
    await raw.head()
    raw.close()
    async with asyncio.timeout(5):  # the rest is for machines that are busy
        await provider.calls[0].closed.wait()


async def test_a_caller_that_leaves_before_the_first_byte_closes_the_provider(gateway, provider):
    async def script(call, _):
        await call.closed.wait()

    provider.script = script
    raw = await gateway.connect()
    await raw.send(raw.request(body=chat(), key=KEY))
    await provider.called.wait()
    raw.close()
    async with patience():
        await provider.calls[0].closed.wait()
    assert gateway.lines[0]["outcome"] == "client_closed"


async def test_a_silent_provider_is_a_504_and_a_stalled_stream_an_error_event(provider, tmp_path):
    """SSE-04"""
    policy = policy_for(provider.base_url, provider="    timeouts: {first_byte_s: 0.1, idle_s: 0.1}\n")
    async with running(policy, tmp_path) as gateway:

        async def silent(call, _):
            await call.closed.wait()

        provider.script = silent
        answer = await gateway.ask(body=chat(), key=KEY)
        assert (answer.status, answer.code) == (504, "upstream_timeout")

        async def stalls(call, writer):
            writer.write(STREAM_HEAD + chunk(delta("a")))
            await call.closed.wait()

        provider.script = stalls
        answer = await gateway.ask(body=chat(stream=True), key=KEY)
        assert error_in(answer.body)["code"] == "upstream_timeout"


async def test_a_slow_reader_pauses_the_provider(gateway, provider):
    """HTTP-07: megabytes are offered; what is taken is bounded by buffers, not by what is offered."""
    taken = 0
    blocked = asyncio.Event()

    async def script(call, writer):
        nonlocal taken
        writer.transport.set_write_buffer_limits(high=1)
        writer.write(STREAM_HEAD)
        frame = chunk(delta("x" * 65_000))
        try:
            for _ in range(2_000):
                writer.write(frame)
                async with asyncio.timeout(0.5):
                    await writer.drain()
                taken += len(frame)
        except TimeoutError:
            blocked.set()
            await call.closed.wait()

    provider.script = script
    raw = await gateway.connect()
    raw.writer.transport.pause_reading()
    await raw.send(raw.request(body=chat(stream=True), key=KEY))
    async with patience():
        await blocked.wait()
    assert taken < 30_000_000
    raw.close()


async def test_an_event_larger_than_allowed_is_refused(gateway, provider):
    """SSE-06"""

    async def script(call, writer):
        writer.write(STREAM_HEAD)
        try:
            for _ in range(320):
                writer.write(chunk(b"x" * 65_536))
                await writer.drain()
        except ConnectionError:
            pass

    provider.script = script
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert (answer.status, answer.code) == (502, "upstream_invalid")


async def test_streams_are_not_buffered_on_the_way(gateway, provider):
    """SSE-09: the second frame is sent only after the first has arrived at the caller."""
    arrived = asyncio.Event()

    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await arrived.wait()
        writer.write(chunk(delta("b", "stop") + DONE) + LAST_CHUNK)

    provider.script = script
    raw = await gateway.connect()
    await raw.send(raw.request(body=chat(stream=True), key=KEY))
    head = await raw.head()
    assert head.header("x-accel-buffering") == "no"
    assert await raw.chunk() == delta("a")
    arrived.set()
    assert await raw.chunk() == delta("b", "stop") + DONE
    assert await raw.chunk() is None
    raw.close()


HEARTBEAT = "limits: {heartbeat_s: 0.05}\n"


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stream_that_waits_is_kept_warm_where_the_policy_wants_it(provider, tmp_path, fails):
    """SSE-08: comments that carry nothing; what comes then is the provider's stream, or its error as an event."""
    go_on = asyncio.Event()

    async def script(_, writer):
        await go_on.wait()
        error = plain(b'{"error": {"message": "slow down", "code": "rate"}}', 429)
        writer.write(error if fails else STREAM_HEAD + chunk(delta("a")) + chunk(DONE) + LAST_CHUNK)

    provider.script = script
    async with running(policy_for(provider.base_url, rest=HEARTBEAT), tmp_path) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        head = await raw.head()
        assert (head.status, head.header("content-type")) == (200, "text/event-stream")
        assert await raw.chunk() == await raw.chunk() == b": waiting\n\n"
        go_on.set()
        rest = b""
        while (part := await raw.chunk()) is not None:
            rest += part
        rest = rest.replace(b": waiting\n\n", b"")
        assert rest == (b'data: {"error":{"message":"slow down","code":"rate"}}\n\n' if fails else delta("a") + DONE)
        raw.close()
        assert gateway.lines[-1]["outcome"] == ("upstream_error" if fails else "ok")


async def test_a_provider_that_dies_after_a_heartbeat_is_an_error_event(provider, tmp_path):
    """SSE-08"""
    go_on = asyncio.Event()

    async def script(_, writer):
        await go_on.wait()
        writer.transport.abort()

    provider.script = script
    async with running(policy_for(provider.base_url, rest=HEARTBEAT), tmp_path) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        await raw.chunk()
        go_on.set()
        parts = [part async for part in chunks(raw)]
        assert json.loads(parts[-1].removeprefix(b"data: "))["error"]["code"] == "upstream_closed"
        assert gateway.lines[-1]["outcome"] == "cut"
        raw.close()


async def chunks(raw):
    while (part := await raw.chunk()) is not None:
        yield part


async def test_without_a_heartbeat_in_the_policy_a_late_failure_keeps_its_status(gateway, provider):
    """SSE-08: off by default."""

    async def script(_, writer):
        await asyncio.sleep(0.2)
        writer.write(plain(b'{"error": {}}', 429))

    provider.script = script
    assert (await gateway.ask(body=chat(stream=True), key=KEY)).status == 429
