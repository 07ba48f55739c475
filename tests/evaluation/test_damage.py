import numpy as np
import pytest
from scipy import ndimage

from synthcohort.core.policy import load_policy
from synthcohort.evaluation import damage
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.damage import DamageConfig, Marked, image_damage, judge, material, verdict
from synthcohort.evaluation.inputs import open_inputs

POLICY = load_policy("open")
SETTINGS = DamageConfig(images=150, references=200, planted=40)


@pytest.fixture(scope="module")
def real(toys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    toys.cohort(folder / "real", num=560)
    return folder / "real", folder / "cache"


def judged(real, toys, path, draw=None, num=150, settings=SETTINGS):
    toys.cohort(path, "synthetic", num=num, **({} if draw is None else {"draw": draw}))
    inputs = open_inputs(real[0], path, None, real[1])
    return image_damage(inputs, None, EvaluateConfig(), POLICY, real[1], 0, settings)


def spoilt(toys, change):
    return lambda grade, generator, size: change(toys.image(grade, generator, size).astype(float), generator)


def test_images_of_the_same_kind_pass_and_say_what_would_have_failed(real, toys, tmp_path):
    made = judged(real, toys, tmp_path / "s")
    family = made["families"]["image_damage"]
    assert family["verdict"] == "pass", family["reason"]
    assert "would have failed" in family["reason"]
    assert family["figures"]["noticed"]["blur"]["verdict_if_all_were"] == "fail"
    scores = {(item["name"], item["subset"]): item for item in made["scores"]}
    whole = scores["damaged_share", None]
    assert whole["low"] <= whole["value"] <= whole["high"]
    assert whole["floor"]["value"] is not None
    assert whole["control"]["value"] is not None
    assert ("damaged_share", "grade=1") in scores
    assert scores["damage_shift_blur", None]["value"] == pytest.approx(0.5, abs=0.15)


def _stored(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CHANGES = {
    "blurred": lambda image, generator: _stored(ndimage.gaussian_filter(image, 0.8)),
    "noisy": lambda image, generator: _stored(image + generator.normal(0, 6, image.shape)),
}


@pytest.mark.parametrize("word", CHANGES)
def test_slight_damage_of_all_images_fails_and_is_named(real, toys, tmp_path, word):
    family = judged(real, toys, tmp_path / "s", spoilt(toys, CHANGES[word]))["families"]["image_damage"]
    assert family["verdict"] == "fail"
    assert f"the images are {word} as a whole" in family["reason"]
    direction = "lower" if word == "blurred" else "higher"
    assert f"is {direction} than in a real image" in family["reason"]


def test_empty_images_fail(real, toys, tmp_path):
    def draw(grade, generator, size):
        return np.full((size, size), 7, np.uint8) if generator.random() < 0.3 else toys.image(grade, generator, size)

    made = judged(real, toys, tmp_path / "s", draw)
    assert made["families"]["image_damage"]["verdict"] == "fail"
    assert made["families"]["image_damage"]["figures"]["broken"] > 10


def test_few_images_are_inconclusive_in_words(real, toys, tmp_path):
    family = judged(real, toys, tmp_path / "s", num=20)["families"]["image_damage"]
    assert family["verdict"] == "inconclusive"
    assert "only 20 synthetic images" in family["reason"]
    toys.cohort(tmp_path / "small", num=120)
    toys.cohort(tmp_path / "made", "synthetic", num=60)
    inputs = open_inputs(tmp_path / "small", tmp_path / "made", None, tmp_path / "cache")
    family = image_damage(inputs, None, EvaluateConfig(), POLICY, tmp_path / "cache", 0)["families"]["image_damage"]
    assert "too few real training images" in family["reason"]


def test_the_reader_learns_from_training_images_and_compares_with_others(real, toys, tmp_path):
    toys.cohort(tmp_path / "s", "synthetic", num=60)
    inputs = open_inputs(real[0], tmp_path / "s", None, real[1])
    made = material(inputs, SETTINGS, real[1], 0)
    roles = set(made.reference_view.column("split"))
    assert roles <= {"train", "validation"}
    again = material(inputs, SETTINGS, real[1], 0)
    assert (again.reference.marks == made.reference.marks).all()


def marks(num, seed, shift=0.0, classes=1, per_patient=2):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, num)
    values = generator.normal(size=(num, len(damage.MARKS))) + labels[:, None] + shift
    return Marked(
        values, np.zeros(num, bool), np.arange(num) // per_patient, labels, np.zeros((num, len(damage.STATISTICS)))
    )


def test_real_marks_never_fail_whatever_the_numbers():
    found = [
        verdict(judge(marks(3 * num, 2 * seed), marks(num, 2 * seed + 1)), POLICY.thresholds.image_damage)["verdict"]
        for num in (40, 120, 400)
        for seed in range(40)
    ]
    assert found.count("fail") == 0
    assert found[-40:].count("pass") >= 30


def test_another_mix_of_classes_is_no_damage():
    """Severe disease looks different; a cohort with more of it is not damaged."""
    reference, synthetic = marks(900, 0, classes=4), marks(600, 1, classes=4)
    severe = synthetic.among(np.flatnonzero((synthetic.classes >= 2) | (np.arange(600) % 10 == 0)))
    thresholds = POLICY.thresholds.image_damage
    assert verdict(judge(reference, severe), thresholds)["verdict"] != "fail"
    unlabeled = Marked(severe.marks, severe.broken, severe.owners, np.full(len(severe), -1), severe.statistics)
    whole = Marked(reference.marks, reference.broken, reference.owners, np.full(900, -1), reference.statistics)
    plain, weighted = (judge(*pair).shifts["blur"].value for pair in ((whole, unlabeled), (reference, severe)))
    assert plain > 0.6
    assert weighted == pytest.approx(0.5, abs=0.04)


def test_a_check_that_misses_blur_or_noise_can_not_pass_and_other_gaps_are_said():
    figures = judge(marks(1200, 0), marks(400, 1))
    thresholds = POLICY.thresholds.image_damage
    assert verdict(figures, thresholds)["verdict"] == "pass"
    aside = verdict(figures, thresholds, unseen=["clipping"])
    assert aside["verdict"] == "pass"
    assert aside["reason"].endswith("not seen on such images: 10% of the pixels clipped")
    blind = verdict(figures, thresholds, unseen=["blur"])
    assert blind["verdict"] == "inconclusive"
    assert "would miss blur of 0.8 pixels" in blind["reason"]
