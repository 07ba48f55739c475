import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synthcohort.ingest.multipart import CutOff, Malformed, content_type, parts


def compose(bodies, boundary, line=b"\r\n", preamble=b"", last=b"--", header=b"Content-Type: application/dicom"):
    """A multipart body as a server sends it."""
    text = preamble
    for body in bodies:
        text += b"--" + boundary + line + header + line + line + body + line
    return text + b"--" + boundary + last


def cut(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def bodies_of(data, boundary, size=7):
    return [b"".join(body) for _, body in parts(cut(data, size), boundary)]


boundaries = st.text("abcXYZ019'()+_,-./:=? ", min_size=1, max_size=70).filter(lambda text: text == text.strip())


@given(
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    boundary=boundaries,
    size=st.integers(1, 50),
    preamble=st.sampled_from([b"", b"\r\n", b"an old archive\r\n"]),
    last=st.sampled_from([b"--", b"--\r\n", b"--\r\nan epilogue", b""]),
    knows=st.booleans(),
)
@example([b"\r\n--b", b"--b", b"\r\n--bb\r\n"], "b", 1, b"", b"--", True)
def test_bodies_come_back_whatever_the_pieces(bodies, boundary, size, preamble, last, knows):
    mark = boundary.encode()
    bodies = [body for body in bodies if b"\r\n--" + mark not in b"\r\n" + body + b"\r\n"] or [b"x"]
    data = compose(bodies, mark, preamble=preamble, last=last)
    known = boundary if knows or preamble.strip() else None
    assert bodies_of(data, known, size) == bodies


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=3), st.data())
def test_a_body_cut_anywhere_gives_whole_parts_alone(bodies, draw):
    bodies = [body for body in bodies if b"--limit" not in body] or [b"x"]
    whole = compose(bodies, b"limit")
    at = draw.draw(st.integers(0, len(whole) - len(b"--limit--") - 1))
    got = []
    try:
        for _, body in parts(cut(whole[:at], 7), "limit"):
            got.append(b"".join(body))
    except CutOff:
        cut_off = True
    else:
        cut_off = False
    assert got == bodies[: len(got)]
    # Only right after a boundary can the end be taken for one that lacks its last dashes.
    assert cut_off or whole[:at].rstrip(b"\r").endswith(b"--limit")


def test_bare_line_feeds_and_what_looks_like_a_boundary():
    bodies = [b"one\n--limitless\n\r", b"two\r\n--limit x\r\n"]
    assert bodies_of(compose(bodies, b"limit", line=b"\n"), "limit", 3) == bodies
    assert bodies_of(compose(bodies, b"limit"), "limit", 3) == bodies


@pytest.mark.parametrize("sent", ["--limit", "'limit'", "another"])
def test_the_body_decides_when_the_header_has_the_boundary_wrong(sent):
    assert bodies_of(compose([b"one", b"two"], b"limit"), sent) == [b"one", b"two"]


def test_a_part_that_is_not_wanted_is_skipped():
    seen = []
    for header, body in parts(cut(compose([b"one", b"two", b"three"], b"b"), 4), "b"):
        assert header == {"content-type": "application/dicom"}
        if len(seen) != 1:
            seen.append(b"".join(body))
        else:
            seen.append(None)
    assert seen == [b"one", None, b"three"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<html>\r\n" * 20000, "no multipart boundary"),
        (b"--b--\r\n", "no parts"),
        (b"x" * 10000, "too long"),
        (b"--b\r\n" + b"a: b\r\n" * 200, "too many header lines"),
    ],
)
def test_what_is_no_multipart_body(data, words):
    with pytest.raises(Malformed, match=words):
        bodies_of(data, "b", 1000)


def test_content_types():
    assert content_type('Multipart/Related; type="application/dicom"; boundary="a b;c"') == (
        "multipart/related", {"type": "application/dicom", "boundary": "a b;c"},
    )  # fmt: skip
    assert content_type("application/dicom+json;charset=utf-8")[0] == "application/dicom+json"
    assert content_type("multipart/related;boundary=--x=_y")[1]["boundary"] == "--x=_y"
