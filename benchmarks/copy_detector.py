"""What does the copy detector find, and whom does it accuse falsely? Recall by change, and false positives.

    python benchmarks/copy_detector.py --source runs/ten --out runs/copy_detector
    python benchmarks/copy_detector.py --source runs/ten --out runs/copy_detector --table

SOURCE holds ingested cohorts, one folder a set. Each is split anew by group: index, validation, strangers. A set that
is measured already is not measured again unless the code has changed. The protocol: docs/experiments.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from copy_changes import HELD_OUT, TUNING, Change

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import digest_bytes, digest_json, read_json, write_json
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.copy_resamples import Sample, counted, null_verdicts, planted_verdicts
from synthcohort.evaluation.inputs import patients
from synthcohort.evaluation.privacy import Audit, Sure, judge, sure_threshold
from synthcohort.imaging.geometry import resize
from synthcohort.learning import search as search_module
from synthcohort.learning.search import STRANGER_RATE, CopyIndex, build_index
from synthcohort.metrics.intervals import clopper_pearson, group_index

TUNING_SETS = ("knee-xray", "brain-mri", "breast-ultrasound", "colon-histology")
CLEAN_SETS = ("chest-xray", "fundus-photo", "dermoscopy")
OTHER_SETS = ("chest-ct", "lung-histology", "blood-smear")
SHARES = {"index": 0.55, "validation": 0.10, "strangers": 0.35}


class Set:
    """One cohort with roles of its own, by group, and its images at one size."""

    def __init__(self, cohort: Cohort, size: int | None):
        self.cohort, self.size, self.groups = cohort, size, group_index(patients(cohort))
        order = rng("copy_detector", cohort.name).permutation(int(self.groups.max()) + 1)
        ends = np.cumsum([round(share * len(order)) for share in SHARES.values()])
        place = np.argsort(order)[self.groups]
        self.at = {
            role: np.flatnonzero((place >= low) & (place < high))
            for role, low, high in zip(SHARES, (0, *ends[:-1]), (*ends[:-1], len(order)), strict=True)
        }

    def image(self, row: int) -> np.ndarray:
        image = self.cohort.image(int(row))
        return image if self.size is None else resize(image, self.size, self.size)

    def images(self, role: str) -> list[np.ndarray]:
        return [self.image(row) for row in self.at[role]]

    def index(self, folder: Path) -> CopyIndex:
        if not (folder / "index.json").is_file():
            build_index(
                self.images("index"),
                folder,
                validation=self.images("validation"),
                rate=STRANGER_RATE,
                groups=self.groups[self.at["index"]],
            )
        return CopyIndex.open(folder)

    def copies(self, name: str, change: Change, count: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Changed copies of random index images, and the groups they belong to."""
        generator = rng("copy_detector", self.cohort.name, name)
        rows = generator.choice(self.at["index"], count, replace=len(self.at["index"]) < count)
        others = generator.choice(self.at["strangers"], count)
        made = []
        for row, other in zip(rows, others, strict=True):
            image = self.image(row)
            made.append(change(image, resize(self.image(other), *image.shape[:2]), generator))
        return made, self.groups[rows]


PATIENTS = 8  # each copied again and again, by every change once


def of_one_patient(data: Set, index: CopyIndex, changes: dict[str, Change]) -> list[list[float]]:
    """Similarities of copies of one index image, changed in every way: a list for each of a few patients."""
    generator = rng("copy_detector", data.cohort.name, "one patient")
    found = []
    for row in generator.choice(data.at["index"], PATIENTS, replace=False):
        image, others = data.image(row), generator.choice(data.at["strangers"], len(changes))
        made = [
            change(image, resize(data.image(other), *image.shape[:2]), generator)
            for change, other in zip(changes.values(), others, strict=True)
        ]
        found.append([round(float(v), 5) for v in index.query(made, description="one patient").similarity])
    return found


def code() -> dict[str, str]:
    """Digests of what the detector and the changes are made of."""
    folder = Path(search_module.__file__).parent
    files = [*folder.glob("copy_*.py"), *(folder / name for name in ("search.py", "registration.py", "pixels.py"))]
    files.append(Path(__file__).with_name("copy_changes.py"))
    return {file.name: digest_bytes(file.read_bytes()) for file in sorted(files)}


