"""Measurements by a user's own function: are synthetic images equivalent to real ones in what a clinician measures?

Two one-sided tests (TOST) by patient against a margin that is stated before: only a difference *shown* to be smaller
than the margin counts as equivalent; too few images show nothing. The worked example is a function that finds the
joint space of the knee phantom in millimeters (tests/evaluation/test_measurements.py):

    [evaluate.measurements]
    function = "measure.py:joint_space"       # def joint_space(image, record) -> {"joint_space_mm": 4.2}
    margins = { joint_space_mm = 0.5 }
    units = { joint_space_mm = "mm" }
"""

import importlib.util
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ConfigError, InputError, Problem
from synthcohort.core.files import digest_bytes
from synthcohort.core.policy import Policy
from synthcohort.core.progress import progress
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import Inputs, patients
from synthcohort.evaluation.part_config import MeasurementConfig
from synthcohort.evaluation.sides import Figure, Sides, measured, sides_of, unmeasured
from synthcohort.metrics.equivalence import equivalence, patient_means
from synthcohort.metrics.intervals import Score
from synthcohort.metrics.readers_equivalence import Equivalence

if TYPE_CHECKING:
    from synthcohort.evaluation.encoding import Eyes

Measure = Callable[[np.ndarray, dict[str, Any]], float | Mapping[str, float]]
LEAST_PATIENTS = 10  # with a measurement, on every side


def load_measure(function: str) -> Measure:
    """The function of a user's file, FILE.py:NAME. Raises ConfigError when there is none or the file can't be run."""
    place = "setting evaluate.measurements.function"
    path, _, name = function.rpartition(":")
    if not Path(path).is_file():
        raise ConfigError(Problem(place, f"no file {path}", "FILE.py:NAME"))
    spec = importlib.util.spec_from_file_location("synthcohort_user_measurement", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # anything may happen in a user's file
        raise ConfigError(Problem(place, f"{path} can't be run ({type(error).__name__})")) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ConfigError(Problem(place, f"no function {name!r} in {path}", "FILE.py:NAME"))
    return found


def measure_digest(settings: MeasurementConfig) -> str | None:
    """Digest of the user's file: what was measured depends on it."""
    if settings.function is None:
        return None
    path = Path(settings.function.rpartition(":")[0])
    return digest_bytes(path.read_bytes()) if path.is_file() else None


def measurements(
    inputs: Inputs,
    eyes: "Eyes",
    config: EvaluateConfig,
    policy: Policy,
    cache: Path,
    seed: int,
    settings: MeasurementConfig = MeasurementConfig(),  # noqa: B008  frozen
) -> dict[str, Any]:
    """For each measurement the difference of means and whether it is shown to be within the margin."""
    if settings.function is None:
        return {"scores": []}
    measure = load_measure(settings.function)
    sides = sides_of(inputs, eyes, config, seed)
    values = [measure_view(measure, view) for view in sides.views()]
    scores, figures = [], {}
    for name, margin in settings.margins.items():
        if not any(name in side for side in values):
            known = sorted({found for side in values for found in side})
            raise ConfigError(
                Problem(
                    f"setting evaluate.measurements.margins.{name}",
                    "the function returns no such name",
                    ", ".join(known),
                )
            )
        item, outcome = _measurement(name, margin, settings, sides, [side.get(name) for side in values])
        scores.append(item)
        figures[name] = outcome
    return {"scores": scores, "figures": {"measurements": figures}}


def measure_view(measure: Measure, view: Cohort) -> dict[str, np.ndarray]:
    """What a function measures in each image of a view: name -> [N] float64, nan where it can't.

    Raises InputError when the function fails or returns something else than numbers; no value of a record is shown.
    """
    found: dict[str, np.ndarray] = {}
    with progress(len(view), "measurements") as advance:
        for index in range(len(view)):
            try:
                result = measure(view.image(index), view.record(index))
                numbers = dict(result) if isinstance(result, Mapping) else {"value": result}
                for name, number in numbers.items():
                    found.setdefault(str(name), np.full(len(view), np.nan))[index] = float(number)
            except Exception as error:  # anything may happen in a user's function
                words = f"failed on a {view.origin} image ({type(error).__name__})"
                raise InputError(Problem("the measuring function", words, "a number, or numbers by name")) from error
            advance()
    return found


def _measurement(
    name: str, margin: float, settings: MeasurementConfig, sides: Sides, values: list[np.ndarray | None]
) -> tuple[dict[str, Any], dict[str, Any]]:
    unit = settings.units.get(name, "")
    figure = Figure(
        f"Difference of the measurement {name}" + (f" in {unit}" if unit else ""),
        "none",
        f"Good is an interval within ± {margin:g}{' ' + unit if unit else ''}: synthetic patients measure the same as "
        "real ones, up to a difference that would not matter.",
    )
    key = f"measurement_{name}"
    arrays = [np.full(len(view), np.nan) if v is None else v for v, view in zip(values, sides.views(), strict=True)]
    owners = [patients(view) for view in sides.views()]
    counts = [len(patient_means(v, o)) for v, o in zip(arrays, owners, strict=True)]
    if min(counts) < LEAST_PATIENTS:
        reason = f"{min(counts)} patients with a measurement on one side; needed: {LEAST_PATIENTS}"
        return unmeasured(key, figure, reason, sides), {"outcome": "inconclusive", "reason": reason}
    made, base = (
        equivalence(
            real=arrays[0],
            synthetic=arrays[side],
            margin=margin,
            alpha=settings.level,
            real_patients=owners[0],
            synthetic_patients=owners[side],
        )
        for side in (1, 2)
    )
    outcome = "equivalent" if made.equivalent else "different" if _beyond(made) else "inconclusive"
    unmeasurable = [float((~np.isfinite(v)).mean()) for v in arrays]
    words = (
        f"{outcome} within ± {margin:g} (two one-sided tests at {settings.level:g}, p = {made.p:.2g}); "
        f"measured in {counts[0]} real and {counts[1]} synthetic patients; not measurable: "
        f"{unmeasurable[0]:.1%} of real and {unmeasurable[1]:.1%} of synthetic images"
    )
    score = Score(made.difference, made.low, made.high, Score(base.difference, base.low, base.high))
    item = measured(
        key,
        figure,
        score,
        computed_on=words,
        n_real=len(sides.reference),
        n_synthetic=len(sides.synthetic),
        confidence=1 - 2 * settings.level,
    )
    spread = [float(np.std(patient_means(v, o), ddof=1)) for v, o in zip(arrays, owners, strict=True)]
    ratio = spread[1] / spread[0] if spread[0] > 0 else math.nan
    return item, {
        "outcome": outcome,
        "margin": margin,
        "unit": unit,
        "p": made.p,
        "floor_equivalent": base.equivalent,
        "spread_ratio": ratio if math.isfinite(ratio) else None,
        "unmeasurable_real": unmeasurable[0],
        "unmeasurable_synthetic": unmeasurable[1],
    }


def _beyond(found: Equivalence) -> bool:
    return found.low > found.margin or found.high < -found.margin
