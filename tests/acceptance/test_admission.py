"""Who may ask, and what is refused at the door."""

import json

import pytest

from tests.support.raw import chat
from tests.support.running import KEY, digest, policy_for, running

ENDPOINTS = {
    "/v1/chat/completions": chat(),
    "/v1/completions": b'{"model":"m","prompt":"x"}',
    "/v1/responses": b'{"model":"m","input":"x"}',
    "/v1/embeddings": b'{"model":"m","input":"x"}',
    "/v1/moderations": b'{"model":"m","input":"x"}',
}


@pytest.mark.parametrize(
    "target", [*ENDPOINTS, "/v1/models", "/v1/models/m", "/v1/responses/r", "/v1/files", "/", "/x"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_no_path_answers_without_a_key(gateway, provider, method, target):
    """AUTH-01, ADM-01"""
    answer = await gateway.ask(method, target, b"{}" if method == "POST" else None)
    assert (answer.status, answer.code) == (401, "missing_api_key")
    assert provider.calls == []


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer    ",
        "Basic abc",
        "Bearer wrong",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        "Bearer " + "k" * 9_000,
    ],
)
async def test_a_failed_check_is_never_anonymous(gateway, provider, value):
    """AUTH-06"""
    answer = await gateway.ask(body=chat(), headers=(("Authorization", value),))
    assert answer.status == 401
    assert provider.calls == []


async def test_an_expired_key_is_refused(provider, tmp_path):
    """AUTH-06"""
    callers = f'  app: {{key_sha256: ["{digest(KEY)}"], team: t, models: ["*"], expires_at: 2020-01-01}}\n'
    async with running(policy_for(provider.base_url, callers=callers), tmp_path) as gateway:
        answer = await gateway.ask(body=chat(), key=KEY)
    assert (answer.status, answer.code) == (401, "expired_api_key")


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "Authorization"])
async def test_two_credentials_are_refused(gateway, provider, name):
    """AUTH-04"""
    value = f"Bearer {KEY}" if name == "Authorization" else KEY
    answer = await gateway.ask(body=chat(), key=KEY, headers=((name, value),))
    assert (answer.status, answer.code) == (400, "ambiguous_credentials")
    assert provider.calls == []


@pytest.mark.parametrize(
    "target",
    [
        "/v1/../admin", "//admin", "/v1//chat/completions", "/v1/%2e%2e/admin", "/v1/%252e%252e/admin", "/v1/models/..;x",
        "/v1/chat/completions/", "/V1/chat/completions", "/v1/chat/completions.", "/v1\\chat", "/v1/chat%2fcompletions",
        "/v1/chat/completions%00", "/healthz", "/metrics", "/reload", "http://other/v1/chat/completions", "*",
    ],
)  # fmt: skip
async def test_a_path_in_another_form_is_another_path(gateway, provider, target):
    """AUTH-03, ADM-01"""
    answer = await gateway.ask(target=target, body=chat(), key=KEY)
    assert answer.status in {400, 404}
    assert provider.calls == []


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PUT", "PATCH"])
async def test_another_method_runs_nothing(gateway, provider, method):
    """AUTH-18"""
    raw = await gateway.connect()
    await raw.send(raw.request(method, key=KEY))
    assert (await raw.head()).status == 405
    raw.close()
    assert provider.calls == []


@pytest.mark.parametrize("hosts", [(), ("a", "b"), ("a/health?x=",)])
async def test_the_host_header_decides_nothing(gateway, provider, hosts):
    """AUTH-02"""
    raw = await gateway.connect()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        *(f"Host: {host}" for host in hosts),
        f"Content-Length: {len(chat())}",
    ]
    await raw.send("\r\n".join(lines).encode() + b"\r\n\r\n" + chat())
    assert (await raw.answer()).status in {400, 401}
    raw.close()


RESTRICTED = """  app:
    key_sha256: ["{digest}"]
    team: t
    models: [allowed, "family-*"]
    endpoints: [/v1/chat/completions, /v1/models]
"""


@pytest.fixture
async def restricted(provider, tmp_path):
    callers = RESTRICTED.replace("{digest}", digest(KEY))
    models = "".join(
        f"  {name}: {{targets: [{{provider: fake}}]}}\n" for name in ("allowed", '"family-*"', "forbidden")
    )
    async with running(policy_for(provider.base_url, callers=callers, models=models), tmp_path) as gateway:
        yield gateway


@pytest.mark.parametrize(
    "model",
    ["forbidden", "Allowed", "allowed ", " allowed", "fake/allowed", "аllowed", "allowed\u200b", "family", "Family-1"],
)
async def test_only_the_exact_allowed_model_is_served(restricted, provider, model):
    """AUTH-14"""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "x"}]}).encode()
    answer = await restricted.ask(body=body, key=KEY)
    assert answer.status in {400, 403}
    assert provider.calls == []


