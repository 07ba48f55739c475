"""Several image types in one training: what a step sees, what is said of it, and who gets how much."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.errors import ConfigError, InputError
from synthcohort.training.config import TrainConfig
from synthcohort.training.joint import (
    SPAN,
    ImageType,
    JointSet,
    draw_batch,
    image_specs,
    joint_set,
    label_counts,
    open_types,
    type_shares,
    vocabulary_of,
)


def write_eyes(path: Path, count: int = 24, label: LabelColumn | None = None) -> Path:
    """A second type: color, wider than high, with sex, age and captions."""
    label = label or LabelColumn("dx", "nominal", ("a", "b"))
    writer = CohortWriter(path, path.name, "real", [label], {}, "fingerprint")
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 256, (16, 24, 3), dtype=np.uint8)
        record = {
            "image_id": f"e{n:03d}", "patient_id": f"q{n:03d}", "group_id": f"q{n:03d}",
            "split": "train" if n % 3 else "validation", label.name: label.values[n % len(label.values)],
            "bits_stored": 8, "modality": "OP", "body_part": "EYE",
            "sex": ("F", "M", None)[n // 3 % 3], "age": 40.0 + n,
            "caption": "left eye" if n % 2 else None, "phrasings": ["left eye", "eye, L"] if n % 2 else None,
        }  # fmt: skip
        writer.add(pixels, record)
    writer.finish()
    return path


def prepared(types: list[ImageType], folder: Path, config: TrainConfig) -> JointSet:
    specs = image_specs(types, config)
    vocabulary = vocabulary_of(types, config, None)
    return joint_set(folder, [kind.train for kind in types], specs, vocabulary, config)


@pytest.fixture
def joint(cohort_path: Path, tmp_path: Path, config: TrainConfig) -> tuple[list[ImageType], JointSet, TrainConfig]:
    types = open_types([cohort_path, write_eyes(tmp_path / "eyes")])
    config = replace(config, flip=False)
    return types, prepared(types, tmp_path / "data", config), config


def test_types_columns_and_attributes(joint: tuple[list[ImageType], JointSet, TrainConfig]) -> None:
    types, data, config = joint
    assert [kind.name for kind in types] == ["discs", "eyes"]
    assert data.vocabulary.names == ("image_type", "sex", "age", "grade", "dx")
    assert [c.role for c in data.vocabulary.columns] == ["type", "attribute", "attribute", "label", "label"]
    assert data.channels == 3
    assert data.sets[0].conditions[:, [1, 2, 4]].isnan().all()  # discs have no sex, age, dx
    assert data.sets[1].conditions[:, 3].isnan().all()
    assert set(data.sets[1].conditions[:, 0].tolist()) == {1.0}
    only = vocabulary_of(types, replace(config, attributes=(), labels=("grade",)), None)
    assert only.names == ("image_type", "grade")


def test_batches_are_functions_of_their_step(joint: tuple[list[ImageType], JointSet, TrainConfig]) -> None:
    _, data, config = joint
    first = draw_batch(data, 5, 8, 1, config)
    draw_batch(data, 6, 8, 1, config)
    again = draw_batch(data, 5, 8, 1, config)
    assert torch.equal(first.images, again.images)
    torch.testing.assert_close(first.condition.labels, again.condition.labels, equal_nan=True)
    assert torch.equal(torch.rand(3, generator=first.generator), torch.rand(3, generator=again.generator))
    other = draw_batch(data, 5, 8, 2, config)
    assert not torch.equal(first.images, other.images)


def test_shares_are_met_and_no_image_comes_twice_before_all_came(
    joint: tuple[list[ImageType], JointSet, TrainConfig],
) -> None:
    _, data, _ = joint
    seen: list[list[int]] = [[], []]
    for step in range(200):
        types, rows = data.batch_rows(step, 8, 3)
        for k, row in zip(types.tolist(), rows.tolist(), strict=True):
            seen[k].append(row)
    for own, part in zip(seen, data.sets, strict=True):
        for start in range(0, len(own) - len(part), len(part)):
            assert sorted(own[start : start + len(part)]) == list(range(len(part)))
    assert len(seen[0]) / 1600 == pytest.approx(data.shares[0], abs=1 / 200 * 8)


def test_types_of_other_shapes_do_not_share_a_batch(
    cohort_path: Path, tmp_path: Path, config: TrainConfig, make_cohort: Callable[..., Path]
) -> None:
    types = open_types([make_cohort("small", size=16), write_eyes(tmp_path / "eyes")])
    with pytest.raises(ConfigError, match="multiples of 4"):
        image_specs(types, replace(config, size=18))
    data = prepared(types, tmp_path / "data", replace(config, size=None, flip=False))
    shapes = []
    for step in range(SPAN):
        own, _ = data.batch_rows(step, 4, 0)
        assert len(set(own.tolist())) == 1
        shapes.append(int(own[0]))
        assert data.unit_images(*data.batch_rows(step, 4, 0)).shape == ((4, 3, 16, 16), (4, 3, 16, 24))[shapes[-1]]
    assert np.mean(shapes) == pytest.approx(data.shares[1], abs=1 / SPAN)


def test_gray_images_have_three_equal_channels_beside_color_ones(
    joint: tuple[list[ImageType], JointSet, TrainConfig],
) -> None:
    types, data, _ = joint
    unit = data.unit_images(np.array([0, 1]), np.array([2, 3]))
    assert torch.equal(unit[0, 0], unit[0, 2])
    assert not torch.equal(unit[1, 0], unit[1, 2])
    assert np.array_equal(((unit[0, 0].numpy() + 1) * 127.5).round(), types[0].train[0].image(2))


def test_hiding_keeps_the_type_and_takes_columns_at_their_rates(
    joint: tuple[list[ImageType], JointSet, TrainConfig],
) -> None:
    _, data, config = joint
    config = replace(config, label_dropout=0.3, column_dropout=0.0)
    labels = torch.cat([draw_batch(data, step, 32, 0, config).condition.labels for step in range(60)])
    assert not labels[:, 0].isnan().any()
    of_discs = labels[:, 0] == 0
    assert float(labels[of_discs, 3].isnan().float().mean()) == pytest.approx(0.3, abs=0.05)
    config = replace(config, label_dropout=0.0, column_dropout=0.2)
    labels = torch.cat([draw_batch(data, step, 32, 0, config).condition.labels for step in range(60)])
    assert float(labels[:, 0].isnan().float().mean()) == pytest.approx(0.2, abs=0.04)
    assert float(labels[of_discs, 3].isnan().float().mean()) == pytest.approx(0.2, abs=0.04)


def test_flip_mirrors_about_half_and_only_when_asked(cohort_path: Path, tmp_path: Path, config: TrainConfig) -> None:
    data = prepared(open_types([cohort_path]), tmp_path / "data", config)
    config = replace(config, label_dropout=0.0)
    mirrored = 0
    for step in range(20):
        plain = draw_batch(data, step, 8, 1, replace(config, flip=False))
        flipped = draw_batch(data, step, 8, 1, config)
        assert not plain.condition.labels.isnan().any()
        for a, b in zip(plain.images, flipped.images, strict=True):
            mirrored += torch.equal(a.flip(2), b) and not torch.equal(a, b)
    assert 55 < mirrored < 105


def test_laterality_and_mirroring_exclude_each_other(cohort_path: Path, config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="laterality"):
        vocabulary_of(open_types([cohort_path]), replace(config, attributes=("laterality",)), None)
    with pytest.raises(ConfigError, match="weight"):
        vocabulary_of(open_types([cohort_path]), replace(config, attributes=("weight",)), None)


def test_equal_cohorts_are_one_type_and_synthetic_ones_are_refused(make_cohort: Callable[..., Path]) -> None:
    (kind,) = open_types([make_cohort("a"), make_cohort("b")])
    assert kind.count == 2 * sum(role == "train" for role in Cohort.open(kind.train[0].path).column("split"))
    with pytest.raises(InputError) as caught:
        open_types([make_cohort("c", origin="synthetic"), make_cohort("d", roles=("control", "test"))])
    assert len(caught.value.problems) == 2


def test_labels_are_put_together_or_refused(cohort_path: Path, tmp_path: Path, config: TrainConfig) -> None:
    more = write_eyes(tmp_path / "x" / "eyes", label=LabelColumn("dx", "nominal", ("b", "c")))
    types = open_types([write_eyes(tmp_path / "lids"), more])
    words = vocabulary_of(types, config, None)
    assert words.columns[words.names.index("dx")].label.values == ("a", "b", "c")
    other = write_eyes(tmp_path / "y" / "others", label=LabelColumn("grade", "ordinal", (0, 1)))
    with pytest.raises(ConfigError, match="label grade of others"):
        vocabulary_of(open_types([cohort_path, other]), config, None)
    again = write_eyes(tmp_path / "z" / "eyes", label=LabelColumn("grade", "nominal", ("u", "v")))
    with pytest.raises(InputError, match="one name 'eyes'"):
        open_types([more, again])


def test_temperature_of_the_types() -> None:
    assert type_shares([400, 100, 0], 0.0).tolist() == pytest.approx([0.8, 0.2, 0.0])
    assert type_shares([400, 100, 0], 0.5).tolist() == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert type_shares([400, 100, 0], 1.0).tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_counts_of_combinations_round_ages(joint: tuple[list[ImageType], JointSet, TrainConfig]) -> None:
    types, data, _ = joint
    counts = label_counts(types, data.vocabulary)
    assert sum(item["count"] for item in counts) == len(data)
    assert {item["condition"]["age"] for item in counts} <= {None, 40.0, 45.0, 50.0, 55.0, 60.0, 65.0}
    assert {item["condition"]["image_type"] for item in counts} == {"discs", "eyes"}


def test_evenly_spread_images_are_the_same_every_time(joint: tuple[list[ImageType], JointSet, TrainConfig]) -> None:
    _, data, _ = joint
    first, again = list(data.evenly(10, 4)), list(data.evenly(10, 4))
    assert sum(len(images) for images, _ in first) == 10
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
