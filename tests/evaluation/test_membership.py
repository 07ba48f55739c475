from types import SimpleNamespace

import numpy as np
import pytest

from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ConfigError
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation import black_box, spaces
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import open_inputs
from synthcohort.evaluation.membership import MembershipConfig, assign, membership
from synthcohort.evaluation.membership_verdict import LEVEL, Attacks, judge, same_mix, smallest_share
from synthcohort.evaluation.spaces import planted_images, range_of

ROLES = ("train", "train", "control", "validation", "test")
THRESHOLDS = load_policy("open").thresholds.membership
SETTINGS = MembershipConfig(least_images=20, permutations=999)


def texture(owner: str, number: int, size: int = 24) -> np.ndarray:
    """Waves of a person's own, and noise of each image."""
    y, x = np.mgrid[:size, :size] / size
    draw = rng("waves", owner)
    waves = sum(np.cos(2 * np.pi * (a * x + b * y) + c) for a, b, c in draw.uniform(-4, 4, (4, 3)))
    image = 120 + 20 * waves + rng("noise", owner, number).normal(0, 3, (size, size))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def cohort(path, images, origin="real", **columns) -> Cohort:
    from synthcohort.core.cohort import LabelColumn

    writer = CohortWriter(path, "toy", origin, (LabelColumn("odd", "nominal", ("no", "yes")),), {}, "f")
    for number, image in enumerate(images):
        record = {name: values[number] for name, values in columns.items()}
        writer.add(image, {"image_id": f"i{number:04d}", "bits_stored": 8, **record})
    return writer.finish()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    owners = [f"p{i // 2:03d}" for i in range(400)]
    path = tmp_path_factory.mktemp("membership") / "real"
    cohort(
        path, [texture(owner, i) for i, owner in enumerate(owners)], patient_id=owners,
        split=[ROLES[i // 2 % len(ROLES)] for i in range(400)], odd=[("no", "yes")[i // 2 % 2] for i in range(400)],
    )  # fmt: skip
    return path


def made(path, images, label=("no", "yes")):
    cohort(path, images, "synthetic", odd=[label[i % 2] for i in range(len(images))])
    return path


def evaluated(real, synthetic, tmp_path, **more):
    inputs = open_inputs(real, synthetic, None, tmp_path)
    eyes = SimpleNamespace()
    return membership(inputs, eyes, EvaluateConfig(), load_policy("open"), tmp_path, 0, settings=SETTINGS, **more)


def strangers(count, first=5000):
    return [texture(f"s{first + i}", i) for i in range(count)]


@pytest.fixture
def detail_only(monkeypatch):
    """The natural-image encoder takes seconds for hundreds of images."""
    monkeypatch.setattr(spaces, "SPACES", spaces.SPACES[1:])


def test_copies_of_members_fail_and_strangers_do_not(real, tmp_path, detail_only):
    train = Cohort.open(real).select(split="train")
    leaked = [train.image(i) for i in range(len(train))]
    noisy = [np.clip(x.astype(int) + rng("n", i).integers(-6, 7, x.shape), 0, 255) for i, x in enumerate(leaked)]
    found = evaluated(real, made(tmp_path / "a", [x.astype(np.uint8) for x in noisy]), tmp_path / "ca")
    judged = found["families"]["membership"]
    assert judged["verdict"] == "fail", judged["reason"]
    assert judged["figures"]["p_value"] <= LEVEL / 2
    assert "p0" not in str(found)
    fresh = evaluated(real, made(tmp_path / "b", strangers(120)), tmp_path / "cb")
    judged = fresh["families"]["membership"]
    assert judged["verdict"] in ("pass", "inconclusive"), judged["reason"]
    assert judged["figures"]["p_value"] > LEVEL / 2
    assert judged["figures"]["best_at_planted_copies"] >= 0.5, judged["figures"]["attacks"]  # it would have seen copies
    names = {item["name"] for item in fresh["scores"]}
    assert names == {"membership_auc", "membership_tpr_at_1_percent_fpr", "membership_tpr_at_0.1_percent_fpr"}
    rates = [item for item in fresh["scores"] if "tpr" in item["name"]]
    assert all(item["value"] is None and "not estimable" in item["computed_on"] for item in rates)


def test_control_patients_offered_as_synthetic_are_no_others(real, tmp_path):
    """Their own images would lie at distance 0 from themselves, and members would look like strangers."""
    control = Cohort.open(real).select(split="control")
    half = [control.image(i) for i in range(40)]
    inputs = open_inputs(real, made(tmp_path / "half", half), None, tmp_path)
    roles = assign(inputs, 5000, SETTINGS, 0)
    assert set(roles.others.column("pixels_digest")).isdisjoint(inputs.synthetic.column("pixels_digest"))
    assert len(roles.others) == len(control) - 40
    assert "left out" in roles.note
    everyone = open_inputs(real, made(tmp_path / "all", [control.image(i) for i in range(80)]), None, tmp_path)
    assert "too few to attack: 0 images of 0 control patients" in assign(everyone, 5000, SETTINGS, 0)


def test_without_a_known_split_or_enough_images_it_is_said_in_words(real, tmp_path):
    synthetic = made(tmp_path / "s", strangers(20))
    inputs = open_inputs(real, synthetic, None, tmp_path, trained_on=("train", "validation", "control", "test"))
    assert "nobody knows" in assign(inputs, 5000, SETTINGS, 0)
    inputs = open_inputs(real, synthetic, None, tmp_path)
    assert "too few to attack" in assign(inputs, 5000, MembershipConfig(least_images=200), 0)
    with pytest.raises(ConfigError, match="permutations"):
        MembershipConfig(permutations=10)


def test_control_is_halved_by_patient_where_there_is_no_validation(real, tmp_path):
    inputs = open_inputs(real, made(tmp_path / "s", strangers(20)), None, tmp_path, trained_on=("train", "validation"))
    roles = assign(inputs, 5000, SETTINGS, 0)
    sides = [set(view.column("patient_id")) for view in (roles.others, roles.strangers)]
    assert not sides[0] & sides[1]
    assert len(roles.others) == len(roles.strangers) == 40
    assert "strangers" in roles.note


def scores(kind, member_scores, other_scores, classes=None):
    m, o = len(member_scores), len(other_scores)
    return Attacks(
        kind, tuple(f"a{k}" for k in range(member_scores.shape[1])), member_scores, other_scores,
        [f"m{i // 2}" for i in range(m)], [f"o{i // 2}" for i in range(o)],
        np.zeros(m, int) if classes is None else classes[0], np.zeros(o, int) if classes is None else classes[1],
    )  # fmt: skip


def test_null_scores_never_fail_and_pass_with_enough_images():
    verdicts = []
    for number in range(30):
        draw = rng("null", number)
        sets = [
            scores(kind, draw.normal(size=(2000, 4)), draw.normal(size=(700, 4))) for kind in ("black-box", "white-box")
        ]
        verdicts.append(judge(sets, THRESHOLDS, 999, 0)[1]["verdict"])
    assert "fail" not in verdicts
    assert verdicts.count("pass") >= 24


def test_few_images_are_inconclusive_and_say_so():
    draw = rng("few")
    judged = judge([scores("black-box", draw.normal(size=(60, 3)), draw.normal(size=(24, 3)))], THRESHOLDS, 999, 0)[1]
    assert judged["verdict"] == "inconclusive"
    assert "too few images" in judged["reason"]


def test_the_share_said_to_be_caught_is_caught():
    attacks = scores("black-box", np.zeros((1000, 1)), rng("o").normal(size=(600, 1)))
    error = np.sqrt((1 / 1000 + 1 / 600) / 12)
    share = smallest_share(attacks, error, 299, LEVEL / 2, THRESHOLDS)
    assert 0.2 < share < 0.5
    for factor, fails in ((1.0, True), (0.5, False)):
        verdicts = []
        for number in range(20):
            draw = rng("caught", number)
            members = draw.normal(size=(1000, 1))
            members[draw.permutation(1000)[: int(factor * share * 1000)]] += 100
            found = scores("black-box", members, draw.normal(size=(600, 1)))
            verdicts.append(judge([found], THRESHOLDS, 999, 0)[1]["verdict"] == "fail")
        assert np.mean(verdicts) >= 0.9 if fails else np.mean(verdicts) == 0


def test_one_patient_in_ten_told_surely_fails_by_hits_though_the_area_is_small():
    draw = rng("hits verdict")
    members, others = draw.normal(size=(4000, 2)), draw.normal(size=(3000, 2))
    members[:400, 1] += 100
    judged = judge([scores("black-box", members, others)], THRESHOLDS, 999, 0)[1]
    assert judged["verdict"] == "fail"
    assert "one false alarm in a hundred" in judged["reason"]


def test_another_mix_of_classes_is_noticed():
    draw = rng("mix")
    mixed = scores(
        "black-box", draw.normal(size=(900, 1)), draw.normal(size=(600, 1)),
        (np.arange(900) % 3 % 2, np.arange(600) % 3 // 2),
    )  # fmt: skip
    assert same_mix(mixed)
    skewed = scores(
        "black-box", draw.normal(size=(900, 1)), draw.normal(size=(600, 1)),
        ((np.arange(900) % 10 > 7).astype(int), np.arange(600) % 2),
    )  # fmt: skip
    assert not same_mix(skewed)
    judged = judge([skewed], THRESHOLDS, 999, 0)[1]
    assert judged["verdict"] == "inconclusive"
    assert "mix of classes" in judged["reason"]


def test_distances_equal_the_slow_ones_and_take_the_best_view():
    draw = rng("distances")
    queries, images = draw.normal(size=(7, 2, 5)), draw.normal(size=(9, 5))
    slow = [min(np.linalg.norm(v - i) for v in query for i in images) for query in queries]
    assert np.allclose(black_box.nearest_distances(queries, images), slow)


def test_density_of_one_point_is_a_normal_and_its_ratio_of_equal_sets_is_zero():
    points = rng("points").normal(size=(50, 3))
    assert np.allclose(black_box.log_density(points, np.zeros((1, 3)), 0.5), -(points**2).sum(1) / 0.5)
    same = black_box.density_ratio(points, points, points[:, None])
    assert np.allclose(same, 0)


def test_a_discriminant_finds_the_direction_in_which_the_sets_differ():
    draw = rng("discriminant")
    reference, synthetic = draw.normal(size=(300, 6)), draw.normal(size=(300, 6))
    synthetic[:, 2] += 2
    queries = np.zeros((2, 1, 6))
    queries[1, 0, 2] = 1
    low, high = black_box.judge_scores(synthetic, reference, queries)
    assert high - low > 1


def test_planted_copies_are_of_the_members_they_are_said_to_be_of(real):
    members = Cohort.open(real).select(split="train")
    copies, owners = planted_images(members, 2, range_of(members), 0)
    assert len(copies) == len(owners) == len(set(owners)) == 18
    assert np.array_equal(copies[0], members.image(int(owners[0]))[:, ::-1])


def test_spaces_see_lists_as_they_see_cohorts(real, tmp_path):
    view = Cohort.open(real).select(indices=np.arange(3))
    for space, shape in zip(spaces.SPACES, ((3, 1, 1280), (3, 2, 1024)), strict=True):
        seen = space.see(view, range_of(view), tmp_path)
        assert seen.shape == shape
        again = space.see([view.image(i) for i in range(3)], range_of(view), tmp_path)
        assert np.array_equal(seen, again)
    mirrored = spaces.detail([view.image(0)[:, ::-1].copy()], range_of(view), tmp_path)
    assert np.allclose(mirrored[0, 0], seen[0, 1], atol=1e-5)


def test_whitened_reference_images_have_unit_variance_whatever_their_directions():
    points = rng("whiten").normal(size=(200, 4)) @ np.diag([5.0, 1, 0.1, 0]) + 3
    white = black_box.Whitening(points, 3)(points)
    assert np.allclose(np.cov(white, rowvar=False), np.eye(3), atol=1e-8)
    assert np.allclose(white.mean(axis=0), 0)
