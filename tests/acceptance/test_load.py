"""Large bodies, many connections, slow readers, long streams: others do not feel them."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S, patience
from tests.support.process import serving, until
from tests.support.provider import DONE, LAST_CHUNK, STREAM_HEAD, chunk, delta, plain
from tests.support.raw import chat
from tests.support.running import KEY, policy_for, running


class Held(ThreadPoolExecutor):
    """The loop's pool of threads: whatever it is given to do waits until the test lets go."""

    def __init__(self) -> None:
        super().__init__()
        self.given = asyncio.Event()
        self.go = threading.Event()

    def submit(self, work, *arguments):
        self.given.set()
        return super().submit(lambda: self.go.wait(PATIENCE_S) and work(*arguments))


async def test_small_calls_are_answered_while_a_large_body_is_read(gateway, provider):
    """OPS-08, JSON-04: a hundred thousand messages are read beside the loop, not on it."""
    pool = Held()
    asyncio.get_running_loop().set_default_executor(pool)
    large = chat(messages=[{"role": "user", "content": "hi there"}] * 100_000)
    big = asyncio.create_task(gateway.ask(body=large, key=KEY))
    async with patience():
        await pool.given.wait()
        assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        assert not big.done()
        pool.go.set()
        assert (await big).status == 200


async def test_more_connections_than_descriptors_are_refused_and_those_accepted_are_served(provider, tmp_path):
    """OPS-24: with 256 descriptors; it recovers by itself."""
    async with serving(policy_for(provider.base_url), tmp_path, descriptors=256) as gateway:
        opened = [await gateway.connect() for _ in range(150)]
        statuses = []
        for raw in opened:
            try:
                statuses.append((await raw.ask(body=chat(), key=KEY)).status)
            except (ConnectionError, asyncio.IncompleteReadError):
                statuses.append(503)  # the refusal was sent, and the connection closed, before the request was
        assert statuses.count(200) == (256 - 64) // 2
        assert set(statuses) == {200, 503}
        for raw in opened:
            raw.close()
        await until_served(gateway)
        assert "bug" not in {event["event"] for event in gateway.events}


async def until_served(gateway) -> None:
    async with patience():
        while True:
            try:
                answer = await gateway.ask(body=chat(), key=KEY)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue
            if answer.status == 200:
                return


async def test_a_caller_that_refuses_to_read_is_cut_and_its_provider_closed(provider, tmp_path):
    """HTTP-07: other streams do not feel it."""
    sent = 0

    async def flood(call, writer):
        nonlocal sent
        writer.write(STREAM_HEAD)
        if call.json()["messages"][0]["content"] == "short":
            writer.write(chunk(delta("a")) + chunk(DONE) + LAST_CHUNK)
            return
        while not call.closed.is_set():
            writer.write(chunk(delta("x" * 10_000)))
            await writer.drain()
            sent += 1

    provider.script = flood
    async with running(policy_for(provider.base_url), tmp_path, write_timeout_s=0.3) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat("long", stream=True), key=KEY))
        await raw.head()
        raw.writer.transport.pause_reading()
        async with patience():
            while not gateway.lines:
                await asyncio.sleep(0.01)
        assert gateway.lines[0]["outcome"] == "client_slow"
        assert sent * 10_000 < 30_000_000  # what the sockets of both sides hold, and no more
        assert (await gateway.ask(body=chat("short", stream=True), key=KEY)).body == delta("a") + DONE
        async with patience():
            await provider.calls[0].closed.wait()
        raw.close()


async def test_memory_stays_flat_over_a_long_stream(provider, tmp_path):
    """SSE-05: as many frames as half an hour brings, and ten times their bytes."""
    frame = chunk(delta("x" * 5_000))

    async def long(_, writer):
        writer.write(STREAM_HEAD)
        for _ in range(9_000):
            writer.write(frame)
            await writer.drain()
        writer.write(chunk(DONE) + LAST_CHUNK)

    provider.script = long
    async with serving(policy_for(provider.base_url), tmp_path) as gateway:
        raw = await gateway.connect()
        await raw.send(raw.request(body=chat(stream=True), key=KEY))
        await raw.head()
        held, received = [], 0
        while (part := await raw.chunk()) is not None:
            received += len(part)
            if received // 5_000_000 > len(held):
                held.append(resident_bytes(gateway.process.pid))
        raw.close()
        assert received > 45_000_000
        assert held[-1] - held[0] < 4_000_000


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


SHARED = "    objects: shared\n"
UPLOAD = "passthrough:\n  files: {path: '/v1/files/*', methods: [GET, POST], provider: fake}\n"


@pytest.fixture
async def uploads(provider, tmp_path):
    async with running(policy_for(provider.base_url, provider=SHARED, rest=UPLOAD), tmp_path) as gateway:
        yield gateway


