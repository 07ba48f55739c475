import numpy as np
import pytest

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.evaluation.inputs import cohort_facts, open_inputs, patients, sample_patients


def opened(real, synthetic, tmp_path, label=None):
    return open_inputs(real.path, synthetic.path, label, tmp_path / "scratch")


def test_two_cohorts_that_fit(toys, cohorts, tmp_path):
    inputs = opened(*cohorts, tmp_path)
    assert inputs.label == toys.grade
    assert inputs.notes == ()
    assert inputs.classes(inputs.synthetic).tolist()[:4] == [0, 1, 2, 0]


def test_the_same_folder_twice(cohorts, tmp_path):
    with pytest.raises(InputError, match="the same folder"):
        opened(cohorts[0], cohorts[0], tmp_path)


def test_cohorts_given_the_wrong_way_round(cohorts, tmp_path):
    with pytest.raises(InputError) as caught:
        opened(cohorts[1], cohorts[0], tmp_path)
    assert len(caught.value.problems) == 2
    assert "is synthetic; allowed: real; name a real cohort with --real" in str(caught.value)


def test_a_copied_folder_is_noticed(toys, cohorts, tmp_path):
    real, _ = cohorts
    pixels = iter(real.images())
    same = toys.cohort(tmp_path / "same", "synthetic", num=len(real), draw=lambda *_: next(pixels))
    with pytest.raises(InputError, match="pixel by pixel"):
        opened(real, same, tmp_path)


def test_held_out_patients_may_be_offered_as_synthetic(toys, cohorts, tmp_path):
    real, _ = cohorts
    pixels = iter(real.select(split="control").images())
    null = toys.cohort(tmp_path / "null", "synthetic", num=14, draw=lambda *_: next(pixels))
    assert len(opened(real, null, tmp_path).synthetic) == 14


def test_no_cohort_there(cohorts, tmp_path):
    with pytest.raises(ArtifactError, match="not a cohort folder"):
        open_inputs(cohorts[0].path, tmp_path / "nowhere", None, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"roles": ("train",)}, "no images of role 'test'"),
        ({"num": 14}, "4 images of role 'test'; allowed: 12 or more"),
    ],
)
def test_real_cohorts_that_can_not_be_used(toys, cohorts, tmp_path, changes, words):
    other = toys.cohort(tmp_path / "other", **changes)
    with pytest.raises(InputError, match=words):
        opened(other, cohorts[1], tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grades": np.zeros(120)}, "the real cohort has 1 class of grade"),
        ({"labels": ()}, "no nominal or ordinal label"),
        ({"labels": (LabelColumn("grade", "continuous"),)}, "no nominal or ordinal label"),
    ],
)
def test_cohorts_without_classes_are_compared_without_them(toys, cohorts, tmp_path, changes, words):
    other = toys.cohort(tmp_path / "other", **changes)
    inputs = opened(other, cohorts[1], tmp_path)
    assert inputs.label is None
    assert words in inputs.no_label
    assert inputs.notes[0] == f"Nothing is compared by class: {inputs.no_label}."
    assert set(inputs.classes(inputs.real)) == {-1}
    assert inputs.values == ()


def test_a_label_that_was_asked_for_must_be_usable(toys, cohorts, tmp_path):
    other = toys.cohort(tmp_path / "other", grades=np.zeros(120))
    with pytest.raises(InputError, match="1 class of grade"):
        opened(other, cohorts[1], tmp_path, label="grade")
    bare = toys.cohort(tmp_path / "bare", labels=())
    with pytest.raises(InputError, match="allowed: none: the real cohort has no nominal or ordinal label"):
        opened(bare, cohorts[1], tmp_path, label="grade")
    with pytest.raises(InputError, match="no such column"):
        opened(cohorts[0], toys.cohort(tmp_path / "made", "synthetic", labels=()), tmp_path, label="grade")


def test_synthetic_images_may_lack_a_class_and_have_no_new_one(toys, cohorts, tmp_path):
    few = toys.cohort(tmp_path / "few", "synthetic", num=30, labels=(LabelColumn("grade", "ordinal", (0, 1, 2)),))
    assert opened(cohorts[0], few, tmp_path).values == (0, 1, 2)
    less = LabelColumn("grade", "ordinal", (1, 2))
    part = toys.cohort(tmp_path / "part", "synthetic", num=30, grades=1 + np.arange(30) % 2, labels=(less,))
    inputs = opened(cohorts[0], part, tmp_path)
    assert sorted(set(inputs.classes(inputs.synthetic))) == [1, 2]


def test_nobody_knows_what_was_learned_from(toys, cohorts, tmp_path):
    roles = ("train", "validation", "control", "test")
    inputs = open_inputs(cohorts[0].path, cohorts[1].path, None, tmp_path / "scratch", roles)
    assert not inputs.split_known
    assert "all of them count as possible training images" in inputs.notes[0]


def test_too_few_synthetic_images_and_other_obstacles_are_said_at_once(toys, cohorts, tmp_path):
    few = toys.cohort(tmp_path / "few", "synthetic", num=5)
    small = toys.cohort(tmp_path / "small", num=14)
    with pytest.raises(InputError) as caught:
        opened(small, few, tmp_path)
    assert "5 images" in str(caught.value)
    assert "role 'test'" in str(caught.value)