def measured(data: Set, folder: Path, changes: dict[str, Change], count: int) -> dict[str, Any]:
    """Similarities of strangers and of changed copies to the index."""
    began = time.process_time()
    index = data.index(folder)
    built = time.process_time() - began
    group_of = data.groups[data.at["index"]]
    began = time.process_time()
    strangers = index.query(data.images("strangers"), description="strangers")
    query = (time.process_time() - began) / max(1, len(strangers.similarity))
    found = {}
    for name, change in changes.items():
        made, owners = data.copies(name, change, count)
        hits = index.query(made, description=name)
        found[name] = {
            "similarity": [round(float(value), 5) for value in hits.similarity],
            "right": [bool(value) for value in group_of[hits.nearest] == owners],
        }
    return {
        "threshold": index.threshold,
        "calibration": index.info["calibration"],
        "images": {role: len(rows) for role, rows in data.at.items()},
        "build_s": built,
        "query_ms": query * 1000,
        "strangers": [round(float(value), 5) for value in strangers.similarity],
        "nearest": [int(data.at["index"][i]) for i in strangers.nearest],
        "rows": [int(row) for row in data.at["strangers"]],
        "changes": found,
        "one_patient": of_one_patient(data, index, changes),
        "owners": data.groups[data.at["strangers"]].tolist(),
    }


def _share(found: int, total: int) -> str:
    low, high = clopper_pearson(found, total)
    return f"{found}/{total} ({100 * low:.1f}-{100 * high:.1f})"


