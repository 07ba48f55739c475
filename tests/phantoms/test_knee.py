import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from synthcohort.phantoms.anatomy import Knee, draw_anatomy, draw_knee, patient_knee
from synthcohort.phantoms.knee import FIELD_MM, Positioning, knee, render


def gap_in_image(params, size=256):
    """Joint space in mm as a ruler would measure it on a noiseless image: the dark band in the affected compartment."""
    image, truth = render(params, size, Positioning())
    spacing = truth["pixel_spacing_mm"]
    sign = (-1 if params.affected == "medial" else 1) * (-1 if params.laterality == "R" else 1)
    column = round(size / 2 + sign * 22.0 / spacing)
    profile = image[:, column - 3 : column + 4].mean(1)
    middle = round(0.55 * size - 3.0 / spacing)
    near = slice(middle - round(8 / spacing), middle + round(8 / spacing))
    half = (profile[near].min() + np.median(image)) / 2
    return float((profile[near] < half).sum() * spacing)


def test_image_is_12_bit_and_the_truth_says_what_was_drawn():
    params = patient_knee(3, 2, "L")
    image, truth = knee(params, 64, np.random.default_rng(0))
    assert image.dtype == np.uint16
    assert image.shape == (64, 64)
    assert image.max() < 4096
    assert image.max() - image.min() > 1000
    assert truth["severity"] == 2
    assert truth["laterality"] == "L"
    assert truth["joint_space_mm"] == min(truth["joint_space_medial_mm"], truth["joint_space_lateral_mm"])
    assert truth["pixel_spacing_mm"] == FIELD_MM / 64


@pytest.mark.parametrize("affected", ["medial", "lateral"])
def test_severity_narrows_the_affected_joint_space(affected):
    index = 0 if affected == "medial" else 1
    for seed in range(40):
        knees = [patient_knee(seed, grade) for grade in range(5)]
        if knees[4].affected == affected:
            spaces = [k.joint_space[index] for k in knees]
            assert all(b < a for a, b in pairwise(spaces)), spaces
            assert spaces[0] > 3.5
            assert 0.0 < spaces[4] < 0.4 * spaces[0]


def test_joint_space_truth_agrees_with_the_closed_form():
    params = Knee(replace(draw_anatomy(np.random.default_rng(0)), joint_space_medial=5.0, notch_height=0.0), 0)
    # The space is smallest where the condyles' curvature is zero, 22 mm from the middle.
    assert params.joint_space[0] == pytest.approx(5.0, abs=0.02)
    narrowed = replace(params, space_lost=(2.0, 0.0))
    assert params.joint_space[0] - narrowed.joint_space[0] == pytest.approx(2.0, abs=0.02)
    assert params.joint_space[1] == pytest.approx(narrowed.joint_space[1], abs=0.01)


def test_the_image_shows_the_joint_space_the_truth_states():
    measured, stated = [], []
    for seed in range(5):
        for grade in range(5):
            params = patient_knee(seed, grade, "LR"[seed % 2])
            measured.append(gap_in_image(params))
            stated.append(params.joint_space[0 if params.affected == "medial" else 1])
    assert np.corrcoef(measured, stated)[0, 1] > 0.95


def test_spurs_and_sclerosis_grow():
    knees = [patient_knee(5, grade) for grade in range(5)]
    assert all(max(a.spurs) < max(b.spurs) for a, b in pairwise(knees))
    assert all(a.sclerosis < b.sclerosis for a, b in pairwise(knees))
    # Spurs widen the bone beyond its margin; sclerosis brightens the bone below the joint.
    anatomy = knees[0].anatomy
    plain, _ = render(Knee(anatomy, 0), 128, Positioning())
    spurred, _ = render(Knee(anatomy, 4, spurs=(6.0, 6.0, 6.0, 6.0)), 128, Positioning())
    sclerotic, _ = render(Knee(anatomy, 4, sclerosis=1.0), 128, Positioning())
    assert (spurred.astype(int) - plain > 300).sum() > 20
    assert (sclerotic.astype(int) - plain > 300).sum() > 20
    assert np.abs(sclerotic.astype(int) - plain)[:40].max() < 100  # far from the joint nothing changes


def test_left_is_the_mirror_of_right():
    params = patient_knee(1, 3, "R")
    right, _ = render(params, 96, Positioning())
    left, _ = render(replace(params, laterality="L"), 96, Positioning())
    assert np.abs(right.astype(int) - left[:, ::-1]).max() <= 1


def test_images_of_one_patient_look_alike_and_are_not_equal():
    def standard(seed, k):
        image, _ = render(patient_knee(seed, 1), 64, Positioning(), np.random.default_rng(seed * 10 + k))
        return (image - image.mean()) / image.std()

    images = [[standard(seed, k) for k in range(2)] for seed in range(8)]
    same = [np.mean(images[s][0] * images[s][1]) for s in range(8)]
    other = [np.mean(images[s][0] * images[t][1]) for s in range(8) for t in range(8) if s != t]
    assert min(same) > max(other)
    assert max(same) < 0.9999


def test_same_generator_same_image():
    params = patient_knee(2, 4)
    first, _ = knee(params, (64, 48), np.random.default_rng(9))
    second, _ = knee(params, (64, 48), np.random.default_rng(9))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (64, 48)
    third, _ = knee(params, (64, 48), np.random.default_rng(10))
    assert (first != third).mean() > 0.5


def test_unknown_severity_is_refused():
    with pytest.raises(ValueError, match="0 to 4"):
        draw_knee(draw_anatomy(np.random.default_rng(0)), 5, "L", np.random.default_rng(0))


def test_rendering_is_fast_enough_for_a_demo():
    knees = [patient_knee(seed, 2) for seed in range(8)]
    began = time.process_time()
    for k, params in enumerate(knees):
        knee(params, 96, np.random.default_rng(k))
    assert (time.process_time() - began) / len(knees) < 0.05  # 10 ms is the aim; 50 allows for a busy machine
