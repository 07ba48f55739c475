"""What do the gates of damage, subgroups and harm catch, and whom do they accuse falsely? Resamples by patient.

    python benchmarks/gates.py prepare --source runs/ten --out runs/gates
    python benchmarks/gates.py measure --out runs/gates

SOURCE holds ingested cohorts, one folder a set. `prepare` fits the auditors on training patients and keeps marks and
features; `measure` takes the verdicts anew for each resample. The protocol: docs/experiments.
"""

import argparse
import dataclasses
import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.files import write_json
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation import damage, harm, subgroups
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.damage import DamageConfig, Marked, material
from synthcohort.evaluation.damage_reader import Looks
from synthcohort.evaluation.encoding import Eyes
from synthcohort.evaluation.faults import planted
from synthcohort.evaluation.group_columns import SubgroupsConfig, usable_columns
from synthcohort.evaluation.group_figures import Side, cells_of, measure
from synthcohort.evaluation.inputs import Inputs, patients, sample_patients
from synthcohort.evaluation.learners import PROBE_DIMS, Arm, Probes
from synthcohort.evaluation.subgroups import seen_by
from synthcohort.imaging.geometry import placement
from synthcohort.learning.features import features as encode
from synthcohort.metrics.damage import image_statistics
from synthcohort.metrics.intervals import clopper_pearson, group_index

SETS = {"fundus-photo": "normal_fundus", "dermoscopy": "dx", "knee-xray": "kl_grade"}
SIZE = 48
PROBE_IMAGES = 600  # real training images of the probes' features
GRADER_STEPS = 400
FAULTS: dict[str, tuple[str, float]] = {
    "blur 0.4": ("blur", 0.4), "blur 0.7": ("blur", 0.7), "blur 1": ("blur", 1.0), "noise 1 %": ("noise", 0.01),
    "noise 2 %": ("noise", 0.02), "noise 4 %": ("noise", 0.04), "clipping 10 %": ("clipping", 0.1),
    "JPEG 30": ("blocks", 70), "bands 3 %": ("stripes", 0.03),
}  # fmt: skip
POLICY = load_policy("open")


def small(cohort: Cohort, path: Path) -> Cohort:
    """The cohort at 48 pixels."""
    if (path / "cohort.json").is_file():
        return Cohort.open(path)
    writer = CohortWriter(path, cohort.name, "real", tuple(cohort.labels.values()), {"made": "benchmark"}, "gates")
    for index in range(len(cohort)):
        image = cohort.image(index)
        placed = placement(image.shape[:2], (SIZE, SIZE)).apply(image)
        record = cohort.record(index)
        if record["image_id"] not in writer.done:
            writer.add(placed, record)
    return writer.finish()


