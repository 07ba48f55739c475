import sys

import numpy as np
import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.learning import features as module
from synthcohort.learning.features import Encoder, classifier_encoder, features, fit_on_turns, packaged_encoder
from synthcohort.learning.fit import FitConfig

TINY = FitConfig(steps=5, batch=16, size=16, widths=(8, 16), dropout=0.0, flip=False)


def counting(calls):
    def encode(x):
        calls.append(len(x))
        return x.mean(dim=(2, 3))

    return Encoder("mean", "1", encode, size=16, channels=1, batch=4)


def test_made_once_for_the_same_content(made, tmp_path):
    calls = []
    cohort = made.people(tmp_path / "c", 10)
    first = features(cohort, counting(calls), tmp_path / "cache")
    assert first.shape == (10, 1)
    assert calls == [4, 4, 4]
    assert np.array_equal(features(cohort, counting(calls), tmp_path / "cache"), first)
    assert len(calls) == 3
    part = features(cohort.select(indices=[7, 2]), counting(calls), tmp_path / "cache")
    assert np.array_equal(part, first[[7, 2]])
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_killed_pass_goes_on_after_its_last_chunk(made, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)
    images = np.stack([made.person(i, 16) for i in range(12)])
    calls, whole = [], features(images, counting([]), tmp_path / "other")

    def dies(x):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(x))
        return x.mean(dim=(2, 3))

    with pytest.raises(KeyboardInterrupt):
        features(images, Encoder("mean", "1", dies, 16, 1, 4), tmp_path / "cache")
    calls.clear()
    assert np.array_equal(features(images, counting(calls), tmp_path / "cache"), whole)
    assert calls == [4]


def test_the_packaged_encoder_needs_no_torchvision_and_prints_nothing(made, capsys):
    encoder = packaged_encoder()
    assert "torchvision" not in sys.modules
    assert capsys.readouterr().out == ""
    pixels = module.Pixels([made.person(i) for i in range(5)], encoder.size, encoder.channels)
    whole = module.encode_rows(pixels, encoder, range(5))
    assert whole.shape == (5, 1280)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    assert np.array_equal(module.encode_rows(pixels, encoder, [3, 1]), whole[[3, 1]])


def test_self_supervised_features_of_images_without_labels(made, tmp_path):
    images = np.stack([made.person(i, 16) for i in range(24)])
    classifier = fit_on_turns(images, TINY, seed=0)
    encoder = classifier_encoder(classifier)
    found = features(images, encoder, tmp_path)
    assert found.shape == (24, 16)
    assert np.array_equal(found, classifier.features(images))


def test_an_unknown_encoder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="packaged"):
        features(np.zeros((2, 8, 8), np.uint8), "inception", tmp_path)
