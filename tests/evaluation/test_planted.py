import numpy as np
import pytest

from synthcohort.core.seeds import rng
from synthcohort.evaluation.planted import KINDS, blended, brightened, cropped, mirrored, turned
from synthcohort.imaging.intensity import ValueRange

VALUES = ValueRange(0, 4095)


@pytest.fixture(params=[(40, 40), (40, 32, 3)])
def image(request):
    return rng("planted test").integers(0, 4096, request.param).astype(np.uint16)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_shape_dtype_and_range_and_repeats_with_its_seed(kind, image):
    changed = KINDS[kind](image, image[::-1, ::-1], VALUES, rng("a"))
    assert changed.shape == image.shape
    assert changed.dtype == image.dtype
    assert changed.max() <= VALUES.high
    assert not np.array_equal(changed, image)
    assert np.array_equal(changed, KINDS[kind](image, image[::-1, ::-1], VALUES, rng("a")))


def test_what_they_do(image):
    assert np.array_equal(mirrored(mirrored(image)), image)
    assert np.array_equal(turned(image, 0.0), image)
    assert np.array_equal(cropped(image, 0.0, rng("a")), image)
    assert (brightened(image, VALUES) >= image).all()
    assert np.array_equal(blended(image, np.zeros_like(image), 1.0, VALUES), image)
