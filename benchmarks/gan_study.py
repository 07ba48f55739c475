"""Three more stages of the GAN benchmark: the knee study again, severity strips, and training for too long.

The knee study is the one in which a grader was trained on images of two WGAN-GPs (Prezja et al. 2022): here the same
grader is fitted on real, synthetic or both kinds of images and tested on real patients that nobody trained on.
"""

from pathlib import Path
from typing import Any

import numpy as np
from gan_report import COMPARED

SIDES = ("real", "synthetic", "both")
STRIPS, SHOWN = 200, 8  # rows of one patient under every grade; of them drawn on the sheet
FEW = 400  # training images of the training that goes on for too long
# what is set by hand in it; `unguarded` shows what the audit makes of a training that nothing holds back
OVERTRAINED: dict[str, dict[str, Any]] = {
    "defaults": {},
    "unguarded": {"augment": 0.0, "guard_images": 0, "watch_images": 0},
}
RESAMPLES = 1000


def graded(bench: Any, seed: str) -> dict[str, Any]:
    """Three graders of one seed: what each says of the real test images goes to a file."""
    from gan import conditions, generator_of, timed_drawing
    from generator_scores import real

    from synthcohort.learning.fit import FitConfig, fit_classifier

    scorer = bench.scorer(COMPARED)
    train, test, label = real(scorer.cohort, "train"), real(scorer.cohort, "test"), first_label(scorer)
    said = conditions(bench, COMPARED, train.classes.tolist())  # as many images of each grade as there are real ones
    made, _ = timed_drawing(generator_of(bench, "gan", COMPARED, seed), said, int(seed))
    sides = {
        "real": (train.images, train.classes),
        "synthetic": (made, train.classes),
        "both": (np.concatenate([train.images, made]), np.tile(train.classes, 2)),
    }
    config, said_of = FitConfig(steps=bench.args.steps), {}
    for side, (images, classes) in sides.items():
        grader = fit_classifier(images, classes, len(label.values), config, int(seed), description=f"grader, {side}")
        said_of[side] = grader.probabilities(test.images)
    file = answers(bench, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **said_of)
    return {side: float((p.argmax(1) == test.classes).mean()) for side, p in said_of.items()}


def answers(bench: Any, seed: str) -> Path:
    return Path(bench.out) / "study" / f"{seed}.npz"


def first_label(scorer: Any) -> Any:
    return next(iter(scorer.cohort.labels.values()))


