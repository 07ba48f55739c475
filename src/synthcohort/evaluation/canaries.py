"""The canary audit: does the generator prefer the marks that were planted to marks that were not?

The exposure of a canary is how far up its planted mark stands among its candidates (`imaging.canaries`): with N
candidates, rank 1 gives log2(N + 1) bits, and a mark that was not learned has any rank equally often, 1.44 bits on
average for large N. The score of a marked image is its denoising loss (with the run folder), or its distance to the
nearest synthetic image (without). Source: Carlini et al. 2019 (1802.08232), section 4.

A run with canaries is for auditing a way of training, not for release: a generator that keeps marks may show them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.config import build
from synthcohort.core.errors import ArtifactError, ConfigError, InputError, Problem
from synthcohort.core.files import digest_json, remove
from synthcohort.core.policy import Policy
from synthcohort.core.run import RunFolder
from synthcohort.evaluation.entries import entry, without_folders
from synthcohort.evaluation.inputs import Inputs
from synthcohort.imaging.canaries import LEAST_CANARIES, CanaryConfig, canary, canary_hosts
from synthcohort.imaging.intensity import ValueRange, value_range_of
from synthcohort.metrics.intervals import Score

if TYPE_CHECKING:
    from synthcohort.evaluation.config import EvaluateConfig
    from synthcohort.evaluation.encoding import Eyes

CANDIDATES = 63  # rank 1 gives 6 bits
SIGNIFICANCE = 0.01
POWER = 0.95


@dataclass(frozen=True)
class Exposure:
    """Exposure [K] of each canary in bits, and how surely they are more than chance."""

    bits: np.ndarray
    candidates: int
    p_value: float  # of the ranks' mean
    chance: float  # mean exposure of marks that were never planted

    @property
    def mean(self) -> Score:
        """Mean over canaries, with the interval of Student.

        The error is no smaller than with one canary more of chance exposure: twelve marks known by heart do not say
        that the thirteenth would be.
        """
        value = float(self.bits.mean())
        if len(self.bits) < 2:
            return Score(value)
        error = max(_error(self.bits), _error(np.append(self.bits, self.chance)))
        half = float(stats.t.ppf(0.975, len(self.bits) - 1)) * error
        return Score(value, max(0.0, value - half), min(float(np.log2(self.candidates + 1)), value + half))


def _error(bits: np.ndarray) -> float:
    return float(bits.std(ddof=1) / np.sqrt(len(bits)))


def exposure(planted: np.ndarray, candidates: np.ndarray) -> Exposure:
    """Exposure from scores, larger for what the generator prefers: planted [K], candidates [K, N]; ties count half.

    Ranks of marks that were not learned are independent and uniform on 1 … N + 1; the p-value is that of their sum,
    normal with a correction for continuity (exact enough for K >= 8: Irwin-Hall).
    """
    planted, candidates = np.asarray(planted, np.float64), np.asarray(candidates, np.float64)
    if candidates.ndim != 2 or len(planted) != len(candidates) or not candidates.size:
        raise ValueError(f"scores {planted.shape} and {candidates.shape} must be [K] and [K, N]")
    above = (candidates > planted[:, None]).sum(1) + 0.5 * (candidates == planted[:, None]).sum(1)
    K, N = candidates.shape
    ranks = 1 + above
    mean, variance = (N + 2) / 2, ((N + 1) ** 2 - 1) / 12
    z = (ranks.sum() + 0.5 - K * mean) / np.sqrt(K * variance)
    chance = float(np.log2(N + 1) - np.log2(np.arange(1, N + 2)).mean())
    return Exposure(np.log2(N + 1) - np.log2(ranks), N, float(stats.norm.cdf(z)), chance)


def marked_cohort(hosts: Cohort, values: ValueRange, config: CanaryConfig, numbers: range, path: Path) -> Cohort:
    """The hosts with these marks on them, host by host, in a scratch folder, which is sensitive: it shows patients.

    `values` is the range of all training images, as the trainer marked them.
    """
    labels = tuple(hosts.labels.values())
    writer = CohortWriter(path, hosts.name, "real", labels, {"made": "canaries"}, digest_json(asdict(config)))
    known = ("patient_id", "bits_stored", "sex", "age", *(label.name for label in labels))
    for place, image_id in enumerate(hosts.image_ids):
        record = {name: value for name, value in hosts.record(place).items() if name in known}
        for number in numbers:
            named = f"{image_id}-{number}"
            if named not in writer.done:
                writer.add(canary(hosts.image(place), image_id, values, config, number), {**record, "image_id": named})
    return writer.finish()


def canaries(
    inputs: Inputs,
    eyes: "Eyes",
    config: "EvaluateConfig",
    policy: Policy,
    cache: Path,
    seed: int,
    run: Path | None,
) -> dict[str, Any]:
    """The part of the scorecard, for a run that planted canaries: their exposure; it gates nothing.

    Real and synthetic images are taken as they are stored: marks are brought to the model's size with their hosts.
    """
    assert run is not None  # has_canaries
    settings = planted_by(run)
    try:
        if settings is None:
            found = "were planted by the run that this one started from"
            raise ConfigError(Problem("canaries", found, remedy="give that run to evaluate"))
        real = Cohort.open(inputs.real_path)
        info = RunFolder.read(run).info
        if real.digest not in info["config"]["cohorts"]:
            raise InputError(Problem(f"run {Path(run).name}", "was trained on other cohorts", "the real cohort's run"))
        if info["kind"] == "diffusion":
            return audit_canaries(real, settings, cache, seed, run=run)
        return audit_canaries(real, settings, cache, seed, synthetic=Cohort.open(inputs.synthetic_path))
    except (ArtifactError, ConfigError, InputError) as error:
        return {"scores": [_no_entry(without_folders(error, run, inputs.real_path))], "figures": {}}


def has_canaries(run: Path | None) -> bool:
    """Whether a run, or one that it started from, planted canaries."""
    return run is not None and (Path(run) / "run.json").is_file() and bool(RunFolder.read(run).info.get("canaries"))


def planted_by(run: Path) -> CanaryConfig | None:
    """The canaries that a run itself planted."""
    settings = (RunFolder.read(run).info.get("canaries") or {}).get("settings")
    return build(CanaryConfig, settings, "canaries") if settings else None


def audit_canaries(
    real: Cohort,
    config: CanaryConfig,
    cache: Path,
    seed: int,
    run: Path | None = None,
    synthetic: Cohort | None = None,
    candidates: int = CANDIDATES,
) -> dict[str, Any]:
    """{"scores", "figures"} of the canaries that a training on `real` planted by this configuration.

    With `run` the score is the denoising loss, with `synthetic` the distance to the nearest synthetic image. Raises
    ConfigError when neither is given or there are too few canaries.
    """
    if (run is None) == (synthetic is None):
        raise ConfigError(Problem("canaries", "audited with both or neither", "a run folder or synthetic images"))
    train = real.select(split="train")
    hosts = train.select(indices=canary_hosts(train.image_ids, config))
    if len(hosts) < LEAST_CANARIES:
        raise ConfigError(Problem("canaries", f"{len(hosts)} planted", f"{LEAST_CANARIES} or more"))
    content = {"hosts": hosts.pixels_digest, "ids": hosts.image_ids, "config": asdict(config), "candidates": candidates}
    path = Path(cache) / f"canaries-{digest_json(content).partition(':')[2][:24]}"
    try:
        marked = Cohort.open(path)
    except ArtifactError:
        remove(path)
        values = value_range_of(train.image(0).dtype, train.column("bits_stored"))
        marked = marked_cohort(hosts, values, config, range(candidates + 1), path)
    if run is not None:
        scores = _loss_scores(run, real, marked, cache, seed)
        seen = "the model's own denoising loss"
    else:
        assert synthetic is not None
        scores = _distance_scores(real, synthetic, marked, cache)
        seen = "the distance to the nearest synthetic image"
    table = scores.reshape(len(hosts), candidates + 1)
    found = exposure(table[:, 0], table[:, 1:])
    return {"scores": [_entry(found, seen)], "figures": {"canaries": _figures(found, config)}}


def _loss_scores(run: Path, real: Cohort, marked: Cohort, cache: Path, seed: int) -> np.ndarray:
    from synthcohort.evaluation.white_box import Loss, WhiteBoxConfig

    strangers = real.select(split="validation")
    losses = Loss.of_run(run, real, WhiteBoxConfig(), cache, seed).losses(marked, strangers)
    return -losses[..., 0].mean(axis=1)


def _distance_scores(real: Cohort, synthetic: Cohort, marked: Cohort, cache: Path) -> np.ndarray:
    from synthcohort.evaluation.black_box import nearest_distances
    from synthcohort.evaluation.spaces import detail, range_of

    values = range_of(real)
    return -nearest_distances(detail(marked, values, cache), detail(synthetic, values, cache)[:, 0])


def _figures(found: Exposure, config: CanaryConfig) -> dict[str, Any]:
    kept = found.p_value < SIGNIFICANCE
    mean = found.mean
    words = f"{mean.value:.2f} bits of {np.log2(found.candidates + 1):.0f}, where chance gives {found.chance:.2f}"
    return {
        "canaries": len(found.bits), "candidates": found.candidates, "repeats": config.repeats,
        "mean_exposure": asdict(mean), "chance": found.chance, "p_value": found.p_value,
        "fully_exposed": int((found.bits >= np.log2(found.candidates + 1) - 1e-9).sum()),
        "smallest_share_caught": smallest_share(len(found.bits), found.candidates),
        "reason": f"planted marks {'are' if kept else 'are not surely'} preferred: exposure {words}",
    }  # fmt: skip


def smallest_share(count: int, candidates: int) -> float | None:
    """The smallest share of canaries learned by heart (rank 1) that the test would see with probability 0.95."""
    mean, deviation = (candidates + 2) / 2, np.sqrt(((candidates + 1) ** 2 - 1) / 12)
    for share in np.linspace(0, 1, 401)[1:]:
        shift = share * (mean - 1) * count
        spread = deviation * np.sqrt(count * (1 - share))
        needed = stats.norm.isf(SIGNIFICANCE) * deviation * np.sqrt(count) + 0.5
        if shift - stats.norm.ppf(POWER) * spread >= needed:
            return float(share)
    return None


def _entry(found: Exposure, seen: str) -> dict[str, Any]:
    return entry(
        score=found.mean, floor=Score(found.chance), n_real=len(found.bits), **SHOWN,
        computed_on=f"{seen}; each canary among {found.candidates} marks on the same image that were not planted",
    )  # fmt: skip


def _no_entry(reason: str) -> dict[str, Any]:
    return entry(score=Score(None), **SHOWN, computed_on=f"not measured: {reason}")


SHOWN: dict[str, Any] = {
    "name": "canary_exposure", "title": "Exposure of planted canaries (bits)", "group": "privacy", "better": "lower",
    "split": "train",
    "good": "Good is what chance gives: the generator does not tell planted marks from marks it never saw.",
}  # fmt: skip
