import numpy as np
import pytest
from scipy import stats

from synthcohort.core.seeds import rng
from synthcohort.metrics.attacks import attack_area, chance_test, design_effect, hits_at


def alone(count, prefix):
    return [f"{prefix}{i}" for i in range(count)]


def area(members, others, **more):
    groups = {"member_groups": alone(len(members), "m"), "other_groups": alone(len(others), "o")}
    return attack_area(members=members, others=others, **(groups | more))


def test_area_of_two_normals_is_that_of_the_textbook():
    draw = rng("normals")
    found = area(draw.normal(1.0, 1.0, 4000), draw.normal(0.0, 1.0, 3000))
    assert found.value == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=4 * found.error)
    assert found.low(0.025) < stats.norm.cdf(1 / np.sqrt(2)) < found.high(0.025)


def test_area_equals_the_slow_count_of_pairs_with_ties():
    draw = rng("pairs")
    members, others = draw.integers(0, 6, 40), draw.integers(0, 5, 30)
    slow = np.mean([(m > o) + 0.5 * (m == o) for m in members for o in others])
    assert area(members, others).value == pytest.approx(slow, abs=1e-12)


def test_the_area_says_nothing_about_a_mix_of_classes():
    """Scores depend on the class alone, and members have more of one class."""
    draw = rng("mix")
    first, second = draw.random(600) < 0.8, draw.random(600) < 0.2
    members, others = draw.normal(3 * first, 1), draw.normal(3 * second, 1)
    assert area(members, others).low(0.025) > 0.7
    fair = area(members, others, member_strata=first.astype(int), other_strata=second.astype(int))
    assert fair.low(0.025) < 0.5 < fair.high(0.025)


def test_the_interval_by_patients_holds_where_images_of_a_patient_are_alike():
    inside, narrow = 0, 0
    groups = np.repeat(np.arange(40), 4)
    for number in range(300):
        draw = rng("alike", number)
        members, others = (np.repeat(draw.normal(size=40), 4) + draw.normal(0, 0.1, 160) for _ in range(2))
        by_patient = attack_area(members=members, others=others, member_groups=groups, other_groups=groups + 100)
        inside += by_patient.low(0.025) <= 0.5 <= by_patient.high(0.025)
        by_image = area(members, others)
        narrow += by_image.low(0.025) <= 0.5 <= by_image.high(0.025)
    assert 0.91 <= inside / 300 <= 0.985
    assert narrow / 300 < 0.8


def test_a_perfect_attack_on_few_patients_is_not_certain():
    found = area(np.arange(50) + 100.0, np.arange(8) * 1.0)
    assert found.value == 1.0
    assert 0.5 < found.low(0.025) < 0.95


def test_one_patient_on_a_side_has_no_area():
    assert attack_area(members=[1.0, 2], others=[0.0, 1], member_groups=["a", "a"], other_groups=["b", "c"]) is None


def test_hits_of_two_normals_and_bounds_that_hold():
    truth = stats.norm.sf(stats.norm.isf(0.01) - 1.0)
    held = 0
    for number in range(200):
        draw = rng("hits", number)
        members, others = draw.normal(1.0, 1.0, 2000), draw.normal(0.0, 1.0, 2000)
        found = hits_at(
            members=members, others=others, member_groups=alone(2000, "m"), other_groups=alone(2000, "o"),
            false_positive_rate=0.01, tail=0.025,
        )  # fmt: skip
        held += found.at_least <= truth <= found.at_most
        assert found.at_least <= found.value <= found.at_most
    assert held / 200 >= 0.95
    assert found.value == pytest.approx(truth, abs=0.03)


def test_a_rate_needs_ten_false_alarms_and_the_bounds_widen():
    def found(count):
        draw = rng("few", count)
        return hits_at(
            members=draw.normal(size=3000), others=draw.normal(size=count), member_groups=alone(3000, "m"),
            other_groups=alone(count, "o"), false_positive_rate=0.01,
        )  # fmt: skip

    assert found(1000).value == pytest.approx(0.01, abs=0.015)
    assert found(999).value is None
    assert found(4000).at_most < found(700).at_most < found(150).at_most
    assert found(60).at_most > 0.03
    assert found(3).at_most > 0.4
    assert found(100).at_least == 0.0


def test_images_that_repeat_their_patient_count_once():
    found = np.repeat(rng("effect").random(200) < 0.3, 3)
    groups = np.repeat(np.arange(200), 3)
    assert design_effect(found, groups) == pytest.approx(3.0, abs=1e-9)
    assert design_effect(rng("effect", 1).random(600) < 0.3, groups) < 1.35
    assert design_effect(np.zeros(600, bool), groups) == pytest.approx(3.0)


def test_p_values_of_relabeled_patients_are_uniform():
    """Several related attacks, images of a patient alike, classes of other difficulty: p below a in a share a."""
    groups = np.repeat(np.arange(60), 2)
    strata = np.tile([0, 1], 60)
    values = []
    for number in range(300):
        draw = rng("uniform", number)
        base = np.repeat(draw.normal(size=(60, 1)), 2, axis=0) + 2 * strata[:, None]
        scores = base + draw.normal(0, 0.5, (120, 4))
        is_member = np.isin(groups, draw.permutation(60)[:40])
        values.append(chance_test(scores, is_member, groups, strata, 99, draw).family)
    assert stats.kstest(np.array(values) - rng("jitter").uniform(0, 0.01, 300), "uniform").pvalue > 0.01


def test_a_leak_in_one_of_many_attacks_is_found_and_named():
    draw = rng("leak")
    groups = np.arange(200)
    is_member = groups < 120
    scores = draw.normal(size=(200, 6))
    scores[is_member, 3] += 1.0
    test = chance_test(scores, is_member, groups, None, 999, draw)
    assert test.family == pytest.approx(0.001)
    assert test.each.argmin() == 3
    assert (np.delete(test.each, 3) > 0.01).all()


def test_a_patient_on_both_sides_is_refused():
    with pytest.raises(ValueError, match="both sides"):
        chance_test(np.zeros((4, 1)), np.array([1, 0, 1, 0]), ["a", "a", "b", "c"], None, 9, rng("x"))
