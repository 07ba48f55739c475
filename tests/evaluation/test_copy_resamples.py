import numpy as np
import pytest

from synthcohort.core.policy import CopiesThresholds
from synthcohort.evaluation.copy_resamples import Sample, counted, members, null_verdicts, planted_verdicts, resampled
from synthcohort.evaluation.privacy import Audit

THRESHOLDS = CopiesThresholds(false_positive_rate=0.001, significance=0.01, detectable_rate=0.02, min_control_images=50)


def people(count: int, seed: int, images: int = 2) -> Sample:
    similarity = np.random.default_rng(seed).normal(-0.6, 0.15, count * images).astype(np.float32)
    return Sample(similarity, [f"patient {i // images}" for i in range(count * images)])


@pytest.fixture
def samples():
    return people(500, 0), people(300, 1)


@pytest.fixture
def audit(samples):
    clean, control = samples
    return Audit(clean.similarity, control.similarity, 0.25, {"mirrored": (24, 24)}, strangers=(0, 1000))


def test_planted_copies_fail_and_copies_that_nobody_sees_do_not(samples, audit):
    seen = planted_verdicts(audit, *samples, np.full(5, 0.9, np.float32), THRESHOLDS, share=0.01, draws=20)
    assert set(seen) == {"fail"}
    unseen = planted_verdicts(audit, *samples, np.full(5, 0.1, np.float32), THRESHOLDS, share=0.01, draws=20)
    assert "fail" not in unseen
    assert samples[0].similarity.max() < 0.25  # the sample itself is left as it was


def test_control_patients_offered_as_synthetic_do_not_fail(samples, audit):
    twin = Sample(samples[1].similarity.copy(), samples[1].owners)
    twin.similarity[:2] = 0.9  # a person who stands under two ids
    assert "fail" not in null_verdicts(audit, twin, THRESHOLDS, draws=100)
    assert null_verdicts(audit, twin, THRESHOLDS, draws=3) == null_verdicts(audit, twin, THRESHOLDS, draws=3)


def test_patients_are_drawn_whole():
    sample = Sample(np.arange(20, dtype=np.float32), [f"p{i // 4}" for i in range(20)])
    assert [len(part) for part in members(sample)] == [4] * 5
    drawn = resampled(sample, np.random.default_rng(0)).reshape(-1, 4)
    assert (np.diff(drawn, axis=1) == 1).all()
    assert (drawn[:, 0] % 4 == 0).all()


def test_counts_carry_an_exact_interval():
    result = counted(["fail"] * 99 + ["pass"], "fail")
    assert (result["count"], result["draws"]) == (99, 100)
    assert 0.94 < result["low"] < 0.99 < result["high"] < 1
