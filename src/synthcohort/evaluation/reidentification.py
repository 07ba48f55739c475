"""Re-identification: would a synthetic image be taken for another image of a training patient?

A network that tells patients apart (`learning.verification`) is fitted on training patients with two images or more and
measured on test patients. Then each synthetic image is matched with all training patients, and so is each real image
of control patients, who are strangers to them. What counts is the best match against how well the image matches
other strangers (validation patients): an ordinary image is like everybody. The share of control images above the
threshold is the false-positive rate; a larger share of synthetic images is a leak. Descriptive: it gates nothing.
Source of the comparison with strangers: Matejka et al. 2017 (adaptive score normalization).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_json
from synthcohort.core.kept import kept_array, kept_folder
from synthcohort.core.policy import Policy
from synthcohort.evaluation.entries import CONFIDENCE, entry, interval_words
from synthcohort.evaluation.inputs import Inputs, patients, sample_images, sample_patients
from synthcohort.evaluation.part_config import ReidentificationConfig
from synthcohort.evaluation.steps import code_digest
from synthcohort.metrics.attacks import design_effect
from synthcohort.metrics.intervals import (
    Score,
    assign_folds,
    clopper_pearson,
    fisher_greater,
    group_index,
    jackknife_interval,
)

if TYPE_CHECKING:
    from synthcohort.evaluation.config import EvaluateConfig
    from synthcohort.evaluation.encoding import Eyes
    from synthcohort.learning.verification import Verifier

RATE = 0.01  # false-positive rate, or the lowest one that the control images can tell
HIGHEST_RATE = 0.05
SIGNIFICANCE = 0.01
NEAREST_STRANGERS = 10
CLOSEST = 1e-3  # a distance below it is none: rounding
LEAST_PATIENTS = 20  # with two images or more, of each role
PLANTED = 7  # changed copies of each kind


@dataclass(frozen=True)
class Links:
    """How well images match training patients, beyond how well they match strangers: [.] each."""

    synthetic: np.ndarray
    control: np.ndarray
    control_patients: Sequence[str]
    again: np.ndarray  # other images of patients of whom one image was put among the training images
    copies: np.ndarray  # changed copies of training images


def reidentification(
    inputs: Inputs,
    eyes: "Eyes",
    config: "EvaluateConfig",
    policy: Policy,
    cache: Path,
    seed: int,
    settings: ReidentificationConfig | None = None,
) -> dict[str, Any]:
    """The part of the scorecard: how well patients are told apart, and the share of images linked to one."""
    settings = settings or ReidentificationConfig()
    views = {role: inputs.real.select(split=role) for role in ("train", "validation", "control", "test")}
    obstacle = _obstacle(inputs, views)
    if obstacle:
        return _result([], {"verdict": "inconclusive", "reason": obstacle})
    chosen = sample_patients(patients(views["train"]), settings.max_images, seed, "reidentification")
    train = views["train"].select(indices=chosen)
    embeddings = Embeddings(train, cache, settings, seed)
    areas = {
        role: pair_area(embeddings.of(views[role]), patients(views[role]), settings.folds, seed)
        for role in ("validation", "test")
        if len(_several(patients(views[role]))) >= LEAST_PATIENTS
    }
    if "test" not in areas:
        reason = (
            f"fewer than {LEAST_PATIENTS} test patients have two images, so nobody knows how well patients are told"
        )
        return _result([], {"verdict": "inconclusive", "reason": reason})
    synthetic = sample_images(inputs.synthetic, config.max_images, seed, "synthetic")
    links = link(inputs.real, train, synthetic, embeddings, seed)
    scores, figures = judge_links(links, areas["test"])
    figures["areas"] = {role: asdict(area) for role, area in areas.items()}
    return _result([_area_entry(areas["test"], views["test"]), *scores], figures)


def _result(scores: list[dict[str, Any]], figures: dict[str, Any]) -> dict[str, Any]:
    return {"scores": scores, "families": {}, "figures": {"reidentification": figures}}


def _obstacle(inputs: Inputs, views: dict[str, Cohort]) -> str | None:
    if not inputs.split_known:
        return "nobody knows which real patients were in no training, so there is no control"
    several = _several(patients(views["train"]))
    if not several:
        return "no training patient has two images, so nothing can learn what images of one patient share"
    if len(several) < LEAST_PATIENTS:
        return f"only {len(several)} training patients have two images; needed: {LEAST_PATIENTS}"
    return None


def _several(owners: Sequence[str]) -> list[str]:
    """The patients with two images or more."""
    names, counts = np.unique(np.asarray(owners), return_counts=True)
    return [str(name) for name in names[counts > 1]]


class Embeddings:
    """The verifier of one evaluation and the embeddings it makes, kept in `cache`; they are sensitive."""

    def __init__(self, train: Cohort, cache: Path, settings: ReidentificationConfig, seed: int):
        self.train, self.cache, self.settings, self.seed = train, Path(cache), settings, seed
        content = {
            "pixels": train.pixels_digest,
            "patients": group_index(patients(train)).tolist(),
            "settings": asdict(settings),
            "seed": seed,
            "code": code_digest(),
        }
        self.key = digest_json(content).partition(":")[2][:24]
        self._verifier: Verifier | None = None

    def verifier(self) -> "Verifier":
        """Fitted on the training images, or read from the cache."""
        from synthcohort.evaluation.spaces import range_of
        from synthcohort.learning.verification import Verifier, VerifierConfig, fit_verifier

        if self._verifier is None:

            def fit(folder: Path) -> None:
                config = VerifierConfig(steps=self.settings.steps)
                fit_verifier(self.train, patients(self.train), config, self.seed, range_of(self.train)).save(folder)

            self._verifier = kept_folder(self.cache / f"verifier-{self.key}", Verifier.load, fit)
        return self._verifier

    def of(self, view: Cohort) -> np.ndarray:
        """Unit vectors [N, D] of a view's images."""
        key = digest_json({"verifier": self.key, "pixels": view.pixels_digest}).partition(":")[2][:24]
        path = self.cache / f"patients-{key}.npy"
        return kept_array(path, lambda: self.verifier().embed(view), lambda kept: len(kept) == len(view))


