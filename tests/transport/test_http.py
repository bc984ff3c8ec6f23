"""The pool towards one origin, on real sockets."""

import asyncio
import os
import ssl

import pytest
import trustme

from gateway.core.errors import UpstreamFault
from gateway.core.model import Pool, Timeouts, Tls
from gateway.transport.http import Http
from tests.support.provider import Provider, plain


def pool_to(provider, **pool) -> Http:
    return Http(f"http://127.0.0.1:{provider.port}", Timeouts(), Pool(**pool), Tls())


async def ask(http: Http, method: str = "POST", body: bytes = b"{}") -> bytes:
    reply = await http.send(method, "/v1/x", [(b"accept", b"*/*")], body, None)
    parts = []
    while part := await reply.read():
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


async def test_a_free_connection_is_used_again(provider):
    http = pool_to(provider)
    for _ in range(5):
        await ask(http)
    assert provider.connections == 1
    await http.close()


async def test_the_pool_never_opens_more_than_it_may_and_serves_those_who_wait(provider):
    http = pool_to(provider, max_connections=3)
    await asyncio.gather(*(ask(http) for _ in range(40)))
    assert len(provider.calls) == 40
    assert provider.connections == 3
    await http.close()


async def test_who_waits_too_long_for_a_connection_is_told_so(provider):
    release = asyncio.Event()

    async def stalls(_, writer):
        await release.wait()
        writer.write(plain(b"{}"))

    provider.script = stalls
    http = pool_to(provider, max_connections=1, max_wait_s=0.05)
    first = asyncio.create_task(ask(http))
    await provider.called.wait()
    with pytest.raises(UpstreamFault) as fault:
        await ask(http)
    assert fault.value.kind.code == "upstream_busy"
    release.set()
    assert await first == b"{}"
    await http.close()


async def test_who_gives_up_waiting_leaves_the_connection_to_the_next(provider):
    release = asyncio.Event()

    async def stalls(_, writer):
        await release.wait()
        writer.write(plain(b"{}"))

    provider.script = stalls
    http = pool_to(provider, max_connections=1)
    first = asyncio.create_task(ask(http))
    await provider.called.wait()
    gone, waits = asyncio.create_task(ask(http)), asyncio.create_task(ask(http))
    await asyncio.sleep(0)
    gone.cancel()
    release.set()
    assert await first == await waits == b"{}"
    with pytest.raises(asyncio.CancelledError):
        await gone
    await http.close()


@pytest.mark.parametrize("limit", ["max_age_s", "max_idle_s"])
async def test_a_connection_that_is_too_old_or_was_idle_too_long_is_not_used_again(provider, limit):
    http = pool_to(provider, **{limit: 0.0})
    await ask(http)
    await ask(http)
    assert provider.connections == 2
    await http.close()


@pytest.mark.parametrize(("method", "repeated"), [("GET", True), ("POST", False)])
async def test_only_what_is_safe_to_repeat_is_repeated_on_a_stale_connection(provider, method, repeated):
    """A provider may close a kept connection in the very moment in which it is used again."""

    async def script(call, writer):
        if len(provider.calls) == 2:
            writer.transport.abort()
        else:
            writer.write(plain(b"{}"))

    provider.script = script
    http = pool_to(provider)
    await ask(http)
    body = b"" if method == "GET" else b"{}"
    if repeated:
        assert await ask(http, method, body) == b"{}"
        assert len(provider.calls) == 3
    else:
        with pytest.raises(UpstreamFault) as fault:
            await ask(http, method, body)
        assert fault.value.kind.sent
        assert len(provider.calls) == 2
    await http.close()


async def test_nobody_home_is_a_fault_that_says_nothing_was_sent():
    http = Http("http://127.0.0.1:9", Timeouts(), Pool(), Tls())
    with pytest.raises(UpstreamFault) as fault:
        await ask(http)
    assert fault.value.kind.code == "upstream_unreachable"
    assert not fault.value.kind.sent
    await http.close()


async def test_proxy_variables_of_the_environment_are_not_read(provider, monkeypatch):
    """SSRF-08"""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    http = pool_to(provider)
    assert await ask(http)
    await http.close()


@pytest.mark.parametrize("value", [b"a\r\nx-injected: 1", b"a\nb", b"a\0b"])
async def test_a_header_value_with_a_control_character_never_leaves(provider, value):
    """HTTP-03"""
    http = pool_to(provider)
    with pytest.raises(ValueError, match="control character"):
        await http.send("POST", "/", [(b"x", value)], b"{}", None)
    assert provider.calls == []
    await http.close()


# -- TLS


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


async def tls_server(context: ssl.SSLContext) -> asyncio.Server:
    async def serve(reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[16:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")
                )
                await reader.readexactly(length)
                writer.write(plain(b"{}"))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)


def over_tls(server: asyncio.Server, **tls) -> Http:
    port = server.sockets[0].getsockname()[1]
    return Http(f"https://localhost:{port}", Timeouts(), Pool(max_age_s=0.0), Tls(**tls))


def written(path, blob) -> str:
    path.write_bytes(blob.bytes())
    return str(path)


async def test_a_certificate_must_be_trusted_and_for_this_host(authority, tmp_path):
    """SSRF-11"""
    ca_file = written(tmp_path / "ca.pem", authority.cert_pem)
    for name, trusted, works in [
        ("localhost", True, True),
        ("elsewhere.test", True, False),
        ("localhost", False, False),
    ]:
        server = await tls_server(context_of(authority.issue_cert(name)))
        http = over_tls(server, ca_file=ca_file if trusted else None)
        if works:
            assert await ask(http) == b"{}"
        else:
            with pytest.raises(UpstreamFault) as fault:
                await ask(http)
            assert fault.value.kind.code == "upstream_unreachable"
            assert fault.value.detail == "SSLCertVerificationError"
        await http.close()
        server.close()


async def test_a_provider_may_ask_for_a_client_certificate(authority, tmp_path):
    context = context_of(authority.issue_cert("localhost"))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    server = await tls_server(context)
    ca_file = written(tmp_path / "ca.pem", authority.cert_pem)
    client = authority.issue_cert("gateway.test")
    files = {
        "client_cert_file": written(tmp_path / "cert.pem", client.cert_chain_pems[0]),
        "client_key_file": written(tmp_path / "key.pem", client.private_key_pem),
    }
    known = over_tls(server, ca_file=ca_file, **files)
    assert await ask(known) == b"{}"
    unknown = over_tls(server, ca_file=ca_file)
    with pytest.raises(UpstreamFault):
        await ask(unknown)
    await known.close()
    await unknown.close()
    server.close()


async def test_a_changed_trust_file_is_read_for_the_next_connection_and_a_broken_one_changes_nothing(tmp_path, caplog):
    """OPS-25"""
    old, new = trustme.CA(), trustme.CA()
    file = tmp_path / "ca.pem"
    written(file, old.cert_pem)
    server = await tls_server(context_of(new.issue_cert("localhost")))
    http = over_tls(server, ca_file=str(file))
    with pytest.raises(UpstreamFault):
        await ask(http)
    written(file, new.cert_pem)
    os.utime(file, ns=(1, 1))
    assert await ask(http) == b"{}"
    file.write_text("not a certificate")
    assert await ask(http) == b"{}"
    assert "previous ones stay in use" in caplog.text
    await http.close()
    server.close()