def prepare(name: str, source: Path, out: Path) -> None:
    """Fits the auditors of one set and keeps what verdicts are computed from."""
    folder = out / name
    found = next(path.parent for path in (source / name).rglob("cohort.json"))
    real = small(Cohort.open(found), folder / "cohort")
    label = real.labels[SETS[name]]
    pool = real.select(indices=[i for i, role in enumerate(real.column("split")) if role in ("control", "test")])
    inputs = Inputs(real, pool, label, (), folder, folder)
    config, cache = EvaluateConfig(grader=GraderConfig(steps=GRADER_STEPS)), folder / "cache"
    eyes = Eyes(inputs, config, cache, 0)
    grader = eyes.grader()
    made = material(inputs, DamageConfig(), cache, 0)
    assert made is not None
    least = POLICY.thresholds.subgroups.min_group_images
    train, validation = real.select(split="train"), real.select(split="validation")
    columns = usable_columns(train, pool, SubgroupsConfig(), least)
    stored = [pool.image(i) for i in range(len(pool))]
    unit = np.stack(stored).astype(np.float32) / 255
    kept: dict[str, Any] = {"columns": columns, "values": label.values, "label": label.name}
    kept["control"] = len(real.select(split="control"))
    kept["reference"] = made.reference
    kept["reference_codes"] = columns.codes(made.reference_view)
    kept["train_codes"], kept["train_classes"] = columns.codes(train), inputs.classes(train)
    kept["train_owners"] = group_index(patients(train))
    kept["pool"], kept["pool_codes"] = made.mark(pool), columns.codes(pool)
    seen = seen_by(eyes, inputs, validation)
    kept["seen"] = Side(made.mark(validation), columns.codes(validation), *seen)
    kept["pool_features"], kept["pool_right"] = seen_by(eyes, inputs, pool)
    kept["faults"], kept["fault_features"], kept["fault_right"] = {}, {}, {}
    for fault, (kind, strength) in FAULTS.items():
        spoilt = planted(unit, kind, rng("gates", fault), strength)
        looks = Looks(image_statistics(spoilt), np.zeros(len(pool), bool))
        kept["faults"][fault] = made.marked(pool, looks)
        if fault in ("blur 1", "noise 4 %"):
            images = np.rint(spoilt * 255).astype(np.uint8)
            kept["fault_features"][fault] = grader.features(images)
            read = grader.probabilities(images).argmax(axis=1)
            kept["fault_right"][fault] = np.where(kept["pool"].classes >= 0, read == kept["pool"].classes, np.nan)
        print(f"{name}: {fault}", file=sys.stderr)
    with open(folder / "marks.pickle", "wb") as file:  # the benchmark's own, read by nobody else
        pickle.dump(kept, file)
    rows = sample_patients(patients(train), PROBE_IMAGES, "gates")
    few = train.select(indices=rows)
    packed = {"rows": rows, "train": encode(few, "packaged", cache), "pool": encode(pool, "packaged", cache)}
    np.savez(folder / "packaged.npz", **packed)


def offered(owners: np.ndarray, count: int, *purpose: str | int) -> np.ndarray:
    """Images of whole patients drawn without replacement."""
    return sample_patients([str(owner) for owner in owners], count, "gates", *purpose)


