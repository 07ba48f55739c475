"""The worked example: a user's function finds the joint space of knee phantoms; TOST judges the difference of means."""

import numpy as np
import pytest

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.encoding import Eyes
from synthcohort.evaluation.inputs import open_inputs
from synthcohort.evaluation.measurements import load_measure, measure_digest, measurements
from synthcohort.evaluation.part_config import MeasurementConfig
from synthcohort.phantoms.anatomy import patient_knee
from synthcohort.phantoms.knee import knee

# What a user would write: the gap between the two bright plates of the joint, at half their height, in millimeters.
MEASURE = """
import numpy as np

FIELD_MM = 98.0


def gap(profile, spacing, middle):
    low, high = max(0, middle - round(9 / spacing)), middle + round(9 / spacing)
    darkest = low + int(np.argmin(profile[low:high]))
    reach = round(8 / spacing)
    up, down = profile[max(0, darkest - reach) : darkest + 1][::-1], profile[darkest : darkest + reach + 1]
    level = (profile[darkest] + min(up.max(), down.max())) / 2

    def edge(side):
        above = np.flatnonzero(side > level)
        if not len(above) or above[0] == 0:
            return float("nan")
        first = above[0]
        return first - (side[first] - level) / (side[first] - side[first - 1])

    return (edge(up) + edge(down)) * spacing


def joint_space(image, record):
    spacing = FIELD_MM / min(image.shape)
    center, middle = image.shape[1] // 2, round(0.55 * image.shape[0])
    sides = []
    for side in (-1, 1):
        columns = [center + side * round(mm / spacing) for mm in range(19, 29)]
        gaps = [gap(image[:, c - 1 : c + 2].mean(axis=1), spacing, middle) for c in columns]
        sides.append(np.median(gaps))
    return {"joint_space_mm": min(sides)}


def fails(image, record):
    raise RuntimeError(record["patient_id"])


def number(image, record):
    return float(image.mean())


not_a_function = 3
"""


def draw(least, most):
    """Knees of severities between these."""

    def image(grade, generator, size):
        severity = int(generator.integers(least, most + 1))
        return knee(patient_knee(int(generator.integers(10**6)), severity), size, generator)[0]

    return image


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measurements")
    (folder / "measure.py").write_text(MEASURE)
    return folder


@pytest.fixture(scope="module")
def real(toys, place):
    return toys.cohort(place / "real", num=210, size=96, draw=draw(0, 1)).path


def judged(real, synthetic, place, **settings):
    inputs = open_inputs(real, synthetic.path, None, place / "scratch")
    config = EvaluateConfig()
    eyes = Eyes(inputs, config, place / "scratch", 0)
    chosen = MeasurementConfig(**settings)
    return measurements(inputs, eyes, config, load_policy("open"), place / "scratch", 0, settings=chosen)


def test_the_function_measures_what_the_phantom_says(place):
    measure, truths, found = load_measure(f"{place / 'measure.py'}:joint_space"), [], []
    for number in range(40):
        image, truth = knee(patient_knee(number, number % 3), 128, rng("phantom", number))
        truths.append(truth["joint_space_mm"])
        found.append(measure(image, {})["joint_space_mm"])
    assert np.corrcoef(truths, found)[0, 1] > 0.95
    assert np.std(np.array(found) - truths) < 0.3


def test_equal_knees_are_equivalent_and_narrower_ones_are_not(real, toys, place):
    settings = {
        "function": f"{place / 'measure.py'}:joint_space",
        "margins": {"joint_space_mm": 0.5},
        "units": {"joint_space_mm": "mm"},
    }
    alike = toys.cohort(place / "alike", "synthetic", num=80, size=96, draw=draw(0, 1))
    result = judged(real, alike, place, **settings)
    (item,) = result["scores"]
    assert result["figures"]["measurements"]["joint_space_mm"]["outcome"] == "equivalent"
    assert -0.5 < item["low"] <= item["value"] <= item["high"] < 0.5
    assert item["floor"]["value"] is not None
    assert item["confidence"] == pytest.approx(0.9)
    assert "within ± 0.5 mm" in item["good"]
    narrow = toys.cohort(place / "narrow", "synthetic", num=80, size=96, draw=draw(2, 3))
    result = judged(real, narrow, place, **settings)
    assert result["figures"]["measurements"]["joint_space_mm"]["outcome"] == "different"
    assert result["scores"][0]["high"] < -0.5
    few = toys.cohort(place / "few", "synthetic", num=12, size=96, draw=draw(0, 1))
    strict = settings | {"margins": {"joint_space_mm": 0.05}}
    assert judged(real, few, place, **strict)["figures"]["measurements"]["joint_space_mm"]["outcome"] == "inconclusive"


def test_a_plain_number_is_called_value_and_nothing_is_measured_without_a_function(real, toys, place):
    made = toys.cohort(place / "plain", "synthetic", num=40, size=96, draw=draw(0, 1))
    result = judged(real, made, place, function=f"{place / 'measure.py'}:number", margins={"value": 1e4})
    assert result["scores"][0]["name"] == "measurement_value"
    assert judged(real, made, place) == {"scores": []}
    with pytest.raises(ConfigError, match=r"margins\.other: the function returns no such name; allowed: value"):
        judged(real, made, place, function=f"{place / 'measure.py'}:number", margins={"other": 1.0})


def test_errors_name_the_file_or_the_kind_of_failure_but_no_record(real, toys, place):
    made = toys.cohort(place / "broken", "synthetic", num=12, size=96, draw=draw(0, 1))
    with pytest.raises(InputError, match=r"failed on a real image \(RuntimeError\)") as caught:
        judged(real, made, place, function=f"{place / 'measure.py'}:fails", margins={"value": 1.0})
    assert "p0" not in str(caught.value)
    with pytest.raises(ConfigError, match="no file"):
        load_measure("absent.py:f")
    with pytest.raises(ConfigError, match="no function 'not_a_function'"):
        load_measure(f"{place / 'measure.py'}:not_a_function")
    (place / "broken.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match=r"can't be run \(ZeroDivisionError\)"):
        load_measure(f"{place / 'broken.py'}:f")


def test_the_files_digest_changes_with_the_file(place):
    settings = MeasurementConfig(function=f"{place / 'measure.py'}:number", margins={"value": 1.0})
    first = measure_digest(settings)
    (place / "measure.py").write_text(MEASURE + "\n")
    assert measure_digest(settings) != first
    (place / "measure.py").write_text(MEASURE)
    assert measure_digest(settings) == first
    assert measure_digest(MeasurementConfig()) is None