def pair_area(embedded: np.ndarray, owners: Sequence[str], folds: int, seed: int) -> Score:
    """Area of telling pairs of images of one patient from pairs of two patients; interval by the jackknife over folds.

    All pairs under one threshold, as a verification system works. A pair of two folds is out when either is out.
    """
    index, fold = group_index(owners), assign_folds(owners, folds, seed)
    first, second = np.triu_indices(len(embedded), 1)
    similarity = np.einsum("pd,pd->p", embedded[first].astype(np.float64), embedded[second])
    same = index[first] == index[second]

    def area(kept: np.ndarray) -> float:
        positive = same[kept]
        count, total = int(positive.sum()), int(kept.sum())
        if not count or count == total:
            return float("nan")
        ranks = rankdata(similarity[kept])[positive]
        return float((ranks.sum() - count * (count + 1) / 2) / (count * (total - count)))

    left_out = [area((fold[first] != out) & (fold[second] != out)) for out in range(int(fold.max()) + 1)]
    return jackknife_interval(area(np.ones(len(same), bool)), np.array(left_out), lowest=0.0, highest=1.0)


def link(real: Cohort, train: Cohort, synthetic: Cohort, embeddings: Embeddings, seed: int) -> Links:
    """The links of synthetic and control images, and of images that are known to belong to a training patient."""
    from synthcohort.evaluation.spaces import planted_images, range_of

    control, test = real.select(split="control"), real.select(split="test")
    gallery, strangers = embeddings.of(train), embeddings.of(real.select(split="validation"))
    known, owners = embeddings.of(test), np.asarray(patients(test))
    again = []
    for name in _several(patients(test)):
        first, *others = np.flatnonzero(owners == name)
        # One image of the patient joins the training images: is another one linked to it, and to nobody else?
        own, best = known[others] @ known[first], (known[others] @ gallery.T).max(axis=1)
        again.append(np.where(own >= best, beyond(own, known[others], strangers), -np.inf))
    copies, _ = planted_images(train, PLANTED, range_of(real), seed)
    return Links(
        excess(embeddings.of(synthetic), gallery, strangers),
        excess(embeddings.of(control), gallery, strangers),
        patients(control),
        np.concatenate(again),
        excess(embeddings.verifier().embed(copies), gallery, strangers),
    )


def excess(queries: np.ndarray, gallery: np.ndarray, strangers: np.ndarray) -> np.ndarray:
    """How many times nearer the best of the gallery is than the ten nearest strangers, as a logarithm: [Q].

    Distances are 1 - similarity. Their ratio means the same where people are alike as where they are not; a difference
    would call every unusual image a find.
    """
    best = np.concatenate([(queries[i : i + 512] @ gallery.T).max(axis=1) for i in range(0, len(queries), 512)])
    return beyond(best, queries, strangers)


def beyond(best: np.ndarray, queries: np.ndarray, strangers: np.ndarray) -> np.ndarray:
    """`excess` for a known similarity to the best match."""
    usual = 0.0
    if len(strangers) >= NEAREST_STRANGERS:
        alike = queries @ strangers.T
        nearest = np.partition(alike, -NEAREST_STRANGERS, axis=1)[:, -NEAREST_STRANGERS:]
        usual = np.log(1 - nearest.mean(axis=1).astype(np.float64) + CLOSEST)
    return usual - np.log(1 - best.astype(np.float64) + CLOSEST)


