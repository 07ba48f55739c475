import numpy as np
import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.core.seeds import rng
from synthcohort.imaging.canaries import CanaryConfig, canary, canary_hosts, mark
from synthcohort.imaging.intensity import ValueRange

CONFIG = CanaryConfig(count=5)
RANGE = ValueRange(0, 255)


def test_marks_differ_and_none_is_brighter_or_stronger_than_another():
    marks = np.stack([mark((64, 48), "host", number, CONFIG) for number in range(40)])
    distances = np.linalg.norm((marks[:, None] - marks[None]).reshape(40, 40, -1), axis=2)
    assert distances[~np.eye(40, dtype=bool)].min() > 0.4 * np.linalg.norm(marks[0])
    assert np.abs(marks.mean(axis=(1, 2))).max() < 0.02
    assert marks.std(axis=(1, 2)).std() < 0.05 * marks.std()
    assert np.abs(marks).max() < 1.1


def test_hosts_follow_the_ids_and_not_their_order():
    ids = [f"i{n:03d}" for n in range(30)]
    turned = list(reversed(ids))
    first, second = canary_hosts(ids, CONFIG), canary_hosts(turned, CONFIG)
    assert [ids[i] for i in first] == [turned[i] for i in second]
    assert len(set(first)) == 5
    assert len(canary_hosts(ids, CanaryConfig(count=99))) == 30
    assert not len(canary_hosts(ids, CanaryConfig()))


@pytest.mark.parametrize(
    ("dtype", "shape", "low", "high"),
    [
        ("uint8", (32, 40), 0, 255),
        ("uint8", (32, 40, 3), 0, 255),
        ("int16", (32, 40), -1000, 1000),
        ("uint16", (8, 8), 0, 4095),
    ],
)
def test_a_canary_is_its_host_with_a_mark_within_the_range(dtype, shape, low, high):
    host = rng("host", dtype).integers(low, high + 1, shape).astype(dtype)
    before = host.copy()
    values = ValueRange(low, high)
    marked = canary(host, "a", values, CONFIG)
    assert np.array_equal(host, before)
    assert marked.dtype == host.dtype
    assert marked.shape == host.shape
    assert low <= marked.min() <= marked.max() <= high
    assert not np.array_equal(marked, host)
    assert np.array_equal(marked, canary(host, "a", values, CONFIG))
    assert not np.array_equal(marked, canary(host, "a", values, CONFIG, number=1))
    assert not np.array_equal(marked, canary(host, "b", values, CONFIG))


def test_the_strength_is_a_share_of_the_range():
    marked = canary(np.full((66, 66), 100, np.uint8), "a", RANGE, CONFIG)
    assert np.abs(marked.astype(int) - 100).max() == pytest.approx(25.5, abs=2)


def test_wrong_settings_are_all_named():
    with pytest.raises(ConfigError, match=r"count -1[\s\S]*strength"):
        CanaryConfig(count=-1, strength=0)