async def test_an_allowed_pattern_is_served_and_an_endpoint_outside_the_list_is_not(restricted, provider):
    """AUTH-05"""
    body = json.dumps({"model": "family-7", "messages": [{"role": "user", "content": "x"}]}).encode()
    assert (await restricted.ask(body=body, key=KEY)).status == 200
    answer = await restricted.ask(target="/v1/embeddings", body=b'{"model":"allowed","input":"x"}', key=KEY)
    assert (answer.status, answer.code) == (403, "endpoint_not_allowed")


async def test_the_model_list_holds_what_the_caller_may_use(restricted):
    answer = await restricted.ask("GET", "/v1/models", key=KEY)
    assert [row["id"] for row in answer.json()["data"]] == ["allowed"]


@pytest.mark.parametrize("field", ["api_base", "base_url", "custom_llm_provider", "extra_headers", "api_key"])
@pytest.mark.parametrize("target", ENDPOINTS)
async def test_a_field_that_would_choose_the_upstream_is_refused(gateway, provider, target, field):
    """SSRF-01, SSRF-02"""
    body = json.dumps({**json.loads(ENDPOINTS[target]), field: "http://127.0.0.1:9"}).encode()
    answer = await gateway.ask(target=target, body=body, key=KEY)
    assert (answer.status, answer.code) == (400, "refused_field")
    assert provider.calls == []


BAD_DOCUMENTS = {
    "duplicate_key": [b'{"model":"m","model":"n","messages":[]}', b'{"model":"m","mod\\u0065l":"n","messages":[]}',
                      b'{"model":"m","messages":[{"role":"user","content":"x","content":"y"}]}'],
    "invalid_json": [b"", b"{", b'{"model":"m",}', b"{'model':'m'}", b"{} {}", b"{}x", b'{"model":NaN}', b'{"model":1e999}',
                     b'{/**/}', b"nul"],
    "invalid_encoding": [b'{"model":"\xff"}', b'{"model":"\xc0\xaf"}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"),
                         b'{"model":"\\ud800"}', b'{"model":"\\u0000"}'],
    "too_deep": [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 500 + b"1" + b"}" * 500],
    "invalid_type": [b"[]", b"null", b'"x"', b"1", b'{"model":"m","messages":{}}', b'{"model":"m","messages":"x"}',
                     b'{"model":1,"messages":[]}', b'{"model":"m","messages":[[]]}', b'{"model":"m","messages":["x"]}',
                     b'{"model":"m","messages":[{"role":"user","content":5}]}', chat(max_tokens="5"), chat(max_tokens=1.5),
                     chat(max_tokens=True), chat(stream="true"), chat(n=1.0), chat(temperature="0")],
    "invalid_value": [chat(max_tokens=0), chat(max_tokens=-1), chat(n=0), chat(n=1_000_000), chat(temperature=3),
                      b'{"model":"m","messages":[]}'],
    "missing_field": [b"{}", b'{"model":"m"}', b'{"messages":[{"role":"user","content":"x"}]}', b'{"model":null,"messages":[]}'],
}  # fmt: skip


@pytest.mark.parametrize("code", BAD_DOCUMENTS)
async def test_an_unsound_document_is_a_clear_400(gateway, provider, code):
    """JSON-01, JSON-03, JSON-05, JSON-06, JSON-07, JSON-08"""
    for body in BAD_DOCUMENTS[code]:
        answer = await gateway.ask(body=body, key=KEY)
        assert (answer.status, answer.code) == (400, code), body[:80]
    assert provider.calls == []


async def test_too_many_values_are_refused_before_they_are_built(gateway, provider):
    """JSON-04"""
    body = b'{"model":"m","messages":[' + b'{"role":"user"},' * 1_100_000 + b"{}]}"
    answer = await gateway.ask(body=body, key=KEY)
    assert answer.status == 400
    assert answer.code == "too_many_values"


async def test_null_means_not_set_as_in_openais_own_api(gateway):
    """JSON-05"""
    assert (await gateway.ask(body=chat(max_tokens=None, temperature=None), key=KEY)).status == 200


async def test_unknown_fields_that_pass_are_named_in_the_log_unless_they_are_no_names(gateway, provider):
    """JSON-10"""
    await gateway.ask(body=chat(vendor_flag=1, **{"my number is 555-0100": True}), key=KEY)
    assert gateway.lines[-1]["unknown_fields"] == "vendor_flag"
    await gateway.ask(body=chat(), key=KEY)
    assert "unknown_fields" not in gateway.lines[-1]


async def test_unknown_fields_pass_or_are_refused_as_the_policy_says(gateway, provider, tmp_path):
    """JSON-10"""
    body = chat(vendor_flag={"a": 1})
    assert (await gateway.ask(body=body, key=KEY)).status == 200
    assert provider.calls[0].body == body
    (tmp_path / "strict").mkdir()
    policy = policy_for(provider.base_url, rest="limits: {unknown_fields: refuse}\n")
    async with running(policy, tmp_path / "strict") as strict:
        answer = await strict.ask(body=body, key=KEY)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "vendor_flag")


async def test_another_media_type_is_a_415(gateway):
    answer = await gateway.ask(body=chat(), key=KEY, headers=(("Content-Type", "application/x-www-form-urlencoded"),))
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
