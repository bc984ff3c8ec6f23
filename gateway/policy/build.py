"""Checked documents -> the compiled policy: references resolved, cross-references proven, indexes made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from gateway.callers.issuer import Issuer, IssuerError, Rights
from gateway.callers.keys import KeyRow
from gateway.core.model import Caller, Names, Pool, Provider, Timeouts, Tls
from gateway.core.secret import Secret
from gateway.policy import schema
from gateway.policy.accounts import AccountsBuilder
from gateway.policy.compile import ContentCapture, Limits, ModelTable, Passthrough, PolicySet, TargetRule, Tracing
from gateway.policy.guards import GuardBuilder, Workshop, no_network
from gateway.policy.problems import Problem, dotted
from gateway.policy.suggest import suggestion
from gateway.prices.bundled import provider_ids
from gateway.sinks.sampling import Keep

Where = Callable[..., tuple[str, int]]

_FORBIDDEN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer", "expect", "cookie"}
    | {"proxy-authorization", "keep-alive", "content-encoding", "accept-encoding", "content-type"}
    | {"traceparent", "tracestate"}
)
_EXAMPLE_KEYS = ("", "test", "secret", "changeme", "password", "sk-example", "sk-test", "gw-example", "example", "key")
_EXAMPLE_DIGESTS = frozenset(hashlib.sha256(key.encode()).hexdigest() for key in _EXAMPLE_KEYS)
_BUILT_IN = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/models",
    "/v1/usage",
)


class Unresolved(Exception):
    """A reference leads nowhere; the message says what is missing and never shows a value."""


class Builder:
    """One build. `problems` holds what was found; the PolicySet counts only when it is empty. `wrong` are the entries
    (section, name) that stand in the files but not in the document, as the schema refuses them."""

    def __init__(
        self,
        document: schema.PolicyDocument,
        where: Where,
        directory: Path,
        environ: Mapping[str, str],
        wrong: frozenset[tuple[str, str]] = frozenset(),
        workshop: Workshop | None = None,
    ) -> None:
        self._wrong = wrong
        self._guards = GuardBuilder(
            document, directory, workshop or Workshop(no_network), self._resolved, self._problem, self._is_wrong
        )
        self._accounts = AccountsBuilder(document, self._problem, self._is_wrong, self._known)
        self._document = document
        self._where = where
        self._directory = directory
        self._environ = environ
        self._left_out: set[str] = set()
        self.problems: list[Problem] = []

    def build(self, version: str) -> PolicySet:
        providers = self._providers()
        models = self._models()
        passthrough = self._passthrough()
        guard_sets = self._guards.sets()
        self._refuse_unused()
        limits = self._document.limits
        return PolicySet(
            version=version,
            providers=providers,
            models=ModelTable(models),
            keys=self._keys(),
            issuers=self._issuers(),
            passthrough=passthrough,
            limits=Limits(**limits.model_dump()),
            left_out=tuple(sorted(self._left_out)),
            guard_sets=guard_sets,
            model_guards=self._model_guards(),
            model_caps=self._accounts.model_caps(),
            budgets=self._accounts.budgets(),
            rate_limits=self._accounts.rate_limits(),
            prices=self._accounts.prices(),
            accounting=self._accounts.accounting(),
            tracing=self._tracing(),
        )

    def _problem(self, path: tuple[str | int, ...], message: str) -> None:
        file, line = self._where(*path)
        self.problems.append(Problem(file, line, f"{dotted(path)}: {message}"))

    def _model_guards(self) -> dict[str, str]:
        for name, row in self._document.models.items():
            self._guards.known(("models", name, "guards"), row.guards)
        return {name: row.guards for name, row in self._document.models.items() if row.guards is not None}

    # -- providers

    def _providers(self) -> dict[str, Provider]:
        found: dict[str, Provider] = {}
        for name, row in self._document.providers.items():
            try:
                found[name] = self._provider(name, row)
            except Unresolved as missing:
                if row.optional:
                    self._left_out.add(name)
                else:
                    self._problem(("providers", name, "api_key"), str(missing))
        return found

    def _provider(self, name: str, row: schema.ProviderRow) -> Provider:
        path = ("providers", name)
        if row.shape == "openai":
            self._check_url((*path, "base_url"), row.base_url)
        elif row.base_url is not None or row.api_key is not None:
            self._problem(path, "the demo shape takes no base_url and no api_key")
        for header in row.headers:
            if header.lower() in _FORBIDDEN_HEADERS:
                self._problem((*path, "headers", header), "this header is set by the gateway itself")
        if row.catalogue is not None and row.catalogue not in (known := provider_ids()):
            close = suggestion(row.catalogue, known)
            self._problem((*path, "catalogue"), f'the price catalogue has no provider "{row.catalogue}"{close}')
        api_key = self._resolved(row.api_key) if row.api_key is not None else None
        return Provider(
            name=name,
            shape=row.shape,
            base_url=(row.base_url or "").rstrip("/"),
            api_key=Secret(api_key) if api_key else None,
            organization=self._text(row.organization),
            project=self._text(row.project),
            headers=tuple((key, self._text(value) or "") for key, value in row.headers.items()),
            stream_usage=row.stream_usage,
            catalogue=row.catalogue or "",
            output_cap_field=row.output_cap_field,
            traceparent=row.traceparent,
            objects=row.objects,
            timeouts=Timeouts(**row.timeouts.model_dump()),
            pool=Pool(**row.pool.model_dump()),
            tls=self._tls(path, row.tls),
        )

    def _check_url(self, path: tuple[str | int, ...], url: str | None) -> None:
        if url is None:
            self._problem(path[:-1], "base_url is missing")
            return
        try:
            parts = urlsplit(url)
            sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound or "@" in url or "?" in url or "#" in url or not url.isascii() or not url.isprintable():
            self._problem(path, "must be http(s)://host[:port][/path], without user, query or fragment")

    def _tls(self, path: tuple[str, ...], row: schema.TlsRow) -> Tls:
        files = {}
        for key in ("ca_file", "client_cert_file", "client_key_file"):
            value = getattr(row, key)
            files[key] = str(self._directory / value) if value else None
            if value and not (self._directory / value).is_file():
                self._problem((*path, "tls", key), "there is no such file")
        if (row.client_cert_file is None) != (row.client_key_file is None):
            self._problem((*path, "tls"), "client_cert_file and client_key_file go together")
        return Tls(**files, server_name=row.server_name)

    def _text(self, value: str | None) -> str | None:
        """Literal text, or what a reference leads to."""
        if value is not None and value.startswith(("env:", "file:")):
            return self._resolved(value)
        return value

    def _resolved(self, reference: str) -> str:
        kind, _, name = reference.partition(":")
        if kind == "env":
            value = self._environ.get(name, "").strip()
            if not value:
                raise Unresolved(f"the environment variable {name} is not set: set it, or mark the provider optional")
        else:
            try:
                value = (self._directory / name).read_text().strip()
            except (OSError, UnicodeDecodeError):
                raise Unresolved(f"the file {name} cannot be read: write it, or mark the provider optional") from None
            if not value:
                raise Unresolved(f"the file {name} is empty")
        if not value.isascii() or not value.isprintable():
            raise Unresolved(f"{name} holds characters that cannot stand in a header")
        return value

    # -- models and passthrough

    def _models(self) -> dict[str, tuple[TargetRule, ...]]:
        found = {}
        for name, row in self._document.models.items():
            targets = []
            for index, target in enumerate(row.targets):
                if self._known(("models", name, "targets", index, "provider"), target.provider):
                    targets.append(TargetRule(target.provider, target.model))
            if targets:
                found[name] = tuple(targets)
        return found

    def _known(self, path: tuple[str | int, ...], provider: str) -> bool:
        """Whether the provider can be used; one that does not exist at all is a problem."""
        if self._is_wrong("providers", provider):
            return False
        if provider not in self._document.providers:
            close = suggestion(provider, self._document.providers)
            self._problem(path, f'there is no provider "{provider}"{close}')
            return False
        return provider not in self._left_out

    def _is_wrong(self, section: str, name: str | None = None) -> bool:
        """Whether the entry, or with no name any entry, of the section was left out."""
        return any(where == section and entry in {name or entry, ""} for where, entry in self._wrong)

    def _passthrough(self) -> tuple[Passthrough, ...]:
        rows = []
        for name, row in self._document.passthrough.items():
            path = ("passthrough", name)
            if _collides(row.path):
                self._problem((*path, "path"), "this path is served by a built-in endpoint")
            if self._known((*path, "provider"), row.provider):
                rows.append(Passthrough(row.path, frozenset(row.methods), row.provider, row.charge_usd))
        return tuple(rows)

    def _refuse_unused(self) -> None:
        if self._is_wrong("models") or self._is_wrong("passthrough"):
            return  # one of those may use it
        used = {target.provider for row in self._document.models.values() for target in row.targets}
        used |= {row.provider for row in self._document.passthrough.values()}
        for name, row in self._document.providers.items():
            if name not in used and not row.optional:
                self._problem(("providers", name), "no model and no passthrough uses this provider: remove it")

    # -- tracing

    def _tracing(self) -> Tracing:
        row = self._document.tracing
        for index, name in enumerate(row.keep.callers):
            self._check_caller(("tracing", "keep", "callers", index), name)
        keep = Keep(
            errors=row.keep.errors,
            blocked=row.keep.blocked,
            masked=row.keep.masked,
            slower_than_s=row.keep.slower_than_s,
            dearer_than_nano=row.keep.dearer_than_usd,
            callers=Names.of(row.keep.callers),
        )
        profiles = frozenset(row.profiles)
        return Tracing(row.sample, keep, profiles, row.spans == "thin", row.metrics, self._content(row.content))

    def _content(self, row: schema.ContentRow) -> ContentCapture | None:
        path = ("tracing", "content")
        for index, name in enumerate(row.callers):
            self._check_caller((*path, "callers", index), name)
        for index, name in enumerate(row.models):
            self._check_model((*path, "models", index), name)
        if not row.capture:
            return None
        return ContentCapture(Names.of(row.callers), Names.of(row.models), row.max_bytes)

    def _check_model(self, path: tuple[str | int, ...], wanted: str) -> None:
        """A name that no rule of `models` leads anywhere, and a pattern that meets none."""
        known = self._document.models
        if not known or self._is_wrong("models"):
            return
        if not any(Names.of([rule]).meets(wanted) for rule in known):
            self._problem(path, f'there is no model "{wanted}"{suggestion(wanted, known)}')

    def _check_caller(self, path: tuple[str | int, ...], wanted: str) -> None:
        """Names from tokens cannot be known beforehand."""
        known = self._document.callers
        if not known or self._document.issuers or self._is_wrong("callers") or self._is_wrong("issuers"):
            return
        if not Names.of(list(known)).meets(wanted):
            self._problem(path, f'there is no caller "{wanted}"{suggestion(wanted, known)}')

    # -- callers

    def _keys(self) -> dict[str, KeyRow]:
        found: dict[str, KeyRow] = {}
        for name, row in self._document.callers.items():
            self._guards.known(("callers", name, "guards"), row.guards)
            caller = _caller(name, row)
            expires_at = self._expiry(name, row.expires_at)
            for index, digest in enumerate(row.key_sha256):
                path = ("callers", name, "key_sha256", index)
                if digest in _EXAMPLE_DIGESTS:
                    self._problem(path, "this is the digest of an example key; 'gateway keys new' makes a real one")
                if digest in found:
                    self._problem(path, f'the caller "{found[digest].caller.name}" has the same key')
                found[digest] = KeyRow(caller, expires_at)
        return found

    def _expiry(self, name: str, text: str | None) -> float | None:
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self._problem(("callers", name, "expires_at"), "must be a date (2027-01-31) or an RFC 3339 time")
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()

    def _issuers(self) -> tuple[Issuer, ...]:
        found: list[Issuer] = []
        for name, row in self._document.issuers.items():
            if any(issuer.issuer == row.issuer for issuer in found):
                self._problem(("issuers", name, "issuer"), "another row has the same issuer")
                continue
            for index, rule in enumerate(row.rights):
                self._guards.known(("issuers", name, "rights", index, "guards"), rule.guards)
            try:
                found.append(self._issuer(name, row))
            except IssuerError as error:
                self._problem(("issuers", name), str(error))
        return tuple(found)

    def _issuer(self, name: str, row: schema.IssuerRow) -> Issuer:
        return Issuer(
            name=name,
            issuer=row.issuer,
            audience=row.audience,
            jwks_file=self._directory / row.jwks_file if row.jwks_file else None,
            jwks_url=row.jwks_url,
            discover=row.discover,
            algorithms=tuple(row.algorithms),
            name_claim=row.claims.name,
            team_claim=row.claims.team,
            rights=tuple((dict(rule.when), _rights(rule)) for rule in row.rights),
        )


def _caller(name: str, row: schema.CallerRow) -> Caller:
    return Caller(
        name=name,
        team=row.team,
        models=Names.of(row.models),
        endpoints=Names.of(row.endpoints),
        labels=dict(row.labels),
        guards=row.guards or "",
        trace_mode=row.trace.mode,
        trusted=row.trace.trusted,
    )


def _rights(rule: schema.RightsRow) -> Rights:
    return Rights(
        models=Names.of(rule.models),
        endpoints=Names.of(rule.endpoints),
        labels=dict(rule.labels),
        guards=rule.guards or "",
        trace_mode=rule.trace.mode,
        trusted=rule.trace.trusted,
    )


def _collides(path: str) -> bool:
    plain = path.removesuffix("/*")
    return path in _BUILT_IN or any(plain == built.rsplit("/", 1)[0] and path.endswith("/*") for built in _BUILT_IN)
