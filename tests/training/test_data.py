"""Training data: every pass sees every image once, and any batch can be made again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.models.condition import Vocabulary
from synthcohort.training.data import TrainingSet, balanced_weights, image_spec, training_set


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


def test_other_sizes_are_brought_to_one(make_cohort: Callable[..., Path], tmp_path: Path) -> None:
    data = prepared(make_cohort("large", size=24), tmp_path)
    assert data.pixels.shape[1:] == (1, 16, 16)
    assert data.pixels.dtype == np.uint8
    assert isinstance(data.pixels, np.memmap)