def study(bench: Any, seeds: str) -> dict[str, Any]:
    """Means over the seeds, and how accuracy changes, with intervals from resampled patients."""
    from generator_scores import real

    from synthcohort.core.seeds import rng
    from synthcohort.metrics.classification import accuracy_of, auroc, confusion, kappa_of, macro_recall_of

    test = real(bench.scorer(COMPARED).cohort, "test")
    kinds = len(first_label(bench.scorer(COMPARED)).values)
    files = [np.load(answers(bench, seed)) for seed in seeds.split("-")]
    said = {side: np.stack([file[side] for file in files]) for side in SIDES}  # [seeds, N, K]
    scores = {}
    for side, p in said.items():
        tables = [confusion(truth=test.classes, predicted=one.argmax(1), num_classes=kinds) for one in p]
        statistics = {"accuracy": accuracy_of, "macro_recall": macro_recall_of, "kappa": kappa_of}
        scores[side] = {name: float(np.mean([read(t) for t in tables])) for name, read in statistics.items()}
        scores[side]["auroc"] = float(np.mean([auroc(truth=test.classes, scores=one) for one in p]))
    right = {side: (p.argmax(2) == test.classes).mean(0) for side, p in said.items()}  # [N], mean over the seeds
    names, rows = np.unique(test.patients, return_inverse=True)
    random = rng("knee study", 0)
    counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)[:, rows]  # [R, N]
    change = {}
    for side in SIDES[1:]:
        difference = right[side] - right["real"]
        drawn = counts @ difference / counts.sum(1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        change[side] = {"value": float(difference.mean()), "low": float(low), "high": float(high)}
    lost = 1 - scores["synthetic"]["accuracy"] / scores["real"]["accuracy"]
    return {"scores": scores, "change": change, "lost": lost, "seeds": len(files), "test_images": len(test)}


def strips(bench: Any, seed: str) -> dict[str, Any]:
    """The same latent numbers under every grade, read by a grader of real images as an expected grade."""
    from gan import conditions, generator_of
    from generator_scores import real

    from synthcohort.core.seeds import seed_from
    from synthcohort.pages.grids import sheet

    scorer, kinds = bench.scorer(COMPARED), len(first_label(bench.scorer(COMPARED)).values)
    seeds = [seed_from("strip", int(seed), row) for row in range(STRIPS) for _ in range(kinds)]
    said = conditions(bench, COMPARED, list(range(kinds)) * STRIPS)
    images = np.stack(list(generator_of(bench, "gan", COMPARED, seed).draw(said, seeds)))
    read = (scorer.grader.probabilities(images) @ np.arange(kinds)).reshape(STRIPS, kinds)
    test = real(scorer.cohort, "test")
    of_real = scorer.grader.probabilities(test.images) @ np.arange(kinds)
    picture = Path(bench.out) / "sheets" / f"strips-{seed}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(sheet(list(images[: SHOWN * kinds]), columns=kinds, tile=128))
    mean = read.mean(0)
    return {
        "strips": STRIPS, "mean": mean.tolist(), "mean_rises": bool((np.diff(mean) > 0).all()),
        "rising": int((np.diff(read, axis=1) > 0).all(1).sum()),
        "steps_rising": float((np.diff(read, axis=1) > 0).mean()),
        "real_mean": [float(of_real[test.classes == k].mean()) for k in range(kinds)],
    }  # fmt: skip


def few(bench: Any) -> dict[str, Any]:
    """The knees with the training images of whole patients up to 400, all other roles as they are."""
    from gan import rewritten

    from synthcohort.core.cohort import Cohort
    from synthcohort.core.seeds import rng

    cohort = Cohort.open(bench.small(COMPARED))
    owners, roles = np.array(cohort.column("patient_id")), np.array(cohort.column("split"))
    train = np.flatnonzero(roles == "train")
    order = rng("few patients", 0).permutation(np.unique(owners[train]))
    place = {name: n for n, name in enumerate(order)}
    chosen = sorted(train, key=lambda n: (place[owners[n]], n))[:FEW]
    rows = sorted([*chosen, *np.flatnonzero(roles != "train")])
    total = rewritten(cohort, bench.small("few"), "few", bench.args.size, [int(n) for n in rows])
    return {"images": total, "train": len(chosen)}


def overtrained(bench: Any, kind: str) -> dict[str, Any]:
    """Trains on few images for long, and asks what the product does with it by default: guards, screen, audit."""
    from gan import timed_training

    from synthcohort.core.errors import Refused
    from synthcohort.core.files import read_json, remove
    from synthcohort.evaluation import evaluate
    from synthcohort.evaluation.config import EvaluateConfig
    from synthcohort.generation.config import GenerateConfig
    from synthcohort.generation.synthesize import generate
    from synthcohort.training.gan_config import GanConfig

    run, out = bench.model("gan", "few", kind), Path(bench.out) / "evidence" / f"few-{kind}"
    config = GanConfig(size=bench.args.size, minutes=bench.args.overtrain_minutes, **OVERTRAINED[kind])
    train, images = timed_training(bench.small("few"), run, config, 0), bench.stage("few")["train"]
    found: dict[str, Any] = {"train": train, "passes": train["images_seen"] / images}
    if "failed" in train:
        return found
    for name in ("screened", "unscreened"):
        remove(out / name)
        try:
            made = generate(run, out / name, GenerateConfig(screen=name == "screened"), 0, bench.args.count)
            found[name] = f"{made['screened_out']} left out"
        except Refused as refusal:
            found[name] = f"refused: {refusal.problems[0]}"
    settings = EvaluateConfig(parts=("copies",))
    evaluate(bench.small("few"), out / "unscreened", out / "evidence", settings, seed=0)
    family = read_json(out / "evidence" / "scores.json")["families"]["copies"]
    return found | {"audit": family, "copies": family["reason"]}
