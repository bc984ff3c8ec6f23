"""Which headers pass."""

import pytest

from gateway.core.errors import Refusal
from gateway.engine.headers import MAX_KEPT, MAX_KEPT_BYTES, ByNames, refuse_unsound, to_caller, to_provider

HOST = (b"host", b"gateway")


def names(headers):
    return {name for name, _ in headers}


def test_only_listed_headers_reach_the_provider():
    """SSRF-09"""
    sent = [
        HOST,
        (b"authorization", b"Bearer gw-key"),
        (b"cookie", b"a=b"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-internal", b"1"),
        (b"user-agent", b"app"),
        (b"openai-beta", b"assistants=v2"),
        (b"idempotency-key", b"k"),
        (b"x-stainless-lang", b"python"),
    ]
    passed = names(to_provider(sent, coding=b"identity"))
    assert passed == {b"user-agent", b"openai-beta", b"idempotency-key", b"x-stainless-lang", b"accept-encoding"}


def test_a_header_that_connection_lists_is_hop_by_hop():
    """HTTP-16"""
    sent = [HOST, (b"connection", b"close, Idempotency-Key"), (b"idempotency-key", b"k"), (b"user-agent", b"app")]
    assert b"idempotency-key" not in names(to_provider(sent, coding=b"identity"))


def test_what_the_second_of_two_connection_headers_lists_is_hop_by_hop_too():
    """HTTP-16"""
    sent = [HOST, (b"connection", b"keep-alive"), (b"connection", b"Idempotency-Key"), (b"idempotency-key", b"k")]
    assert b"idempotency-key" not in names(to_provider(sent, coding=b"identity"))


def test_only_listed_headers_reach_the_caller():
    """SSRF-11"""
    received = [
        (b"set-cookie", b"a=b"),
        (b"server", b"x"),
        (b"openai-organization", b"org"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
        (b"x-gateway-policy", b"forged"),
        (b"content-type", b"application/json"),
        (b"x-request-id", b"r"),
        (b"x-ratelimit-remaining-requests", b"1"),
        (b"retry-after-ms", b"5"),
    ]
    kept = {b"content-type", b"x-request-id", b"x-ratelimit-remaining-requests", b"retry-after-ms"}
    assert names(to_caller(received)) == kept


@pytest.mark.parametrize(
    "name", [b"x-portkey-custom-host", b"x-any-base-url", b"x-api-base", b"x-upstream-url", b"x-http-method-override"]
)
def test_a_header_that_would_choose_the_upstream_is_refused(name):
    """SSRF-01, AUTH-18"""
    with pytest.raises(Refusal) as refused:
        refuse_unsound([HOST, (name, b"http://127.0.0.1:1")])
    assert refused.value.code == "refused_header"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([HOST, HOST], "bad_request"),
        ([], "bad_request"),
        ([HOST, (b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], "ambiguous_credentials"),
        ([HOST, (b"user-agent", b"\xff")], "bad_request"),
    ],
)
def test_headers_that_mean_two_things_are_refused(headers, code):
    """AUTH-02, AUTH-04, HTTP-15"""
    with pytest.raises(Refusal) as refused:
        refuse_unsound(headers)
    assert refused.value.code == code


def test_what_is_kept_of_names_says_nothing_of_values():
    refuse_unsound([HOST, (b"user-agent", b"app"), (b"transfer-encoding", b"chunked")])
    for headers in (
        [HOST, (b"user-agent", b"a\x00p"), (b"transfer-encoding", b"chunked")],
        [HOST, (b"user-agent", b"app"), (b"transfer-encoding", b"gzip, chunked")],
    ):
        with pytest.raises(Refusal) as refused:
            refuse_unsound(headers)
        assert refused.value.code == "bad_request"


def test_names_that_were_refused_are_refused_again():
    for _ in range(2):
        with pytest.raises(Refusal):
            refuse_unsound([HOST, (b"x-base-url", b"http://127.0.0.1:1")])


def test_what_is_kept_of_names_is_bounded_in_number_and_size():
    made = []
    kept = ByNames(lambda names: made.append(names) or len(names))
    assert [kept[(b"x-%d" % number,)] for number in range(2 * MAX_KEPT)] == [1] * 2 * MAX_KEPT
    assert len(kept) <= MAX_KEPT
    long = (b"x" * (MAX_KEPT_BYTES + 1),)
    assert kept[long] == kept[long] == 1
    assert long not in kept
    assert kept[(b"host",)] == kept[(b"host",)] == 1
    assert made.count((b"host",)) == 1
