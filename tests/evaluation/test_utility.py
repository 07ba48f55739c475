import numpy as np
import pytest

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.evaluation import learners
from synthcohort.evaluation import utility as module
from synthcohort.evaluation.config import EvaluateConfig, UtilityConfig
from synthcohort.evaluation.utility import _by_owner, _draws, utility

CONFIG = EvaluateConfig(
    bootstrap=60, min_class_images=6, max_images=100, utility=UtilityConfig(images=60, seeds=2, steps=50, batch=16)
)


def named(scores, name, subset=None):
    return next(item for item in scores if item["name"] == name and item["subset"] == subset)


@pytest.fixture(scope="module")
def cohorts(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("utility")
    return toys.cohort(folder / "real", num=210), toys.cohort(folder / "made", "synthetic", num=90)


@pytest.fixture(scope="module")
def scored(cohorts, tmp_path_factory):
    cache = tmp_path_factory.mktemp("utility_cache")
    return utility(*cohorts, CONFIG, cache, seed=0), cache


def test_images_of_the_same_distribution_teach_about_as_much(scored):
    scores, _ = scored
    ratio = named(scores, "utility_ratio")
    assert "quadratic κ" in ratio["title"]
    assert ratio["low"] <= ratio["value"] <= ratio["high"]
    assert 0.6 < ratio["value"] < 1.6
    accuracy = named(scores, "utility_accuracy")
    assert accuracy["floor"]["value"] > 0.5
    assert accuracy["n_real"] == accuracy["n_synthetic"] == 60
    difference = named(scores, "utility_recall_difference", "grade=1")
    recall = named(scores, "utility_recall", "grade=1")
    assert difference["value"] == pytest.approx(recall["value"] - recall["floor"]["value"])


def test_a_second_call_fits_nothing_and_says_the_same(cohorts, scored, monkeypatch):
    scores, cache = scored
    monkeypatch.setattr(learners, "fit_classifier", None)
    assert utility(*cohorts, CONFIG, cache, seed=0) == scores


def test_shuffled_labels_teach_nothing(cohorts, toys, scored, tmp_path):
    grades = np.random.default_rng(0).permutation(np.arange(90) % 3)
    wrong = iter(np.arange(90) % 3)
    shuffled = toys.cohort(
        tmp_path / "s", "synthetic", num=90, grades=grades, draw=lambda g, r, s: toys.image(int(next(wrong)), r, s)
    )
    scores = utility(cohorts[0], shuffled, CONFIG, scored[1], seed=0)
    assert named(scores, "utility_ratio")["value"] < 0.5


def test_a_missing_class_is_named_and_its_recall_lost(cohorts, toys, scored, tmp_path):
    partial = toys.cohort(tmp_path / "p", "synthetic", num=90, grades=np.arange(90) % 2)
    scores = utility(cohorts[0], partial, CONFIG, scored[1], seed=0)
    lost = named(scores, "utility_recall_difference", "grade=2")
    assert lost["value"] < -0.3
    assert "too few synthetic images of grade 2: 0 of" in lost["computed_on"]


def test_a_single_class_gives_words_and_no_number(cohorts, toys, tmp_path):
    one = toys.cohort(tmp_path / "o", "synthetic", num=30, grades=np.zeros(30, int))
    scores = utility(cohorts[0], one, CONFIG, tmp_path / "cache", seed=0)
    assert [item["value"] for item in scores] == [None]
    assert "fewer than two classes" in scores[0]["computed_on"]


def as_nominal(cohort, label):
    """The same images; their grades as words."""
    place = cohort.records.column_names.index(label.name)
    records = cohort.records.set_column(place, label.name, cohort.records.column(label.name).cast("string"))
    info = {**cohort.info, "labels": [{"name": label.name, "kind": label.kind, "values": list(label.values)}]}
    return Cohort(cohort.path, info, records)


def test_nominal_labels_are_scored_without_order(toys, tmp_path, monkeypatch):
    label = LabelColumn("grade", "nominal", ("0", "1", "2"))
    monkeypatch.setattr(module, "_said", lambda task, *rest: np.eye(3)[task.classes(task.test)] * 0.8 + 0.1)
    ordinal = toys.cohort(tmp_path / "r", num=70), toys.cohort(tmp_path / "m", "synthetic", num=40)
    real, made = (as_nominal(cohort, label) for cohort in ordinal)
    scores = utility(real, made, CONFIG, tmp_path / "cache", seed=0)
    assert named(scores, "utility_auroc")["value"] == 1
    assert named(scores, "utility_ratio")["value"] == 1
    assert "balanced accuracy" in named(scores, "utility_ratio")["title"]


def test_both_sides_see_the_same_resampled_patients():
    generator = np.random.default_rng(0)
    probabilities = generator.random((2, 30, 3))
    truth, owners = generator.integers(0, 3, 30), [f"p{i // 3}" for i in range(30)]
    draws = _draws({"real": probabilities[:1], "synthetic": probabilities[:1]}, truth, owners, 20, seed=1)
    assert np.array_equal(draws["real"], draws["synthetic"])
    assert (draws["real"].sum(axis=(2, 3)) == 30).all()


def test_confusion_by_owner_adds_up():
    probabilities = np.eye(3)[[0, 1, 2, 2]][None]
    cells = _by_owner(probabilities, np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]))
    assert cells.shape == (1, 2, 3, 3)
    assert cells.sum(axis=1)[0].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
