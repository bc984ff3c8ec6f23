"""Bounded decoding of content codings."""

import gzip
import zlib

import brotli
import pytest
import zstandard

from gateway.core.errors import Refusal, UpstreamFault
from gateway.wire.encodings import SUPPORTED, ReplyDecoder, decode_request, request_coding

TEXT = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}' * 20
PACKED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "br": brotli.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
}
BOMB = {
    "gzip": gzip.compress(b"\0" * 20_000_000),
    "deflate": zlib.compress(b"\0" * 20_000_000),
    "br": brotli.compress(b"\0" * 20_000_000),
    "zstd": zstandard.compress(b"\0" * 20_000_000),
}


@pytest.mark.parametrize("coding", SUPPORTED)
def test_every_supported_coding_is_decoded(coding):
    assert decode_request(PACKED[coding], coding, 1 << 20) == TEXT


@pytest.mark.parametrize("coding", SUPPORTED)
def test_a_reply_cut_at_any_place_decodes_the_same(coding):
    for cut in range(0, len(PACKED[coding]) + 1, 7):
        decoder = ReplyDecoder(coding, 1 << 20)
        assert decoder.feed(PACKED[coding][:cut]) + decoder.feed(PACKED[coding][cut:]) == TEXT
        decoder.finish()


def test_deflate_without_its_zlib_header_is_decoded():
    packer = zlib.compressobj(wbits=-15)
    assert decode_request(packer.compress(TEXT) + packer.flush(), "deflate", 1 << 20) == TEXT


@pytest.mark.parametrize("coding", sorted(BOMB))
def test_a_bomb_is_refused_at_the_limit(coding):
    """HTTP-10"""
    with pytest.raises(Refusal) as refused:
        decode_request(BOMB[coding], coding, 1_000_000)
    assert refused.value.code == "body_too_large"


@pytest.mark.parametrize("coding", sorted(BOMB))
def test_a_providers_bomb_is_a_fault_of_the_provider(coding):
    """HTTP-12"""
    with pytest.raises(UpstreamFault):
        ReplyDecoder(coding, 1_000_000).feed(BOMB[coding])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_cut_off_body_is_refused(coding):
    with pytest.raises(Refusal) as refused:
        decode_request(PACKED[coding][:-3], coding, 1 << 20)
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_bytes_after_the_end_are_refused(coding):
    """HTTP-10: many members joined together."""
    with pytest.raises(Refusal):
        decode_request(PACKED[coding] + PACKED[coding], coding, 1 << 20)


@pytest.mark.parametrize("value", ["gzip, gzip", "x-foo", "identity;q=0", "gzip;", "compress"])
def test_an_unknown_or_stacked_coding_is_refused(value):
    """HTTP-11"""
    with pytest.raises(Refusal) as refused:
        request_coding(value)
    assert refused.value.status == 415


@pytest.mark.parametrize("value", ["", "identity", " Identity "])
def test_identity_needs_no_decoding(value):
    assert request_coding(value) is None
