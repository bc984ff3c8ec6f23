"""A settable clock, a scripted fetch, and issuers that sign with keys made here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.callers.issuer import Issuer, Rights
from gateway.core.model import Caller, Names

NOW = 1_800_000_000.0
ISSUER = "https://idp.example"
JWKS_URL = "https://idp.example/keys"
AUDIENCE = "llm-gateway"

EVERYTHING = Rights(models=Names.of(["*"]), endpoints=Names.of(["*"]), labels={})
CHECKOUT = Caller("checkout-service", "payments", Names.of(["gpt-*"]), Names.of(["*"]), {"env": "prod"})


class SettableClock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = NOW - self.now

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.wall_offset

    def pass_time(self, seconds: float) -> None:
        self.now += seconds


class ScriptedFetch:
    """Answers URLs from a table; an exception in it is raised. Holds every answer back while `open` is not set."""

    def __init__(self, answers: Mapping[str, bytes | Exception]) -> None:
        self.answers = dict(answers)
        self.calls: list[str] = []
        self.called = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, url: str) -> bytes:
        self.calls.append(url)
        self.called.set()
        await self.open.wait()
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer


PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def private_key(algorithm: str, number: int = 0) -> PrivateKey:
    if algorithm[:2] in {"RS", "PS"}:
        return rsa.generate_private_key(65537, 2048)
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm])


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    kinds: tuple[tuple[type, Any], ...] = (
        (rsa.RSAPrivateKey, jwt.algorithms.RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, jwt.algorithms.ECAlgorithm),
        (ed25519.Ed25519PrivateKey, jwt.algorithms.OKPAlgorithm),
    )
    algorithm = next(algorithm for kind, algorithm in kinds if isinstance(key, kind))
    members: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    members.pop("key_ops", None)
    return members


class Signer:
    """One signing key of an issuer."""

    def __init__(self, algorithm: str = "EdDSA", kid: str | None = "k1", number: int = 0) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.key = private_key(algorithm, number)

    def jwk(self, **extra: Any) -> dict[str, Any]:
        named = {} if self.kid is None else {"kid": self.kid}
        return {**public_jwk(self.key), **named, **extra}

    def token(self, without: tuple[str, ...] = (), **claims: Any) -> str:
        """A token that is good for an hour, but for the claims given or left out."""
        usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "team": "research", "exp": NOW + 3600}
        payload = {name: value for name, value in {**usual, **claims}.items() if name not in without}
        headers = None if self.kid is None else {"kid": self.kid}
        # PyJWT's own encoder refuses some of the claims that a hostile or broken issuer would sign
        return jwt.PyJWS().encode(json.dumps(payload).encode(), self.key, self.algorithm, headers)


def key_set(*jwks: object) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def issuer_row(
    *,
    issuer: str = ISSUER,
    jwks_file: Path | None = None,
    jwks_url: str | None = None,
    discover: bool = False,
    algorithms: tuple[str, ...] = ("RS256", "ES256", "EdDSA"),
    name_claim: str = "sub",
    rights: tuple[tuple[Mapping[str, str], Rights], ...] = (({}, EVERYTHING),),
) -> Issuer:
    """An issuer whose keys come from JWKS_URL unless the row says otherwise."""
    if jwks_file is None and not discover:
        jwks_url = jwks_url or JWKS_URL
    return Issuer(
        name="corp-idp",
        issuer=issuer,
        audience=AUDIENCE,
        jwks_file=jwks_file,
        jwks_url=jwks_url,
        discover=discover,
        algorithms=algorithms,
        name_claim=name_claim,
        team_claim="team",
        rights=rights,
    )
