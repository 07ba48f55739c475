"""Training data: every pass sees every image once, and any batch can be made again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.errors import InputError
from synthcohort.models.condition import Vocabulary
from synthcohort.training.data import TrainingSet, balanced_weights, draw_batch, image_spec, open_cohorts, training_set


def prepared(path: Path, tmp_path: Path, size: int | None = 16) -> TrainingSet:
    view = Cohort.open(path).select(split="train")
    vocabulary = Vocabulary.of(list(view.labels.values()), {})
    return training_set(tmp_path / "train.npy", [view], image_spec([view], size, "pad"), "pad", vocabulary)


def test_only_the_train_role_is_read(cohort_path: Path, tmp_path: Path) -> None:
    cohort = Cohort.open(cohort_path)
    data = prepared(cohort_path, tmp_path)
    assert len(data) == sum(role == "train" for role in cohort.column("split")) < len(cohort)
    view = cohort.select(split="train")
    assert np.array_equal(data.pixels[3, 0], view.image(3))
    assert data.conditions[:, 0].tolist() == [float(v) for v in view.column("grade")]


def test_every_pass_holds_every_image_once_across_batches(cohort_path: Path, tmp_path: Path) -> None:
    data = prepared(cohort_path, tmp_path)
    drawn = np.concatenate([data.batch_indices(first, 7, seed=3) for first in range(0, 7 * len(data), 7)])
    for start in range(0, len(drawn), len(data)):
        assert sorted(drawn[start : start + len(data)]) == list(range(len(data)))
    assert not np.array_equal(drawn[: len(data)], drawn[len(data) : 2 * len(data)])


def test_balance_draws_rare_labels_at_the_rate_it_says(cohort_path: Path, tmp_path: Path) -> None:
    plain = prepared(cohort_path, tmp_path)
    grades = torch.tensor([0.0] * 24 + [1.0] * 5 + [2.0])[:, None]
    vocabulary = Vocabulary.of([LabelColumn("grade", "ordinal", (0, 1, 2))], {})
    for power in (0.5, 1.0):
        weights = balanced_weights(grades, vocabulary, power)
        assert weights is not None
        data = TrainingSet(np.zeros((30, 1, 4, 4), np.uint8), grades, plain.value_range, weights)
        passes = [data.batch_indices(30 * n, 30, seed=2) for n in range(200)]
        for drawn in passes:
            counts = np.bincount(drawn, minlength=30)
            assert counts.sum() == 30
            assert np.all(np.abs(counts - weights) < 1)
        shares = np.bincount(grades[np.concatenate(passes), 0].int(), minlength=3) / 6000
        wanted = np.array([24, 5, 1]) ** (1 - power)
        assert np.allclose(shares, wanted / wanted.sum(), atol=0.005)
        assert np.array_equal(data.batch_indices(45, 7, seed=2), data.batch_indices(30, 60, seed=2)[15:22])
    assert balanced_weights(grades, vocabulary, 0.0) is None


def test_batches_are_functions_of_their_step(cohort_path: Path, tmp_path: Path) -> None:
    data = prepared(cohort_path, tmp_path)
    first = draw_batch(data, 5, 8, seed=1, flip=True, label_dropout=0.5)
    draw_batch(data, 6, 8, seed=1, flip=True, label_dropout=0.5)
    again = draw_batch(data, 5, 8, seed=1, flip=True, label_dropout=0.5)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1].nan_to_num(-1), again[1].nan_to_num(-1))
    assert torch.equal(torch.rand(3, generator=first[2]), torch.rand(3, generator=again[2]))


def test_flip_mirrors_about_half_and_only_when_asked(cohort_path: Path, tmp_path: Path) -> None:
    data = prepared(cohort_path, tmp_path)
    mirrored = 0
    for step in range(20):
        plain, _, _ = draw_batch(data, step, 8, seed=1, flip=False, label_dropout=0.0)
        flipped, condition, _ = draw_batch(data, step, 8, seed=1, flip=True, label_dropout=0.0)
        assert not condition.isnan().any()
        assert torch.equal(plain, data.unit_images(data.batch_indices(step * 8, 8, 1)))
        for a, b in zip(plain, flipped, strict=True):
            mirrored += torch.equal(a.flip(2), b) and not torch.equal(a, b)
    assert 55 < mirrored < 105


def test_other_sizes_are_brought_to_one(make_cohort: Callable[..., Path], tmp_path: Path) -> None:
    data = prepared(make_cohort("large", size=24), tmp_path)
    assert data.pixels.shape[1:] == (1, 16, 16)
    assert data.pixels.dtype == np.uint8
    assert isinstance(data.pixels, np.memmap)


def test_cohorts_with_other_labels_do_not_mix(make_cohort: Callable[..., Path]) -> None:
    with pytest.raises(InputError) as caught:
        open_cohorts([make_cohort("a", origin="synthetic"), make_cohort("b", roles=("control", "test"))])
    assert len(caught.value.problems) == 2