def test_labels_must_be_the_same_on_both_sides(toys, cohorts, tmp_path):
    other = toys.cohort(tmp_path / "other", "synthetic", labels=(LabelColumn("grade", "ordinal", (0, 1, 2, 3)),))
    with pytest.raises(InputError, match="values among 0, 1, 2, as in the real cohort"):
        opened(cohorts[0], other, tmp_path)
    with pytest.raises(InputError, match=r"evaluate.label: 'kl'; allowed: grade"):
        opened(*cohorts, tmp_path, label="kl")


def test_a_patient_in_two_roles_is_refused(toys, cohorts, tmp_path):
    mixed = toys.cohort(tmp_path / "mixed", patients=False)
    leaky = mixed.records.to_pylist()
    assert all(row["patient_id"] is None for row in leaky)
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in leaky:
        row["patient_id"] = "everybody"
    pq.write_table(pa.Table.from_pylist(leaky, schema=mixed.records.schema), mixed.path / "records.parquet")
    with pytest.raises(InputError, match="1 patients have images in more than one role"):
        opened(mixed, cohorts[1], tmp_path)


def test_missing_patients_and_control_are_noted(toys, cohorts, tmp_path):
    bare = toys.cohort(tmp_path / "bare", patients=False, roles=("train", "test"))
    notes = " ".join(opened(bare, cohorts[1], tmp_path).notes)
    assert "120 real images have no patient id" in notes
    assert "no control patients" in notes
    assert len(set(patients(bare))) == 120


def test_other_sizes_are_brought_to_the_smaller_and_noted(toys, cohorts, tmp_path):
    larger = toys.cohort(tmp_path / "larger", "synthetic", num=30, size=48)
    inputs = opened(cohorts[0], larger, tmp_path)
    assert inputs.synthetic.images().shape == (30, 32, 32)
    assert inputs.synthetic.digest == larger.digest
    assert inputs.real is not larger
    assert inputs.notes == ("30 synthetic images were brought to 32 × 32 pixels to be compared.",)
    again = opened(cohorts[0], larger, tmp_path)
    assert again.synthetic.pixels_digest == inputs.synthetic.pixels_digest


def test_the_usual_shape_counts_and_not_the_smallest_image(toys, cohorts, tmp_path):
    def draw(grade, generator, size):
        return toys.image(grade, generator, 8 if generator.random() < 0.1 else size)

    mixed = toys.cohort(tmp_path / "mixed", "synthetic", num=40, draw=draw)
    inputs = opened(cohorts[0], mixed, tmp_path)
    assert inputs.synthetic.images().shape == (40, 32, 32)
    assert "synthetic images were brought to 32 × 32 pixels" in inputs.notes[0]


def test_gray_in_three_channels_is_gray(toys, cohorts, tmp_path):
    gray = toys.cohort(
        tmp_path / "rgb", "synthetic", num=30, draw=lambda g, r, s: np.repeat(toys.image(g, r, s)[..., None], 3, 2)
    )
    inputs = opened(cohorts[0], gray, tmp_path)
    assert inputs.synthetic.images().shape == (30, 32, 32)
    assert (inputs.synthetic.image(3) == gray.image(3)[..., 0]).all()
    assert inputs.notes == ("30 synthetic images are gray in three channels, and were brought to one.",)


def test_some_gray_images_among_colored_ones_are_brought_to_color(toys, tmp_path):
    def colored(g, r, s):
        return r.integers(0, 255, (s, s, 3), np.uint8)

    real = toys.cohort(tmp_path / "real", draw=colored)
    made = toys.cohort(
        tmp_path / "made", "synthetic", num=30, draw=lambda g, r, s: colored(g, r, s)[..., 0] if g else colored(g, r, s)
    )
    inputs = opened(real, made, tmp_path)
    assert inputs.synthetic.images().shape == (30, 32, 32, 3)
    assert inputs.notes == ("20 synthetic images are gray, and were brought to three channels.",)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (
            lambda g, r, s: r.integers(0, 255, (s, s, 3), np.uint8),
            "synthetic images in color, the others gray",
        ),
        (lambda g, r, s: r.integers(0, 4095, (s, s), np.uint16), "pixel type: real uint8, synthetic uint16"),
    ],
)
def test_color_against_gray_and_other_depths_are_refused(toys, cohorts, tmp_path, draw, words):
    other = toys.cohort(tmp_path / "other", "synthetic", num=30, draw=draw)
    with pytest.raises(InputError, match=words):
        opened(cohorts[0], other, tmp_path)


def test_samples_hold_whole_patients_and_depend_on_the_seed_only():
    owners = [f"p{i // 4}" for i in range(100)]
    chosen = sample_patients(owners, 42, "test", 0)
    numbers = np.bincount([int(owners[i][1:]) for i in chosen])
    assert len(chosen) == 42
    assert sorted(numbers[numbers > 0]) == [2] + [4] * 10
    assert (chosen == sample_patients(owners, 42, "test", 0)).all()
    assert (chosen != sample_patients(owners, 42, "test", 1)).any()


def test_facts_count_images_and_patients(cohorts):
    facts = cohort_facts(cohorts[0])
    assert sum(facts["images"].values()) == 120
    assert facts["patients"]["train"] * 2 == facts["images"]["train"]
