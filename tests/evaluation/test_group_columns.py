import numpy as np
import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.evaluation.group_columns import SubgroupsConfig, age_band, expected_share, usable_columns


def test_age_bands_begin_at_their_age_and_unknown_ages_have_none():
    bands = (18, 40, 60, 80)
    names = [age_band(age, bands) for age in (0, 17.9, 18, 39, 40, 79, 80, 101, None, float("nan"))]
    assert names == [
        "below 18", "below 18", "18-39", "18-39", "40-59", "60-79", "80 and above", "80 and above", None, None
    ]  # fmt: skip


def test_columns_that_name_no_groups_are_explained(toys, tmp_path):
    real, made = toys.cohort(tmp_path / "r", num=60), toys.cohort(tmp_path / "s", "synthetic", num=30)
    columns = usable_columns(real, made, SubgroupsConfig(), 10)
    assert columns.values == {}
    assert columns.absent[0].startswith("the real cohort names no sex, age")
    wanted = usable_columns(real, made, SubgroupsConfig(columns=("grade", "patient_id")), 10)
    assert wanted.values == {"grade": ("0", "1", "2")}
    assert "no two groups of 10 or more images by patient_id" in wanted.absent[0]
    assert wanted.codes(real)["grade"][:4].tolist() == [0, 1, 2, 0]


def test_the_expected_share_follows_the_synthetic_mix_of_classes():
    classes = np.repeat([0, 1], 100)
    members = np.concatenate([np.arange(100) < 20, np.arange(100) < 60])
    known = np.ones(200, bool)
    made = np.repeat([0, 1], [30, 10])
    share = expected_share(members, known, classes, np.ones(40, bool), made)
    assert share == pytest.approx(0.75 * 0.2 + 0.25 * 0.6)
    assert expected_share(members, known, classes, np.ones(5, bool), np.full(5, 9)) == pytest.approx(0.4)


def test_settings_that_make_no_sense_are_refused_together():
    with pytest.raises(ConfigError) as error:
        SubgroupsConfig(age_bands=(40, 18), target={"sex": {"F": 0.5, "M": 0.6}})
    assert "growing order" in str(error.value)
    assert "sum to 1.1" in str(error.value)