class Set:
    """One prepared set and its verdicts."""

    def __init__(self, name: str, out: Path):
        self.name = name
        with open(out / name / "marks.pickle", "rb") as file:
            self.kept = pickle.load(file)
        kept = self.kept
        self.pool: Marked = kept["pool"]
        empty = np.zeros((len(kept["train_classes"]), 0))
        blank = np.zeros(len(empty), bool)
        self.composition = Side(
            Marked(empty, blank, kept["train_owners"], kept["train_classes"], empty), kept["train_codes"]
        )
        self.sound = Side(kept["reference"], kept["reference_codes"])
        self.least = POLICY.thresholds.subgroups.min_group_images
        self.cells = cells_of(kept["columns"], self.composition, kept["label"], kept["values"], self.least)
        path = out / name / "packaged.npz"
        self.packed = dict(np.load(path)) if path.is_file() else None

    def rows(self, *purpose: str | int, among: np.ndarray | None = None) -> np.ndarray:
        chosen = np.arange(len(self.pool)) if among is None else np.flatnonzero(among)
        return chosen[offered(self.pool.owners[chosen], self.kept["control"], self.name, *purpose)]

    def damage(self, marked: Marked) -> dict[str, Any]:
        judged = damage.judge(self.kept["reference"], marked)
        return damage.verdict(judged, POLICY.thresholds.image_damage)

    def groups(self, side: Side) -> dict[str, Any]:
        figures = measure(self.cells, self.composition, self.sound, self.kept["seen"], side, self.least)
        most = POLICY.thresholds.image_damage.max_damaged_share
        return subgroups.verdict(figures, POLICY.thresholds.subgroups, most, self.kept["columns"].absent)

    def side(self, rows: np.ndarray) -> Side:
        kept = self.kept
        whole = Side(self.pool, kept["pool_codes"], kept["pool_features"], kept["pool_right"])
        return whole.among(rows)

    def mixed(self, fault: str, hit: np.ndarray) -> Marked:
        """The pool with a fault in some images."""
        spoilt: Marked = self.kept["faults"][fault]
        return Marked(
            np.where(hit[:, None], spoilt.marks, self.pool.marks), self.pool.broken, self.pool.owners,
            self.pool.classes, np.where(hit[:, None], spoilt.statistics, self.pool.statistics),
        )  # fmt: skip

    def group_fault(self, fault: str, hit: np.ndarray) -> Side:
        kept = self.kept
        features = np.where(hit[:, None], kept["fault_features"][fault], kept["pool_features"])
        right = np.where(hit, kept["fault_right"][fault], kept["pool_right"])
        return Side(self.mixed(fault, hit), kept["pool_codes"], features, right)

    def probes(self, rows: np.ndarray, classes: np.ndarray) -> tuple[Probes, np.ndarray, np.ndarray]:
        """Probes that learn from offered images, scored on the rest of the pool; truth and owners of that rest."""
        assert self.packed is not None
        train = self.packed["train"].astype(np.float64)
        center = train.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(train, rowvar=False))
        kept = vectors[:, np.argsort(-values)[:PROBE_DIMS]]
        x, pool = (train - center) @ kept, (self.packed["pool"].astype(np.float64) - center) @ kept
        rest = np.setdiff1d(np.arange(len(pool)), np.flatnonzero(np.isin(self.pool.owners, self.pool.owners[rows])))
        rest = rest[self.pool.classes[rest] >= 0]
        real_classes = self.kept["train_classes"][self.packed["rows"]]
        real_owners = self.kept["train_owners"][self.packed["rows"]]
        num = len(self.kept["values"])
        made = Probes(x, pool[rows], pool[rest], real_classes, classes, real_owners, num)
        return made, self.pool.classes[rest], self.pool.owners[rest]

    def harm(self, rows: np.ndarray, classes: np.ndarray, draw: str | int) -> dict[str, Any]:
        made, truth, owners = self.probes(rows, classes)
        labeled = np.flatnonzero(classes >= 0)
        known = np.flatnonzero(made.real_classes >= 0)
        count = min(len(labeled), len(known))
        real = known[offered(made.real_owners[known], count, self.name, "harm", draw)]
        none = np.zeros(0, np.int64)
        arms = {"real": Arm(real, none), "synthetic": Arm(none, labeled), "both": Arm(real, labeled)}
        runs = {
            name: np.stack([made.says(arm, "gates", draw, name, run) for run in range(harm.PROBE_RUNS)])
            for name, arm in arms.items()
        }
        losses = harm.losses(runs, truth, owners)
        names = [f"{self.kept['label']}={value}" for value in self.kept["values"]]
        return harm.verdict(losses, names, POLICY.thresholds.harm, np.bincount(truth, minlength=len(names)))


def spread(sets: list[Set], total: int) -> list[tuple[Set, int]]:
    """(set, number of the resample), dealt in turn."""
    return [(sets[number % len(sets)], number) for number in range(total)]


def count(found: list[dict[str, Any]], wanted: str) -> dict[str, Any]:
    hits = sum(item["verdict"] == wanted for item in found)
    low, high = clopper_pearson(hits, len(found))
    others = {name: sum(item["verdict"] == name for item in found) for name in ("pass", "inconclusive", "fail")}
    return {wanted: hits, "of": len(found), "low": low, "high": high, **others}


