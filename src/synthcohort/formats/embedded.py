"""How large an image a codestream claims to be, before a decoder makes room for it.

A tile of a TIFF file is often a whole JPEG, JPEG 2000 or WebP stream of its own, and decoders believe its size and not
the tile's. Source: ITU-T T.81 B.2.2 (JPEG); ISO/IEC 15444-1 A.5.1 (JPEG 2000); RFC 9649 (WebP).
"""

import re
import struct

SOI, SOS, EOI = 0xD8, 0xDA, 0xD9
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
SIZ = re.compile(rb"\xff\x4f\xff\x51")  # the first two markers of JPEG 2000


def claimed_size(data: bytes) -> tuple[int, int] | None:
    """(rows, columns), the largest where there are several claims; None when it is none of the three or damaged."""
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    sizes = [_jpeg2000(data, match.end()) for match in SIZ.finditer(data)]
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    sizes, at = [], 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker in (0xFF, 0x01, SOI) or 0xD0 <= marker <= 0xD7:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (SOS, EOI):
            break
        (length,) = struct.unpack(">H", data[at + 2 : at + 4])
        if marker in FRAMES and at + 9 <= len(data):
            sizes.append(struct.unpack(">HH", data[at + 5 : at + 9]))
        at += 2 + max(2, length)
    return max(sizes, key=lambda size: size[0] * size[1]) if sizes else None


def _jpeg2000(data: bytes, at: int) -> tuple[int, int]:
    if len(data) < at + 20:
        return 0, 0
    right, bottom, left, top = struct.unpack(">IIII", data[at + 4 : at + 20])
    return max(0, bottom - top), max(0, right - left)


def _webp(data: bytes) -> tuple[int, int] | None:
    """Canvas of the extended format, or frame of the simple ones, whichever comes first; both are at most 2^14."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[7:10], "little") + 1, int.from_bytes(body[4:7], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":
        columns, rows = struct.unpack("<HH", body[6:10])
        return rows & 0x3FFF, columns & 0x3FFF
    return None
