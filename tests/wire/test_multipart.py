from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.multipart import MAX_PARTS, boundary_of, parts

CONTENT = st.binary(max_size=60).filter(lambda data: b"--xyz" not in data)


def form(contents, head=b'content-disposition: form-data; name="a"'):
    return b"".join(b"--xyz\r\n" + head + b"\r\n\r\n" + data + b"\r\n" for data in contents) + b"--xyz--\r\n"


@given(st.lists(CONTENT, min_size=1, max_size=5))
def test_the_parts_are_what_was_put_in(contents):
    body = form(contents)
    assert [body[part.start : part.end] for part in parts(body, b"xyz")] == contents


def test_what_a_part_says_of_itself_is_read():
    head = b'Content-Disposition: form-data; name="f"; filename="a b.TXT"\r\nContent-Type: text/plain; charset=x'
    (part,) = parts(form([b"x"], head), b"xyz")
    assert (part.filename, part.kind, part.coded) == ("a b.TXT", "text/plain", False)
    (part,) = parts(form([b"x"], b"content-transfer-encoding: base64"), b"xyz")
    assert (part.filename, part.kind, part.coded) == (None, "", True)


def test_a_body_that_could_be_read_in_two_ways_is_not_read():
    sound = form([b"x"])
    for body in (
        b"", b"preamble\r\n" + sound, sound[:-8], b"--xyz", b"--xyz\r\nno head", b"--xyzzy\r\n\r\n\r\n--xyz--\r\n",
        b"--xyz \r\n\r\nx\r\n--xyz--\r\n", b"--xyz\r\n" + b"h" * 20_000 + b"\r\n\r\nx\r\n--xyz--\r\n", form([b"x"] * (MAX_PARTS + 1)),
    ):  # fmt: skip
        assert parts(body, b"xyz") is None, body[:40]


def test_the_boundary_is_read_from_the_content_type():
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
    assert boundary_of("Multipart/Form-Data; charset=x; BOUNDARY=ab;x") == b"ab"
    assert boundary_of("multipart/form-data") is None
    assert boundary_of("application/json; boundary=x") is None
