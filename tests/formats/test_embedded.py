import io

import imagecodecs
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.formats.embedded import claimed_size

PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"\xff\xc0" * 20}),
        ("JPEG2000", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"icc_profile": bytes(9)}),
    ],
)
def test_size_is_that_of_the_image(format, options):
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(file, format, **options)
    assert claimed_size(file.getvalue()) == (37, 53)
    assert claimed_size(file.getvalue()[:12]) in (None, (0, 0))


def test_other_jpegs():
    deep = PIXELS[..., 0].astype(np.uint16) * 16
    assert claimed_size(imagecodecs.ljpeg_encode(deep)) == (37, 53)
    assert claimed_size(imagecodecs.jpeg2k_encode(deep, codecformat="j2k")) == (37, 53)
    assert claimed_size(b"") is None
    assert claimed_size(b"hello, this is text") is None


@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8 ", b"\xff\x4f\xff\x51"]))
def test_anything_is_a_size_or_none(data, start):
    size = claimed_size(start + data)
    assert size is None or min(size) >= 0
