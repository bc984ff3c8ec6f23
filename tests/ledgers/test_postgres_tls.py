"""The ledger over TLS. The server of the wheel has none built in: a front does what PostgreSQL does before its own
protocol begins, with Python's TLS, and hands the rest to the real server."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from gateway.core.ports import LedgerUnusable
from gateway.ledgers.postgres import open_postgres
from tests.ledgers.contract import everything, outcome, spend
from tests.support.postgres import Postgres

_SSL_REQUEST = struct.pack(">II", 8, 80877103)


class Front:
    """`spoken` are the TLS versions of the connections that came through."""

    def __init__(self, backend: Postgres, context: ssl.SSLContext) -> None:
        self._backend = backend
        self._context = context
        self.spoken: list[str] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                return  # plain: this server wants none
            writer.write(b"S")
            await writer.start_tls(self._context)
            self.spoken.append(writer.get_extra_info("ssl_object").version())
            await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._backend.port)
        try:
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        finally:
            up_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


class Certificates:
    """Files of an authority, of a server that is called localhost, and of a client."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "client.pem", folder / "client.key"
        self.authority.cert_pem.write_to_path(str(self.ca))
        client = self.authority.issue_cert("gateway@example.test")
        client.cert_chain_pems[0].write_to_path(str(self.cert))
        client.private_key_pem.write_to_path(str(self.key))

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("localhost").configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def fronted(backend: Postgres, context: ssl.SSLContext) -> AsyncIterator[Front]:
    front = Front(backend, context)
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def front(postgres: Postgres, certificates: Certificates) -> AsyncIterator[Front]:
    await postgres.emptied()
    async with fronted(postgres, certificates.context()) as front:
        yield front


def address(front: Front, host: str = "localhost", **options: object) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://gateway@{host}:{front.port}/postgres?{query}"


async def test_a_server_with_the_right_certificate_is_used(front: Front, certificates: Certificates) -> None:
    ledger = await open_postgres(address(front, sslmode="verify-full", sslrootcert=certificates.ca), node="a")
    await spend(ledger, "1", 5)
    assert (await everything(ledger))[0].outcome == outcome("1", 5)
    await ledger.close()
    assert set(front.spoken) == {"TLSv1.3"}
    assert len(front.spoken) >= 3  # the first look, the writer, the pool


async def test_a_server_of_another_name_is_refused(front: Front, certificates: Certificates) -> None:
    with pytest.raises(LedgerUnusable, match="SSLCertVerificationError"):
        await open_postgres(
            address(front, host="127.0.0.1", sslmode="verify-full", sslrootcert=certificates.ca), node="a"
        )


async def test_a_server_of_another_authority_is_refused(front: Front, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with pytest.raises(LedgerUnusable, match="SSLCertVerificationError"):
        await open_postgres(address(front, sslmode="verify-full", sslrootcert=other), node="a")


async def test_an_authority_that_cannot_be_read_is_refused(front: Front, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnusable):
        await open_postgres(address(front, sslmode="verify-full", sslrootcert=tmp_path / "none.pem"), node="a")


async def test_a_server_without_tls_is_refused_where_it_must_have_it(postgres: Postgres) -> None:
    with pytest.raises(LedgerUnusable):
        await open_postgres(f"{postgres.dsn}?sslmode=require", node="a")


@pytest.mark.usefixtures("dsn")
async def test_a_client_shows_its_certificate(postgres: Postgres, certificates: Certificates) -> None:
    context = certificates.context()
    context.verify_mode = ssl.CERT_REQUIRED
    certificates.authority.configure_trust(context)
    async with fronted(postgres, context) as front:
        trusted = {"sslmode": "verify-full", "sslrootcert": certificates.ca}
        with pytest.raises(LedgerUnusable):
            await open_postgres(address(front, **trusted), node="a")
        shown = {"sslcert": certificates.cert, "sslkey": certificates.key}
        ledger = await open_postgres(address(front, **trusted, **shown), node="a")
        await spend(ledger, "1", 5)
        await ledger.close()
