"""Moves real knees to each Kellgren-Lawrence grade and has an independent grader read them.

    python benchmarks/edits.py --run RUN --cohort COHORT --out runs/edits

Protocol: docs/experiments/2026-11-25-edits.md.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import write_json
from synthcohort.core.seeds import rng
from synthcohort.generation.edit import EditConfig, Subject, sweep
from synthcohort.imaging.geometry import placement
from synthcohort.learning.fit import Classifier, FitConfig, fit_classifier
from synthcohort.learning.registration import local_detail, register, transform_bank, warp
from synthcohort.models import load_generator
from synthcohort.models.generator import Generator
from synthcohort.pages.grids import sheet

GRADES = range(5)
SIZE = 64


def sized(view: Cohort) -> np.ndarray:
    images = [view.image(i) for i in range(len(view))]
    return np.stack([placement(image.shape, (SIZE, SIZE), "pad", 0).apply(image) for image in images])


def outside() -> np.ndarray:
    mask = np.ones((SIZE, SIZE), bool)
    mask[SIZE // 4 : 3 * SIZE // 4, round(0.1 * SIZE) : round(0.9 * SIZE)] = False
    return mask


def grader(out: Path, name: str, view: Cohort, seed: int) -> Classifier:
    if not (out / name).exists():
        config = FitConfig(steps=800, size=SIZE)
        fit_classifier(sized(view), np.array(view.column("kl_grade")), 5, config, seed).save(out / name)
    return Classifier.load(out / name)


def read(judge: Classifier, images: np.ndarray) -> np.ndarray:
    """Expected grade [N]."""
    return judge.probabilities(images) @ np.arange(5)


def pairs(view: Cohort) -> list[tuple[int, int]]:
    """Positions of the two knees of each patient who has two, in a fixed order."""
    of: dict[str, list[int]] = {}
    for i, patient in enumerate(view.column("patient_id")):
        of.setdefault(patient, []).append(i)
    two = sorted(tuple(own[:2]) for own in of.values() if len(own) >= 2)
    return [two[i] for i in rng("edits", 0).permutation(len(two))]  # type: ignore[misc]


def rms(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> np.ndarray:
    """[N] differences in gray values of [-1, 1]."""
    difference = (a.astype(np.float64) - b) / 127.5
    return np.sqrt((difference**2 * where).sum((1, 2)) / where.sum((-2, -1)))


def two_knees(images: np.ndarray, chosen: list[tuple[int, int]]) -> np.ndarray:
    """Distance [P] outside the joint of a patient's knees, the second mirrored and registered."""
    first = torch.from_numpy(np.stack([images[a] for a, _ in chosen])[:, None].astype(np.float32) / 127.5 - 1)
    second = torch.from_numpy(np.stack([images[b][:, ::-1] for _, b in chosen])[:, None].astype(np.float32) / 127.5 - 1)
    detail = [local_detail(x, 1.0, 6.0, 0.05) for x in (first, second)]
    best = torch.full((len(chosen),), -2.0)
    found = torch.zeros(len(chosen), 2, 3)
    for start in transform_bank((-6.0, 0.0, 6.0), (0.0,), 0.0)[:3]:
        moved, value = register(detail[0], detail[1], start.expand(len(chosen), 2, 3), 20)
        better = value > best
        best, found = torch.where(better, value, best), torch.where(better[:, None, None], moved, found)
    there = warp(torch.ones_like(second), found, SIZE).reshape(-1, SIZE, SIZE) > 0.99
    moved = warp(second, found, SIZE).reshape(-1, SIZE, SIZE)
    where = outside()[None] & there.numpy()
    return rms((first[:, 0].numpy() + 1) * 127.5, (moved.numpy() + 1) * 127.5, where)


def edited(generator: Generator, images: np.ndarray, grades: list[int], config: EditConfig) -> np.ndarray:
    """[N, 5, rows, columns]"""
    made = []
    for pixels, grade in zip(images, grades, strict=True):
        made.append(
            np.stack([e.image for e in sweep(Subject(generator, {"kl_grade": grade}, pixels), "kl_grade", config)])
        )
    return np.stack(made)


def interval(values: np.ndarray, statistic: Any = np.mean) -> list[float]:
    random = rng("edits bootstrap")
    drawn = sorted(float(statistic(values[random.integers(0, len(values), len(values))])) for _ in range(1000))
    return [round(float(statistic(values)), 4), round(drawn[25], 4), round(drawn[974], 4)]


