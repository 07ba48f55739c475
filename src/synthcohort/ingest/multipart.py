"""Multipart bodies (RFC 2046 section 5.1) read piece by piece, so that no image has to fit into memory.

Written for what archives really send: a preamble or none, CRLF or bare LF, a boundary that the header quotes, leaves
out or spells with its dashes, blanks after it, and a last boundary without its closing dashes.
"""

from collections.abc import Iterable, Iterator
from email.message import Message

MAX_LINE = 8 * 1024
MAX_HEADER_LINES = 100
MAX_PREAMBLE = 64 * 1024
MAX_PARTS = 2**20


class Malformed(Exception):
    """The body is no multipart body, or ends before its last part does; the message is fit for a list."""


class CutOff(Malformed):
    """The body ended too early: worth another try."""


def content_type(value: str) -> tuple[str, dict[str, str]]:
    """The media type of a Content-Type header in lower case, and its parameters."""
    message = Message()
    message["content-type"] = value.replace("\r", " ").replace("\n", " ")
    parameters = message.get_params(failobj=[], unquote=True)
    return message.get_content_type(), {name.lower(): text for name, text in parameters[1:]}


def parts(chunks: Iterable[bytes], boundary: str | None) -> Iterator[tuple[dict[str, str], Iterator[bytes]]]:
    """Yields (header, pieces of the body) of each part; what is not consumed of a part is skipped.

    `boundary` is the header's, or None to take it from the first line. Header names are in lower case. Raises CutOff
    when the body ends inside a part, Malformed when it is no multipart body.
    """
    reader = _Reader(chunks)
    mark, line_end = reader.start(boundary)
    for _ in range(MAX_PARTS):
        header, line_end = reader.header(line_end)
        body = reader.body(line_end + b"--" + mark)
        yield header, body
        for _ in body:
            pass
        if reader.ended:
            return
    raise Malformed("more parts than an archive sends")


class _Reader:
    """A buffer over the pieces of a body."""

    def __init__(self, chunks: Iterable[bytes]):
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self.ended = False

    def _more(self) -> bool:
        """Takes in one more piece; False at the end."""
        for chunk in self._chunks:
            if chunk:
                self._buffer += chunk
                return True
        return False

    def _line(self) -> bytes:
        """One line without its end. Raises CutOff when there is none."""
        while (at := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise Malformed("a header line of the answer is too long")
            if not self._more():
                raise CutOff("the answer was cut off")
        line = bytes(self._buffer[: at + 1])
        del self._buffer[: at + 1]
        return line

    def start(self, boundary: str | None) -> tuple[bytes, bytes]:
        """Reads up to the first boundary; returns the boundary without its two dashes and what ends lines here."""
        expected = None if boundary is None else boundary.encode("latin-1", "replace").rstrip()
        seen, first = 0, True
        while seen <= MAX_PREAMBLE:
            line = self._line()
            seen += len(line)
            text = line.strip(b"\r\n").rstrip()
            end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
            if expected and text == b"--" + expected:
                return expected, end
            if expected and text == b"--" + expected + b"--":
                raise Malformed("the answer has no parts")
            # A body that begins with a boundary decides, whatever the header makes of it: dashes, quotes, nothing.
            if text.startswith(b"--") and len(text) > 2 and (first or text == expected):
                return text[2:], end
            first = first and not text
        raise Malformed("the answer has no multipart boundary")

    def header(self, line_end: bytes) -> tuple[dict[str, str], bytes]:
        """The header of a part, and what ended its lines."""
        header: dict[str, str] = {}
        for _ in range(MAX_HEADER_LINES):
            line = self._line()
            line_end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
            text = line.strip(b"\r\n")
            if not text:
                return header, line_end
            name, colon, value = text.partition(b":")
            if colon:
                header[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        raise Malformed("a part of the answer has too many header lines")

    def body(self, mark: bytes) -> Iterator[bytes]:
        """Pieces of a part's body, up to the boundary after it."""
        searched = 0
        while True:
            at = self._buffer.find(mark, searched)
            if at < 0:
                keep = len(mark) - 1
                if len(self._buffer) > keep:
                    yield self._take(len(self._buffer) - keep)
                searched = 0
                if not self._more():
                    raise CutOff("the answer was cut off")
                continue
            after = self._after(at + len(mark))
            if after is None:  # these bytes only look like a boundary
                searched = at + 1
                continue
            if at:
                yield self._take(at)
            if after < 0:
                self.ended = True
                for _ in self._chunks:  # an epilogue means nothing, but reading it frees the connection
                    pass
            else:
                del self._buffer[: after - at]
            return

    def _take(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        return piece

    def _after(self, at: int) -> int | None:
        """What follows a boundary that ends at `at`: where the next part begins, -1 for the end, None for neither."""
        while (line := self._buffer.find(b"\n", at)) < 0 and len(self._buffer) - at < MAX_LINE:
            rest = self._buffer[at:]
            if rest[:2] == b"--":
                return -1
            if rest.strip(b" \t\r") not in (b"", b"-"):
                return None
            if not self._more():
                return -1 if not self._buffer[at:].strip(b" \t\r\n-") else None
        if self._buffer[at : at + 2] == b"--":
            return -1
        if line < 0 or self._buffer[at:line].strip(b" \t\r"):
            return None
        return line + 1
