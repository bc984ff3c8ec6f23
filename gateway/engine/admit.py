"""Phase 1: raw request -> Call. Who asks is settled before anything else is read for its meaning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any
from urllib.parse import parse_qsl

from gateway.core.errors import Refusal
from gateway.core.model import Call, Caller, Headers
from gateway.core.ports import Authenticator, Client
from gateway.engine import headers as header_rules
from gateway.engine.runtime import Runtime
from gateway.engine.tasks import for_size
from gateway.policy.compile import Passthrough, passthrough_for
from gateway.wire import encodings, fields, strictjson
from gateway.wire.dialect import Dialect, refuse_upstream_choice
from gateway.wire.dialects import Route, refuse_odd_path, route

PASSTHROUGH = "passthrough"
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


def identify(client: Client, authenticator: Authenticator) -> Awaitable[Caller]:
    """The proven caller. Refusals: 401, `ambiguous_credentials`, 503 when it cannot be decided."""
    header_rules.refuse_unsound(client.headers)
    return authenticator.authenticate(_credential(client))


def admit(client: Client, caller: Caller, runtime: Runtime) -> Awaitable[Call]:
    """Everything that can be refused without asking a provider and without a model: path, rights, size, document."""
    path, _, query = client.target.partition("?")
    refuse_odd_path(path)
    known = route(path)
    listed = None if known else passthrough_for(runtime.policy, path)
    if known is None and listed is None:
        raise Refusal("unknown_path", "This gateway does not serve this path.")
    _refuse_method(client.method, known.methods if known else listed.methods if listed else frozenset())
    if path not in caller.endpoints:
        raise Refusal("endpoint_not_allowed", "This API key may not use this endpoint.")
    if known is not None:
        return _admit_known(client, caller, known, runtime)
    return _admit_passthrough(client, caller, query, runtime)


def _credential(client: Client) -> str:
    bearer: str | None = None
    for name, value in client.headers:
        if name == b"authorization":
            bearer = _bearer(value)
        elif name in {b"x-api-key", b"api-key"}:
            raise Refusal(
                "ambiguous_credentials",
                "Send the API key as 'Authorization: Bearer <key>' and in no other header.",
                param=name.decode(),
            )
    if bearer is None:
        raise Refusal("missing_api_key", "Send the API key as 'Authorization: Bearer <key>'.", param="Authorization")
    return bearer


def _bearer(value: bytes) -> str:
    scheme, _, credential = value.decode("ascii").partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise Refusal("missing_api_key", "Send the API key as 'Authorization: Bearer <key>'.", param="Authorization")
    return credential


def _refuse_method(method: str, allowed: frozenset[str]) -> None:
    if method not in allowed:
        names = ", ".join(sorted(allowed))
        raise Refusal("method_not_allowed", f"This path takes {names}.")


async def _admit_known(client: Client, caller: Caller, known: Route, runtime: Runtime) -> Call:
    dialect = known.dialect
    if dialect is None:
        body = await client.read_body(runtime.policy.limits.max_body_bytes)
        return _call(client, caller, known.name, body)
    body = await _json_body(client, runtime.policy.limits.max_body_bytes)
    document = await for_size(len(body), _read, body, dialect)
    unknown: tuple[str, ...] = ()
    if not dialect.known_fields.issuperset(document):
        unknown = tuple(sorted(document.keys() - dialect.known_fields))
    if unknown and runtime.policy.limits.unknown_fields == "refuse":
        raise Refusal("refused_field", "The policy passes only known fields; this one is not.", param=unknown[0][:64])
    return _call(client, caller, known.name, body, document, unknown)


def _read(body: bytes, dialect: Dialect) -> dict[str, Any]:
    document = _object(strictjson.parse(body))
    refuse_upstream_choice(document)
    dialect.validate(document)
    return document


async def _admit_passthrough(client: Client, caller: Caller, query: str, runtime: Runtime) -> Call:
    limits = runtime.policy.limits
    document: dict[str, Any] | None = None
    body: bytes | AsyncIterator[bytes] = b""
    if _is_json(client.headers) and client.method in _BODY_METHODS and client.content_length != 0:
        body = await _json_body(client, limits.max_body_bytes)
        parsed = await for_size(len(body), strictjson.parse, body)
        document = parsed if isinstance(parsed, dict) else None
        if document is not None:
            refuse_upstream_choice(document)
    elif client.method in _BODY_METHODS:
        body = client.stream_body(limits.max_upload_bytes) if client.content_length != 0 else b""
    call = _call(client, caller, PASSTHROUGH, body, document)
    if call.model:
        fields.model(call.model, "model")
    _refuse_model(call, query)
    return call


def _refuse_model(call: Call, query: str) -> None:
    """A passed-through request may name a model, in its document or in its query: the caller's list holds there too."""
    named = [value for name, value in parse_qsl(query) if name == "model"]
    if call.model:
        named.append(call.model)
    if any(model not in call.caller.models for model in named):
        raise Refusal("model_not_allowed", "This API key may not use this model.", param="model")


def passthrough_row(call: Call, runtime: Runtime) -> Passthrough:
    row = passthrough_for(runtime.policy, call.path.partition("?")[0])
    if row is None:
        raise Refusal("unknown_path", "This gateway does not serve this path.")
    return row


async def _json_body(client: Client, max_bytes: int) -> bytes:
    if not _is_json(client.headers):
        raise Refusal(
            "unsupported_media_type", "Send JSON, with 'Content-Type: application/json'.", param="Content-Type"
        )
    named = header_rules.value_of(client.headers, b"content-encoding")
    coding = encodings.request_coding(named.decode("ascii")) if named is not None else None
    body = await client.read_body(max_bytes)
    if coding is None:
        return body
    # Half a kilobyte may expand to a large document: what is decoded leaves the loop at any size.
    return await asyncio.to_thread(encodings.decode_request, body, coding, max_bytes)


def _is_json(headers: Headers) -> bool:
    value = header_rules.value_of(headers, b"content-type")
    if value is None:
        return False
    return value == b"application/json" or value.partition(b";")[0].strip().lower() == b"application/json"


def _object(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Refusal("invalid_type", "The body must be a JSON object.")
    return document


def _call(
    client: Client,
    caller: Caller,
    endpoint: str,
    body: bytes | AsyncIterator[bytes],
    document: dict[str, Any] | None = None,
    unknown_fields: tuple[str, ...] = (),
) -> Call:
    model, stream = (document.get("model"), document.get("stream")) if document else (None, None)
    # By their place: a class that is called with names makes a dictionary of them first.
    return Call(
        caller, endpoint, client.method, client.target, client.headers, body, client.content_length, document,
        model if isinstance(model, str) else "", stream is True, unknown_fields,
    )  # fmt: skip
