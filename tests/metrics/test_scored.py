import numpy as np
import pytest

from synthcohort.metrics import METRICS
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.metrics.scored import (
    Sample,
    coverage_ratio,
    frechet_score,
    neighbor_score,
    neighborhoods_of,
    sample,
)

HIGHER = ("precision", "recall", "density", "coverage")


def draw(generator, n, d=8, scale=1.0):
    return generator.standard_normal((n, d)) * np.linspace(2, 0.5, d) * scale


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_gives_value_interval_and_floor(name):
    generator = np.random.default_rng(0)
    score = METRICS[name](
        real=draw(generator, 200),
        synthetic=draw(generator, 150, scale=3.0),
        floor=draw(generator, 150),
        real_patients=np.arange(200) // 2,
    )
    assert score.low <= score.value <= score.high
    assert score.floor.low <= score.floor.value <= score.floor.high
    if name == "recall":  # a wide cloud covers everything: recall alone can't see it
        assert score.value == pytest.approx(score.floor.value, abs=0.1)
    elif name in HIGHER:
        assert score.high < score.floor.value
    else:
        assert score.low > score.floor.high


@pytest.mark.parametrize("name", sorted(METRICS))
def test_order_does_not_matter(name):
    generator = np.random.default_rng(1)
    real, synthetic, patients = draw(generator, 90), draw(generator, 80, scale=1.2), np.arange(90) // 3
    order = generator.permutation(90)
    a = METRICS[name](real=real, synthetic=synthetic, real_patients=patients)
    b = METRICS[name](real=real[order], synthetic=synthetic, real_patients=patients[order])
    assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9)


def test_a_floor_of_another_size_is_refused():
    generator = np.random.default_rng(2)
    with pytest.raises(ValueError, match="floor of 30 images for 40"):
        METRICS["coverage"](real=draw(generator, 50), synthetic=draw(generator, 40), floor=draw(generator, 30))


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError):
        METRICS["coverage"](np.eye(9), np.eye(9))


@pytest.mark.parametrize("name", ["frechet_distance", "kernel_distance", "coverage", "precision"])
def test_intervals_hold_the_expected_score_at_this_size(name):
    """At a nominal 95 % at least 90 % of the intervals hold the mean score of fresh draws of the same size."""
    generator = np.random.default_rng(3)
    scores = [METRICS[name](real=draw(generator, 120), synthetic=draw(generator, 100, scale=1.15)) for _ in range(40)]
    mean = np.mean([score.value for score in scores])
    assert np.mean([score.low <= mean <= score.high for score in scores]) >= 0.9


def test_patients_with_many_alike_images_widen_the_interval():
    generator = np.random.default_rng(4)
    centers = draw(generator, 40)
    real = np.repeat(centers, 5, axis=0) + generator.standard_normal((200, 8)) * 0.05
    synthetic = draw(generator, 200)
    by_patient = METRICS["frechet_distance"](real=real, synthetic=synthetic, real_patients=np.arange(200) // 5)
    by_image = METRICS["frechet_distance"](real=real, synthetic=synthetic)
    assert by_patient.high - by_patient.low > 1.3 * (by_image.high - by_image.low)


def test_many_dimensions_take_the_projection_for_the_interval_only(monkeypatch):
    generator = np.random.default_rng(5)
    real, synthetic = sample(draw(generator, 150, 40)), sample(draw(generator, 150, 40, scale=1.3))
    exact = frechet_score(real=real, synthetic=synthetic)
    monkeypatch.setattr("synthcohort.metrics.scored.INTERVAL_DIMS", 20)
    projected = frechet_score(real=real, synthetic=synthetic)
    assert projected.value == exact.value
    assert projected.high - projected.low == pytest.approx(exact.high - exact.low, rel=0.5)


def test_ratio_to_the_floor_is_tighter_than_its_parts():
    generator = np.random.default_rng(6)
    real = sample(draw(generator, 150), np.arange(150) // 2)
    synthetic, floor = sample(draw(generator, 150)), sample(draw(generator, 150))
    table, base = neighborhoods_of(real=real, synthetic=synthetic), neighborhoods_of(real=real, synthetic=floor)
    score = coverage_ratio(table, base, num_groups=75)
    assert score.value == pytest.approx(table.value("coverage") / base.value("coverage"))
    assert score.low < 1 < score.high
    collapsed = Sample(
        np.repeat(synthetic.features[:10], 15, axis=0) + 1e-6 * draw(generator, 150), synthetic.folds, 150
    )
    low = coverage_ratio(neighborhoods_of(real=real, synthetic=collapsed), base, num_groups=75)
    assert low.high < 0.8
    with pytest.raises(ValueError, match="same reference"):
        coverage_ratio(table, neighborhoods_of(real=floor, synthetic=synthetic), num_groups=75)


def test_a_handful_of_patients_proves_little_even_at_a_share_of_one():
    generator = np.random.default_rng(7)
    real, synthetic = sample(draw(generator, 12), np.arange(12) // 2), sample(draw(generator, 400))
    table = neighborhoods_of(real=real, synthetic=synthetic)
    score = neighbor_score("coverage", table, real=real, synthetic=synthetic)
    assert score.value == score.high == 1.0
    assert score.low == pytest.approx(clopper_pearson(6, 6)[0])
    assert coverage_ratio(table, table, num_groups=6).low == pytest.approx(score.low)