def table(results: dict[str, dict[str, Any]], clean: tuple[str, ...]) -> None:
    """False positives, and recall by change: each set, and the clean ones together."""
    there = [name for name in clean if name in results]
    print("| set | index | validation | threshold | strangers above it | largest stranger | ms a query |")
    print("|---|---|---|---|---|---|---|")
    for name, result in results.items():
        values, limit, sizes = np.array(result["strangers"]), result["threshold"], result["images"]
        print(
            f"| {name} | {sizes['index']} | {sizes['validation']} | {limit:.3f} |"
            f" {_share(int((values > limit).sum()), len(values))} | {values.max():.3f} | {result['query_ms']:.1f} |"
        )
    above = sum(int((np.array(results[name]["strangers"]) > results[name]["threshold"]).sum()) for name in there)
    total = sum(len(results[name]["strangers"]) for name in there)
    print(f"\nclean strangers above the threshold: {_share(above, total)}\n" if total else "")
    exact = {
        name: float(np.sort(result["strangers"])[::-1][len(result["strangers"]) // 1000])
        for name, result in results.items()
    }
    names = list(results)
    print(f"| change | {' | '.join(names)} | clean sets together | at exactly 0.1 % |")
    print("|---|" + "---|" * (len(names) + 2))
    for change in next(iter(results.values()))["changes"]:
        cells, sums, ideal = [], np.zeros(2, int), 0
        for name, result in results.items():
            item, limit = result["changes"][change], result["threshold"]
            similarity, right = np.array(item["similarity"]), np.array(item["right"])
            hit = int(((similarity > limit) & right).sum())
            cells.append(f"{100 * hit / len(right):.1f}")
            if name in there:
                sums += (hit, len(right))
                ideal += int(((similarity > exact[name]) & right).sum())
        print(f"| {change} | {' | '.join(cells)} | {_share(*sums) if there else ''} | {ideal}/{sums[1]} |")


def resamples(results: dict[str, dict[str, Any]], policy: str | None) -> None:
    """Verdicts over resamples of patients: 1 % of copies, one patient again and again, control offered as synthetic.

    The strangers are split by patient: a quarter is control, the others stand in for a perfect generator's images.
    """
    thresholds = load_policy(policy).thresholds.copies
    print(
        "| set | offered | control | strangers above | 1 % copies: fail | one patient, 1 %: fail | "
        "control, half: fail | others, no copies: fail | smallest rate caught |"
    )
    print("|" + "---|" * 9)
    for name, result in results.items():
        similarity, owners = np.array(result["strangers"], np.float32), np.array(result["owners"])
        order = rng("copy_detector", name, "control").permutation(int(owners.max()) + 1)
        control = np.isin(owners, order[: len(order) // 4])
        samples = [Sample(similarity[side], [f"group {g}" for g in owners[side]]) for side in (control, ~control)]
        found = {
            change: (int((np.array(item["similarity"]) > result["threshold"]).sum()), len(item["similarity"]))
            for change, item in result["changes"].items()
        }
        calibration = result["calibration"]
        sure = sure_threshold(result["threshold"])
        sure_strangers = calibration["strangers_above"] if calibration["largest"] > sure else 0
        copies = np.concatenate([item["similarity"] for item in result["changes"].values()]).astype(np.float32)
        audit = Audit(
            samples[1].similarity,
            samples[0].similarity,
            result["threshold"],
            found,
            strangers=(calibration["strangers_above"], calibration["strangers"]),
            sure=Sure(sure, sure_strangers, float((copies > sure).mean())),
        )
        planted = planted_verdicts(audit, samples[1], samples[0], copies, thresholds, draws=100)
        repeated = [
            planted_verdicts(audit, samples[1], samples[0], np.array(one, np.float32), thresholds, draws=1, seed=draw)[
                0
            ]
            for draw, one in enumerate(result["one_patient"][i % PATIENTS] for i in range(100))
        ]
        # As many draws again, of all the others, resampled, with no copy among them.
        clean = planted_verdicts(audit, samples[1], samples[0], samples[1].similarity, thresholds, draws=200)
        null = null_verdicts(audit, samples[0], thresholds, draws=200)
        figures = judge(audit, thresholds)["figures"]
        cells = [counted(verdicts, "fail") for verdicts in (planted, repeated, null, clean)]
        words = " | ".join(_share(cell["count"], cell["draws"]) for cell in cells)
        print(
            f"| {name} | {int((~control).sum())} | {int(control.sum())} |"
            f" {_share(figures['strangers_hits'], figures['strangers_images'])} | {words} |"
            f" {figures['smallest_rate_caught']:.2%} |"
        )
        print(f"power of {name}: {figures['power']}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="a folder of ingested cohorts, one a set")
    parser.add_argument("--out", type=Path, default=Path("runs/copy_detector"))
    parser.add_argument("--sets", nargs="*", default=[*CLEAN_SETS, *OTHER_SETS])
    parser.add_argument("--tuning", action="store_true", help="tuning sets and changes that tuning may look at")
    parser.add_argument("--size", type=int, help="reduce images to this size before they are changed")
    parser.add_argument("--copies", type=int, default=200, help="of each change and set")
    parser.add_argument("--name", default="detector", help="of the results' folder")
    parser.add_argument("--table", action="store_true", help="only print what was measured")
    parser.add_argument("--resamples", action="store_true", help="print how verdicts fall over resamples of patients")
    parser.add_argument("--policy", help="a shipped policy's name or a TOML file, for --resamples")
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    sets = TUNING_SETS if asked.tuning else tuple(asked.sets)
    changes = TUNING if asked.tuning else HELD_OUT
    kind = f"{asked.name}-{'tuning' if asked.tuning else 'measuring'}-{asked.size or 'stored'}"
    results = {}
    for name in sets:
        file = asked.out / kind / f"{name}.json"
        key = digest_json({"code": code(), "copies": asked.copies, "changes": list(changes)})
        kept = read_json(file) if file.is_file() else None
        if kept is None and (asked.table or asked.resamples):
            continue
        if kept is None or (kept["key"] != key and not (asked.table or asked.resamples)):
            data = Set(Cohort.open(asked.source / name), asked.size)
            index = asked.out / kind / f"{name}-index-{key.partition(':')[2][:12]}"
            kept = {"key": key, **measured(data, index, changes, asked.copies)}
            write_json(file, kept)
            print(f"{name}: {file}", file=sys.stderr)
        results[name] = kept
    if asked.resamples:
        resamples(results, asked.policy)
    else:
        table(results, TUNING_SETS if asked.tuning else CLEAN_SETS)
    print(json.dumps({"result": (asked.out / kind).as_posix()}))


if __name__ == "__main__":
    main()