def experiments(sets: list[Set], null: int, other: int) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    faced = [item for item in sets if "sex" in item.kept["columns"].values]

    def everybody(number: int, item: Set) -> np.ndarray:
        return item.rows("null", number)

    def part(fault: str, share: float) -> list[dict[str, Any]]:
        result = []
        for item, number in spread(sets, other):
            rows = item.rows(fault, share, number) if isinstance(share, int) else item.rows(fault, str(share), number)
            hit = rng("gates part", fault, str(share), number).random(len(item.pool)) < share
            result.append(item.damage(item.mixed(fault, hit).among(rows)))
        return result

    def empty() -> list[dict[str, Any]]:
        result = []
        for item, number in spread(sets, other):
            rows = item.rows("empty", number)
            hit = rng("gates empty", number).random(len(rows)) < 0.1
            result.append(item.damage(dataclasses.replace(item.pool.among(rows), broken=hit)))
        return result

    def missing(column: str) -> list[dict[str, Any]]:
        result = []
        for item, number in spread(faced, other):
            codes = item.kept["pool_codes"][column]
            gone = int(np.bincount(codes[codes >= 0]).argmax()) if column == "age" else number // len(faced) % 2
            result.append(item.groups(item.side(item.rows("missing", column, number, among=codes != gone))))
        return result

    def worse(fault: str) -> list[dict[str, Any]]:
        result = []
        for item, number in spread(faced, other):
            hit = item.kept["pool_codes"]["sex"] == number // len(faced) % 2
            result.append(item.groups(item.group_fault(fault, hit).among(item.rows("worse", fault, number))))
        return result

    def mislabeled() -> list[dict[str, Any]]:
        result = []
        for item, number in spread(faced, other):
            rows = item.rows("mislabeled", number)
            side = item.side(rows)
            hit = np.flatnonzero((side.codes["sex"] == 0) & np.isfinite(side.right))
            right = side.right.copy()
            right[hit] = rng("gates labels", number).permutation(right[hit]) * 0.5
            result.append(item.groups(dataclasses.replace(side, right=right)))
        return result

    def harmed(how: str) -> list[dict[str, Any]]:
        result = []
        some = [
            item for item in sets if how != "missing" or len(item.kept["values"]) > 2
        ]  # of two, one teaches nothing
        for item, number in spread(some, null if how == "null" else other):
            among = None
            if how == "missing":
                known = item.pool.classes[item.pool.classes >= 0]
                among = item.pool.classes != int(np.bincount(known).argmax())
            rows = item.rows("harm", how, number, among=among)
            classes = item.pool.classes[rows]
            if how == "shuffled":
                classes = rng("gates shuffled", number).permutation(classes)
            result.append(item.harm(rows, classes, number))
            if number % 20 == 0:
                print(f"harm, {how}: {number}", file=sys.stderr)
        return result

    table: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "image_damage, null": lambda: [i.damage(i.pool.among(everybody(n, i))) for i, n in spread(sets, null)],
        "subgroups, null": lambda: [i.groups(i.side(everybody(n, i))) for i, n in spread(sets, null)],
    }
    for fault in FAULTS:
        table[f"image_damage, {fault} of all"] = lambda fault=fault: part(fault, 1.1)
    for fault in ("blur 1", "noise 4 %"):
        table[f"image_damage, {fault} of a fifth"] = lambda fault=fault: part(fault, 0.2)
    table["image_damage, a tenth constant"] = empty
    for column in ("sex", "age"):
        table[f"subgroups, one {column} missing"] = lambda column=column: missing(column)
    for fault in ("blur 1", "noise 4 %"):
        table[f"subgroups, {fault} of one sex"] = lambda fault=fault: worse(fault)
    table["subgroups, labels of one sex half unread"] = mislabeled
    for how in ("null", "missing", "shuffled"):
        table[f"harm, {how}"] = lambda how=how: harmed(how)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "measure"])
    parser.add_argument("--source", type=Path, default=Path("runs/ten"))
    parser.add_argument("--out", type=Path, default=Path("runs/gates"))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--only", default="")
    parser.add_argument("--null", type=int, default=200)
    parser.add_argument("--other", type=int, default=100)
    args = parser.parse_args()
    if args.what == "prepare":
        for name in args.sets:
            prepare(name, args.source, args.out)
        return
    sets = [Set(name, args.out) for name in args.sets]
    results = {}
    for name, work in experiments(sets, args.null, args.other).items():
        if args.only in name:
            began = time.monotonic()
            found = work()
            kept = count(found, "fail")
            kept["seconds_each"] = (time.monotonic() - began) / len(found)
            kept["reasons"] = sorted({f"{item['verdict']}: {item['reason'][:300]}" for item in found})[:6]
            results[name] = kept
            print(json.dumps({name: kept}, ensure_ascii=False), flush=True)
    write_json(args.out / f"results{args.only and '-'}{args.only.replace(' ', '-')}.json", results)


if __name__ == "__main__":
    main()
