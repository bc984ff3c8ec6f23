"""One connection without a network: the bytes come from the test, in any cut and in any order with the tasks."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import UpstreamFault
from gateway.core.model import Timeouts
from gateway.transport.connection import MAX_BUFFERED_BYTES, MAX_INTERIM_ANSWERS, Connection
from tests.support.patience import patience


class Wire(asyncio.Transport):
    """The far end, as far as a connection can see it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.aborted = False
        self.reading = True

    def write(self, data):
        self.written += data

    def abort(self):
        self.aborted = True

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True


class Bench:
    """A connection with its far end, and what it told its pool."""

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        self.freed: list[bool] = []
        self.lost = 0
        loop = asyncio.get_running_loop()
        self.connection = Connection(
            loop, timeouts or Timeouts(), lambda it: self.freed.append(it.reusable()), lambda _: self._lose()
        )
        self.wire = Wire()
        self.connection.connection_made(self.wire)

    def _lose(self) -> None:
        self.lost += 1

    def begin(self, *, bodyless: bool = False):
        return self.connection.begin(bodyless=bodyless, sending=False)

    async def whole(self, reply) -> bytes:
        await self.connection.head(reply)
        parts = []
        while part := await reply.read():
            parts.append(part)
        return b"".join(parts)


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


async def test_an_exchange_that_begins_before_the_former_owner_has_run_takes_nothing_from_it():
    """The pool may hand the connection on in the same turn of the loop in which the answer arrived."""
    bench = Bench()
    first = asyncio.create_task(bench.whole(bench.begin()))
    await asyncio.sleep(0)
    bench.connection.data_received(answer(b"one"))
    assert bench.freed == [True]
    second = asyncio.create_task(bench.whole(bench.begin()))  # before `first` has been woken
    async with patience():
        assert await first == b"one"
        await asyncio.sleep(0)
        bench.connection.data_received(answer(b"two"))
        assert await second == b"two"


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n4\r\nfour\r\n5;a=b\r\nsss\xe2\x82\r\n1\r\n\xac\r\n0\r\n\r\n"
EARLY = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"
ANSWERS = {
    "length": (answer(b"hello world"), b"hello world"),
    "chunked": (CHUNKED, b"foursss\xe2\x82\xac"),
    "interim": (EARLY + answer(b"after hints"), b"after hints"),
    "empty": (b"HTTP/1.1 204 No Content\r\nserver: s\r\n\r\n", b""),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_the_same_however_it_is_cut(name):
    """SSE-01 below the frames."""
    data, body = ANSWERS[name]
    for cut in range(len(data) + 1):
        bench = Bench()
        reply = bench.begin()
        for part in (data[:cut], data[cut:]):
            if part:
                bench.connection.data_received(part)
        assert await bench.whole(reply) == body
        assert bench.freed == [True], cut


@given(st.lists(st.integers(1, 40), min_size=1), st.sampled_from(sorted(ANSWERS)))
@settings(max_examples=60)
def test_an_answer_is_the_same_in_pieces_of_any_size(sizes, name):
    data, body = ANSWERS[name]

    async def run() -> None:
        bench = Bench()
        reply = bench.begin()
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            bench.connection.data_received(data[at : at + size])
            at, turn = at + size, turn + 1
        assert await bench.whole(reply) == body

    asyncio.run(run())


UNSOUND = {
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "equal lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
    "length and chunked": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "other coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "bare newline": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9\r\n",
    "endless interim": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_ANSWERS + 1),
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "head too large": b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
    "bad chunk size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-4\r\nfour\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", UNSOUND)
async def test_an_unsound_answer_is_a_fault_and_ends_the_connection(name):
    """HTTP-14"""
    bench = Bench()
    reply = bench.begin()
    bench.connection.data_received(UNSOUND[name])
    with pytest.raises(UpstreamFault) as fault:
        await bench.whole(reply)
    assert fault.value.kind.code == "upstream_invalid"
    assert bench.wire.aborted
    assert not bench.connection.reusable()


async def test_bytes_after_the_answer_end_the_connection():
    """HTTP-14: a second answer that nobody asked for."""
    bench = Bench()
    reply = bench.begin()
    bench.connection.data_received(answer(b"one") + answer(b"poison"))
    assert await bench.whole(reply) == b"one"
    assert bench.freed == [False]
    later = Bench()
    reply = later.begin()
    later.connection.data_received(answer(b"one"))
    later.connection.data_received(answer(b"poison"))
    assert await later.whole(reply) == b"one"
    assert later.wire.aborted
    assert not later.connection.reusable()


async def test_an_answer_without_a_length_ends_with_its_connection_and_is_marked_unproven():
    bench = Bench()
    reply = bench.begin()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
    bench.connection.connection_lost(None)
    assert await bench.whole(reply) == b"until the end"
    assert not reply.framed
    assert bench.lost == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"])
async def test_a_connection_that_ends_too_early_is_a_fault(sent):
    bench = Bench()
    reply = bench.begin()
    if sent:
        bench.connection.data_received(sent)
    bench.connection.connection_lost(ConnectionResetError())
    with pytest.raises(UpstreamFault) as fault:
        await bench.whole(reply)
    assert fault.value.kind.code == "upstream_closed"


async def test_an_answer_to_head_has_no_body():
    bench = Bench()
    reply = bench.begin(bodyless=True)
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
    assert await bench.whole(reply) == b""


async def test_a_reader_that_lags_pauses_the_provider_and_resumes_it():
    """SSE-06"""
    bench = Bench()
    reply = bench.begin()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    piece = b"x" * 65_536
    for _ in range(MAX_BUFFERED_BYTES // len(piece) + 1):
        bench.connection.data_received(b"10000\r\n" + piece + b"\r\n")
    assert not bench.wire.reading
    assert len(await reply.read()) > MAX_BUFFERED_BYTES
    assert bench.wire.reading


@pytest.mark.parametrize(
    ("timeouts", "sent"),
    [
        (Timeouts(first_byte_s=0.02), b""),
        (Timeouts(idle_s=0.02), b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
        (Timeouts(total_s=0.02), b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"),
    ],
)
async def test_each_wait_has_its_limit(timeouts, sent):
    """HTTP-07"""
    bench = Bench(timeouts)
    reply = bench.begin()
    if sent:
        bench.connection.data_received(sent)
    with pytest.raises(UpstreamFault) as fault:
        async with patience():
            await bench.whole(reply)
    assert fault.value.kind.code == "upstream_timeout"
    assert bench.wire.aborted


async def test_a_short_rest_of_an_abandoned_answer_is_read_and_a_long_one_is_cut():
    short = Bench()
    reply = short.begin()
    short.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nha")
    await short.connection.head(reply)
    reply.close()
    short.connection.data_received(b"lf")
    assert short.freed == [True]
    long = Bench()
    reply = long.begin()
    long.connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\nha")
    await long.connection.head(reply)
    reply.close()
    long.connection.data_received(b"x" * 100_000)
    assert long.wire.aborted


async def test_an_aborted_connection_is_not_used_again_though_its_answer_still_arrives():
    """Who asked has gone; the loss of the connection is told only in a later turn of the loop."""
    bench = Bench()
    reply = bench.begin()
    bench.connection.abort()
    bench.connection.data_received(answer(b"late"))
    assert bench.freed == [False]
    assert not bench.connection.reusable()
    assert reply.ended
