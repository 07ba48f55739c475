import numpy as np
import pytest

from synthcohort.evaluation.label_reader import LabelReader

COUNTS = (600, 200, 100)


def two_views(counts=COUNTS, seed=0):
    """Classes, what a network says of them (it knows how frequent they are), and features: each sees a part of them."""
    generator = np.random.default_rng(seed)
    classes = np.repeat(np.arange(3), counts)
    evidence = generator.normal(size=(len(classes), 3)) + 1.2 * np.eye(3)[classes]
    odds = np.exp(evidence) * np.array(COUNTS)
    features = generator.normal(size=(len(classes), 20))
    features[:, :3] += 1.2 * np.eye(3)[classes]
    return classes, odds / odds.sum(1, keepdims=True), features


def mean_recall(read, classes):
    return np.mean([(read[classes == c] == c).mean() for c in range(3)])


def test_together_they_read_better_than_either():
    classes, _, features = two_views()
    reader = LabelReader.fit(features, classes, 3)
    truth, says, seen = two_views((300, 300, 300), seed=1)
    unsure = np.tile(np.array(COUNTS) / sum(COUNTS), (len(truth), 1))  # a network that knows frequencies alone
    both = mean_recall(reader.read(says, seen), truth)
    by_features = mean_recall(reader.read(unsure, seen), truth)
    assert both > by_features + 0.05
    assert both > mean_recall(says.argmax(1), truth) + 0.1


def test_frequent_classes_are_not_read_more_often():
    classes, _, features = two_views()
    truth, says, seen = two_views((300, 300, 300), seed=2)
    read = LabelReader.fit(features, classes, 3).read(says, seen)
    assert np.bincount(read, minlength=3).max() < 1.2 * len(truth) / 3


def test_a_class_without_training_images_is_never_read():
    classes, says, features = two_views()
    known = classes < 2
    reader = LabelReader.fit(features[known], classes[known], 3)
    assert set(reader.read(says, features)) == {0, 1}
    with pytest.raises(ValueError, match="1 class"):
        LabelReader.fit(features[classes == 0], classes[classes == 0], 3)