async def test_a_binary_answer_flows_before_it_is_whole(uploads, provider):
    """Passed through unread, also where it looks like something else."""
    go_on = asyncio.Event()

    async def script(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 8\r\n\r\n\x00\xff{\x80")
        await go_on.wait()
        writer.write(b"\r\n\r\n")

    provider.script = script
    raw = await uploads.connect()
    await raw.send(raw.request("GET", "/v1/files/x", key=KEY))
    head = await raw.head()
    assert (head.header("content-type"), head.header("content-length")) == ("audio/mpeg", "8")
    assert await raw.reader.readexactly(4) == b"\x00\xff{\x80"
    go_on.set()
    assert await raw.reader.readexactly(4) == b"\r\n\r\n"
    raw.close()


@pytest.mark.parametrize(
    "parts",
    [
        [b'content-disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\nbytes'],
        [b'content-disposition: form-data; name="_charset_"\r\n\r\nutf-7'] * 10_000,
        [b"x: " + b"y" * 100_000 + b"\r\n\r\nz"],
    ],
    ids=["file name", "many parts", "huge part header"],
)
async def test_a_multipart_body_travels_unread(uploads, provider, parts):
    """HTTP-20: byte for byte, to the provider that the policy names; nothing touches the disk."""
    boundary = b"-" * 1000
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    kind = ("Content-Type", f"multipart/form-data; boundary={boundary.decode()}")
    assert (await uploads.ask("POST", "/v1/files/x", body, KEY, (kind,))).status == 200
    assert provider.calls[0].body == body
    assert provider.calls[0].header("content-type") == kind[1].encode()


async def test_an_upload_flows_before_it_is_whole(uploads, provider):
    """The provider sees the first bytes while the caller still has the rest."""
    seen = asyncio.Event()

    async def read_head(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(5) == b"first"
        seen.set()
        assert await reader.readexactly(4) == b"last"
        writer.write(plain(b"{}"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(read_head, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    policy = policy_for(f"http://127.0.0.1:{port}/v1", provider=SHARED, rest=UPLOAD).encode()
    assert await uploads.gateway.reload((("policy.yaml", policy),))
    raw = await uploads.connect()
    head = raw.request("POST", "/v1/files/x", b"", KEY, (("Content-Type", "audio/wav"), ("Content-Length", "9")))
    await raw.send(head + b"first")
    async with patience():
        await seen.wait()
    await raw.send(b"last")
    assert (await raw.answer()).status == 200
    raw.close()
    server.close()


async def test_a_passed_through_path_has_the_same_rules_and_the_same_record(uploads, provider):
    assert (await uploads.ask("GET", "/v1/files/x")).status == 401
    assert (await uploads.ask("DELETE", "/v1/files/x", key=KEY)).status == 405
    assert (await uploads.ask("GET", "/v1/batches", key=KEY)).status == 404
    choice = (("x-base-url", "http://127.0.0.1:9"),)
    assert (await uploads.ask("GET", "/v1/files/x", key=KEY, headers=choice)).code == "refused_header"
    assert provider.calls == []
    provider.says(plain(b"data", headers=(("content-type", "text/plain"), ("set-cookie", "a=b"), ("server", "s"))))
    answer = await uploads.ask("GET", "/v1/files/x?after=1", key=KEY, headers=(("cookie", "a=b"),))
    assert (answer.body, answer.header("set-cookie"), answer.header("server")) == (b"data", None, None)
    (call,) = provider.calls
    assert (call.target, call.header("cookie")) == ("/v1/files/x?after=1", None)
    assert uploads.lines[-1]["endpoint"] == "passthrough"


async def test_model_text_that_looks_like_the_protocol_stays_inside_its_json(gateway, provider):
    """SSE-02"""
    text = "\n\ndata: [DONE]\n\nevent: x\rid: 1\n\n"
    provider.says(STREAM_HEAD, chunk(delta(text)), chunk(delta("after")), chunk(DONE), LAST_CHUNK)
    answer = await gateway.ask(body=chat(stream=True), key=KEY)
    assert answer.body == delta(text) + delta("after") + DONE
    frames = answer.body.decode().split("\n\n")
    assert json.loads(frames[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == text


async def test_the_pure_python_http_parser_refuses_the_same(provider, tmp_path):
    """HTTP-01, HTTP-02: where aiohttp's compiled parser is missing."""
    bodies = [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: +5\r\n\r\nhello",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost : g\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n folded: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1.1\r\nHost: g\r\n\r\n",
    ]
    async with serving(policy_for(provider.base_url), tmp_path, AIOHTTP_NO_EXTENSIONS="1") as gateway:
        for data in bodies:
            raw = await gateway.connect()
            key = f"Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\r\n".encode()
            await raw.send(data.replace(b"\r\n\r\n", b"\r\n" + key, 1))
            assert (await raw.answer()).status in {400, 401}, data
            assert await raw.closed()
            raw.close()
        assert (await gateway.ask(body=chat(), key=KEY)).status == 200
        await until(lambda: len(provider.calls) == 1)
