import numpy as np
import pytest
from scipy import ndimage

from synthcohort.imaging.align import Room, best_turns, in_disc, make_templates, register, similarity_transforms
from synthcohort.imaging.fingerprint import (
    coarse_detail,
    fine_detail,
    fingerprint,
    harmonic_basis,
    harmonics,
    unpacked,
)


def scene(seed, size=240):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), size / 40)
    return np.clip(128 + 55 * noise / noise.std(), 0, 255)


def seen(image, angle_deg=0.0, mirrored=False, scale=1.0, x=0.0, y=0.0):
    """What `similarity_transforms` says, by brute force: a square of this scale around (x, y), turned, mirrored."""
    size = image.shape[0]
    line = (np.arange(size) * 2 + 1) / size - 1
    v, u = np.meshgrid(line, line, indexing="ij")
    transform = similarity_transforms(
        np.array([np.radians(angle_deg)]), np.array([mirrored]), np.array([scale]), np.array([[x, y]])
    )[0]
    at_x, at_y = (row[0] * u + row[1] * v + row[2] for row in transform)
    rows, columns = ((at + 1) * size / 2 - 0.5 for at in (at_y, at_x))
    return ndimage.map_coordinates(image, [rows, columns], order=1, mode="constant"), transform


def view(image):
    return fingerprint(np.rint(image).astype(np.uint8)).thumbnail[None].astype(np.float32)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("angle", [0, 20, 90, 135, 250])
def test_the_best_turn_is_the_one_that_was_made(angle, mirrored):
    image = scene(1)
    turned, transform = seen(image, angle, mirrored)
    a, b = (harmonics(unpacked(coarse_detail(view(x))), harmonic_basis()).reshape(1, -1) for x in (image, turned))
    correlation, angles = best_turns(a, b)
    kind = int(correlation[0].argmax())
    assert bool(kind) == mirrored
    assert correlation[0, kind] > 0.8
    found = similarity_transforms(angles[:, kind], np.array([mirrored]), np.ones(1), np.zeros((1, 2)))[0]
    np.testing.assert_allclose(found, transform, atol=0.07)


@pytest.mark.parametrize(
    "change",
    [{"angle_deg": 4.0}, {"x": 0.04, "y": -0.03}, {"scale": 0.96}, {"angle_deg": 183.0, "mirrored": True, "x": 0.03}],
)
def test_registration_finds_the_transform_from_nearby(change):
    image = scene(2)
    other, transform = seen(image, **change)
    start = similarity_transforms(
        np.radians([round(change.get("angle_deg", 0.0) / 180) * 180.0]),
        np.array([change.get("mirrored", False)]),
        np.ones(1),
        np.zeros((1, 2)),
    )
    coarse = [unpacked(coarse_detail(view(x))) for x in (other, image)]
    fine = [unpacked(fine_detail(view(x))) for x in (other, image)]
    near, before = register(make_templates(coarse[0]), coarse[1], start, steps=0)
    near, after = register(make_templates(coarse[0]), coarse[1], near, steps=5)
    assert after[0] > before[0]
    found, value = register(make_templates(fine[0]), fine[1], near, steps=5)
    assert value[0] > 0.9
    np.testing.assert_allclose(found[0], transform, atol=0.02)


def test_correlation_is_of_pairs_alone_and_strangers_have_little():
    views = np.concatenate([view(scene(seed)) for seed in range(3, 9)])
    detail = unpacked(fine_detail(views))
    start = np.tile(np.eye(3, dtype=np.float32)[:2], (6, 1, 1))
    _, itself = register(make_templates(detail), detail, start, steps=2)
    np.testing.assert_allclose(itself, 1.0, atol=1e-4)
    _, strangers = register(make_templates(detail), np.roll(detail, 1, axis=0), start, steps=4)
    assert strangers.max() < 0.5
    _, alone = register(make_templates(detail[:1]), np.roll(detail, 1, axis=0)[:1], start[:1], steps=4)
    np.testing.assert_allclose(alone[0], strangers[0], atol=1e-4)


def test_too_small_an_overlap_counts_as_none():
    detail = unpacked(fine_detail(view(scene(10))))
    away = np.array([[[1, 0, 1.2], [0, 1, 0]]], np.float32)
    assert register(make_templates(detail), detail, away, steps=0)[1][0] == -1.0


def test_corners_are_not_compared():
    detail = unpacked(fine_detail(view(scene(11))))
    changed = detail.copy()
    outside = np.setdiff1d(np.arange(48 * 48), in_disc(48))
    changed.reshape(1, -1)[:, outside] = 1.0
    start = np.eye(3, dtype=np.float32)[None, :2]
    assert register(make_templates(detail), changed, start, steps=0)[1][0] > 0.999
    assert register(make_templates(detail), np.zeros_like(detail), start, steps=0)[1][0] == 0.0


def test_pairs_may_share_views_and_memory():
    detail = unpacked(coarse_detail(np.concatenate([view(scene(seed)) for seed in range(12, 16)])))
    draw = np.random.default_rng(0)
    template_of, query_of = draw.integers(0, 4, 50), draw.integers(0, 4, 50)
    start = similarity_transforms(
        draw.uniform(-0.1, 0.1, 50), draw.random(50) < 0.5, np.full(50, 0.95), draw.uniform(-0.05, 0.05, (50, 2))
    )
    room = Room()
    for every_other, steps in ((True, 1), (False, 3)):
        apart = register(make_templates(detail[template_of], every_other), detail[query_of], start, steps)
        register(make_templates(detail, every_other), detail, start[:4], steps, room=room)
        together = register(make_templates(detail, every_other), detail, start, steps, template_of, query_of, room)
        for a, b in zip(apart, together, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert together[1][template_of == query_of].max() > 0.999


def test_the_correlation_is_the_one_of_what_both_show():
    """Against the plain formula, with a query of which the disc shows only a part."""
    detail = unpacked(coarse_detail(np.concatenate([view(scene(seed)) for seed in (16, 17)])))
    transform = np.array([[[0.98, 0.05, 0.12], [-0.05, 0.98, -0.1]]], np.float32)
    value = register(make_templates(detail[:1]), detail[1:], transform, steps=0)[1][0]
    line = (np.arange(24) * 2 + 1) / 24 - 1
    v, u = (axis.ravel()[in_disc(24)] for axis in np.meshgrid(line, line, indexing="ij"))
    x, y = (row[0] * u + row[1] * v + row[2] for row in transform[0])
    shown = np.hypot(x, y) <= 0.95
    assert 0.6 < shown.mean() < 1
    other = ndimage.map_coordinates(detail[1], [(y + 1) * 12 - 0.5, (x + 1) * 12 - 0.5], order=1, mode="nearest")
    expected = np.corrcoef(detail[0].ravel()[in_disc(24)][shown], other[shown])[0, 1]
    assert value == pytest.approx(expected, abs=1e-5)
