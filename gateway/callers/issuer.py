"""Who may issue tokens for this gateway, as policy says it; what can never work or be safe is refused here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.core.model import Names
from gateway.core.trace import Mode

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
_DEFAULT_PORTS = {"https": 443, "http": 80}


class IssuerError(ValueError):
    """An issuer's row, key file, discovery document or key set cannot be used."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"issuer {name}: {problem}")


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller may do, as a row of the policy says it."""

    models: Names
    endpoints: Names
    labels: Mapping[str, str]
    guards: str = ""
    trace_mode: Mode = "link"
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Issuer:
    """One row of the policy's issuers. `issuer` is the exact `iss`. Exactly one of `jwks_file`, `jwks_url`, `discover`.

    `rights` are pairs of conditions (claim name to wanted value, all must hold) and what they give; the first that
    matches applies. Raises IssuerError for what can never work or never be safe.
    """

    name: str
    issuer: str
    audience: str
    jwks_file: Path | None
    jwks_url: str | None
    discover: bool
    algorithms: tuple[str, ...]
    name_claim: str
    team_claim: str
    rights: tuple[tuple[Mapping[str, str], Rights], ...]

    def __post_init__(self) -> None:
        if not (self.issuer and self.audience):
            raise IssuerError(self.name, "issuer and audience must not be empty")
        if not self.algorithms or not ALGORITHMS.issuperset(self.algorithms):
            raise IssuerError(self.name, f"algorithms must be of {', '.join(sorted(ALGORITHMS))}")
        if (self.jwks_file is not None) + (self.jwks_url is not None) + self.discover != 1:
            raise IssuerError(self.name, "exactly one of jwks_file, jwks_url and discover is needed")
        if self.jwks_url is not None:
            origin(self.name, self.jwks_url)
        if self.discover:
            origin(self.name, self.issuer)


def origin(name: str, url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL that keys may be fetched from: https, or http that stays on this machine.

    Raises IssuerError for any other. `name` is the issuer's, for the message.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise IssuerError(name, "a key URL is malformed") from error
    if not host or "@" in parts.netloc or "\\" in url or not url.isascii() or parts.fragment:
        raise IssuerError(name, "a key URL needs a host, and neither credentials nor a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise IssuerError(name, "a key URL must be https; http is for loopback only")
    return parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
