import numpy as np
import pytest

from synthcohort.evaluation.faults import KINDS, planted

CLEAN = np.clip(np.random.default_rng(0).normal(0.5, 0.15, (3, 32, 40)).cumsum(axis=2) / 20, 0, 1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("color", [False, True])
def test_every_kind_spoils_and_keeps_shape_and_range(kind, color):
    images = np.stack([CLEAN, CLEAN * 0.9, CLEAN * 0.8], axis=3) if color else CLEAN
    spoilt = planted(images, kind, np.random.default_rng(1))
    assert spoilt.shape == images.shape
    assert spoilt.min() >= 0
    assert spoilt.max() <= 1
    assert (np.abs(spoilt - images).reshape(3, -1).max(axis=1) > 0.01).all()
    assert np.rint(spoilt * 255) == pytest.approx(spoilt * 255, abs=1e-3)
    assert (planted(images, kind, np.random.default_rng(1)) == spoilt).all()


def test_more_strength_changes_more():
    for kind, chosen in KINDS.items():
        weak, strong = (
            np.abs(planted(CLEAN, kind, np.random.default_rng(2), strength) - CLEAN).mean()
            for strength in (chosen.weakest, chosen.strongest)
        )
        assert weak < strong, kind
        assert chosen.weakest <= chosen.shown <= chosen.strongest
        assert "{" not in chosen.unit.format(chosen.shown)