def judge_links(links: Links, area: Score) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores, and {verdict, reason, …}: whether more synthetic than control images are linked to a training patient."""
    from synthcohort.evaluation.copy_power import smallest_rate_caught

    n, m = len(links.synthetic), len(links.control)
    rate = max(RATE, 10 / m) if m else 1.0
    if rate > HIGHEST_RATE:
        needed = f"a false-positive rate of {HIGHEST_RATE:.0%} needs {10 / HIGHEST_RATE:.0f}"
        reason = f"not estimable: {m} control images; {needed}"
        return [], {"verdict": "inconclusive", "reason": reason}
    chance = int(rate * m + 1e-9)
    threshold = float(np.sort(links.control)[::-1][chance])
    found = int((links.synthetic > threshold).sum())
    share = Score(found / n, *clopper_pearson(found, n, CONFIDENCE))
    # Control images of one patient are alike, so they count as fewer; synthetic ones have no patient.
    effect = design_effect(links.control > threshold, links.control_patients)
    count, false = int(m / effect), int(np.ceil(chance / effect))
    p_value = fisher_greater(successes=found, trials=n, control_successes=false, control_trials=count)
    sensitivity = {
        name: Score(float((levels > threshold).mean()), *clopper_pearson(int((levels > threshold).sum()), len(levels)))
        for name, levels in (("another_image", links.again), ("changed_copy", links.copies))
    }
    caught = {
        name: smallest_rate_caught(n, false, count, score.value or 0.0, SIGNIFICANCE)
        for name, score in sensitivity.items()
    }
    figures = {
        "false_positive_rate": chance / m, "linked": found, "synthetic_images": n, "control_images": m,
        "p_value": p_value, "sensitivity": {name: asdict(score) for name, score in sensitivity.items()},
        "smallest_rate_caught": caught,
    }  # fmt: skip
    linked = f"{share.value:.1%} of {n} synthetic images are linked to a training patient"
    said = f"{linked}, {chance / m:.1%} of {m} control images"
    if caught["another_image"] is None and p_value >= SIGNIFICANCE:
        skill = f"patients are told apart with an area of {interval_words(area)}"
        reason = (
            f"{said}; too weak to say more: {skill}, and no leak rate of new images of patients would have been seen"
        )
        figures |= {"verdict": "inconclusive", "reason": reason}
    elif p_value < SIGNIFICANCE:
        figures |= {"verdict": "linked", "reason": f"{said}; chance explains this in {p_value:.2g} of cases"}
    else:
        seen = f"{caught['another_image']:.1%} or more new images of training patients would have been seen"
        figures |= {"verdict": "nothing found", "reason": f"{said}; {seen}"}
    linked_entry = _link_entry(share, links, chance, str(figures["reason"]))
    return [linked_entry, *_sensitivity_entries(sensitivity, links)], figures


def _link_entry(share: Score, links: Links, chance: int, reason: str) -> dict[str, Any]:
    m = len(links.control)
    return entry(
        "reidentified_rate", title="Images linked to a training patient", group="privacy", score=share,
        control=Score(chance / m, *clopper_pearson(chance, m, CONFIDENCE)), better="lower", n_real=m,
        n_synthetic=len(links.synthetic), split="control",
        good="Good is what control patients reach: they are strangers to every training patient.",
        computed_on=f"best match among training patients, beyond that among strangers: {reason}",
    )  # fmt: skip


def _sensitivity_entries(sensitivity: dict[str, Score], links: Links) -> list[dict[str, Any]]:
    titles = {
        "another_image": "Other images of a known patient that are linked to that patient",
        "changed_copy": "Changed copies of training images that are linked",
    }
    counts = {"another_image": len(links.again), "changed_copy": len(links.copies)}
    return [
        entry(
            f"reidentification_of_{name}", title=titles[name], group="privacy", score=score, better="none",
            n_real=counts[name], split="test" if name == "another_image" else "train",
            good="The higher, the more the probe can see; at the false-positive rate itself it sees nothing.",
            computed_on="at the threshold that the control images set",
        )
        for name, score in sensitivity.items()
    ]  # fmt: skip


def _area_entry(area: Score, test: Cohort) -> dict[str, Any]:
    return entry(
        "reidentification_auc", title="Telling two images of one patient from images of two patients", group="privacy",
        score=area, floor=Score(0.5), better="none", n_real=len(test), split="test",
        good="How sharp the probe's eyes are: 0.5 sees nothing, 1 knows every patient again.",
        computed_on="all pairs of real test images; network fitted on training patients; interval by patient",
    )  # fmt: skip