def judged(judge: Classifier, original: np.ndarray, made: np.ndarray, span: float) -> dict[str, Any]:
    grades = np.stack([read(judge, made[:, k]) for k in GRADES], 1)  # [N, 5]
    moved = np.stack([rms(made[:, k], original, outside()) for k in GRADES], 1)
    return {
        "read": [interval(grades[:, k]) for k in GRADES],
        "monotonic": bool((np.diff(grades.mean(0)) > 0).all()),
        "span": [round(x / span, 4) for x in interval(grades[:, 4] - grades[:, 0])],
        "outside": [interval(moved[:, k], np.median) for k in GRADES],
        "outside_all": interval(moved.mean(1), np.median),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cohort", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("choose", "judge"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cohort, generator = Cohort.open(args.cohort), load_generator(args.run)
    train = cohort.select(split="train")
    half = {p: rng("edits half", p).random() < 0.5 for p in set(train.column("patient_id"))}
    halves = [
        train.select(indices=[i for i, p in enumerate(train.column("patient_id")) if half[p] == side])
        for side in (True, False)
    ]
    chosen_file = args.out / "chosen.json"
    if args.only != "judge" and not chosen_file.exists():
        choose(generator, cohort.select(split="validation"), grader(args.out, "chooser", halves[0], 1), args.out)
    if args.only == "choose":
        return
    chosen = json.loads(chosen_file.read_text())["chosen"]
    view = cohort.select(split="test")
    images, grades = sized(view), view.column("kl_grade")
    two = pairs(view)
    judge = grader(args.out, "judge", halves[1], 2)
    subjects = [a for a, _ in two[:100]]
    own = [grades[i] for i in subjects]
    setting, config = set_up(generator, chosen)
    if not (args.out / "edited.npy").exists():
        np.save(args.out / "edited.npy", edited(setting, images[subjects], own, config))
    made, original = np.load(args.out / "edited.npy"), images[subjects]
    real = read(judge, images)
    by_grade = [float(real[np.array(grades) == k].mean()) for k in GRADES]
    span = by_grade[4] - by_grade[0]
    swapped = np.stack([
        np.stack([images[rng("edits swap", i, k).choice(np.flatnonzero(np.array(grades) == k))] for k in GRADES])
        for i in range(len(subjects))
    ])  # fmt: skip
    result = {
        "chosen": chosen, "n": len(subjects), "own_grades": np.bincount(own, minlength=5).tolist(),
        "read_on_real_by_grade": [round(x, 4) for x in by_grade], "span_on_real": round(span, 4),
        "edits": judged(judge, original, made, span),
        "two_knees_outside": interval(two_knees(images, two), np.median), "patients_with_two": len(two),
        "own_grade_unchanged": float(np.mean([np.array_equal(made[i, g], original[i]) for i, g in enumerate(own)])),
        "control_swapped": judged(judge, original, swapped, span),
    }  # fmt: skip
    write_json(args.out / "result.json", result)
    rows = [im for i in range(8) for im in (original[i], *made[i])]
    (args.out / "owner").mkdir(exist_ok=True)
    (args.out / "owner" / "sweeps.png").write_bytes(sheet(rows, columns=6))  # shows real patients: stays here
    print(json.dumps(result, indent=1))


def set_up(generator: Generator, chosen: dict[str, Any]) -> tuple[Generator, EditConfig]:
    sampling = replace(generator.sampling, guidance_scale=chosen["guidance"])
    known = (generator.facts, generator.digest, generator.autoencoder)
    changed = Generator(generator.denoiser, generator.spec, sampling, *known)
    return changed, EditConfig(strength=chosen["strength"], local=chosen["local"])


def choose(generator: Generator, view: Cohort, chooser: Classifier, out: Path) -> None:
    images, grades = sized(view), view.column("kl_grade")
    two = pairs(view)
    subjects = [a for a, _ in two[:40]]
    own = [grades[i] for i in subjects]
    real = read(chooser, images)
    span = float(real[np.array(grades) == 4].mean() - real[np.array(grades) == 0].mean())
    limit = float(np.median(two_knees(images, two)))
    file = out / "tried.json"  # grows setting by setting, so that a killed run goes on
    tried: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    for strength, guidance, local in itertools.product((0.6, 0.8, 1.0), (1.5, 3.0, 5.0), (False, True)):
        setting = {"strength": strength, "guidance": guidance, "local": local}
        if any(setting.items() <= known.items() for known in tried):
            continue
        changed, config = set_up(generator, setting)
        found = judged(chooser, images[subjects], edited(changed, images[subjects], own, config), span)
        tried.append(
            {**setting, "span": found["span"][0], "outside": max(x[0] for x in found["outside"]), "read": found["read"]}
        )
        write_json(file, tried)
        print({k: v for k, v in tried[-1].items() if k != "read"}, f"limit {limit:.3f}", flush=True)
    within = [t for t in tried if t["outside"] < limit]
    best = max(within or tried, key=lambda t: t["span"])
    chosen = {key: best[key] for key in ("strength", "guidance", "local")}
    write_json(out / "chosen.json", {"chosen": chosen, "limit": limit, "span_on_real": span, "tried": tried})


if __name__ == "__main__":
    main()
