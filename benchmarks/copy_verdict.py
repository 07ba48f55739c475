"""Does the copy verdict say `fail` for planted copies and `pass` for real patients? Counted over many draws.

    python benchmarks/copy_verdict.py --source COHORT --draws 20 --out runs/copy_verdict

COHORT is an ingested cohort with the four roles, or a folder of images with its table, ingested first, at 64 px.

Planted: each draw offers as "synthetic" images of test patients (a perfect generator's stand-in: new people, no copy
among them) of which 2 % are replaced by changed training images; the floor is all control patients. `--clean COHORT`
takes generated images instead of the test patients.
Null: each draw splits the control patients in two at random; one half is offered, the other half is the floor.
Second null: half of the test patients is offered, all control patients are the floor.
The threshold comes from validation patients. Every image is compared with all training images once, and kept.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import write_json
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.inputs import patients
from synthcohort.evaluation.planted import KINDS
from synthcohort.evaluation.privacy import Audit, CopySearch, judge
from synthcohort.imaging.intensity import value_range_of
from synthcohort.metrics.intervals import clopper_pearson, group_index

PLANTED = ("mirrored", "turned by 3 degrees", "cropped by 5 %", "brightened")


def opened(source: Path, out: Path) -> Cohort:
    """The cohort, or the folder ingested into `out`."""
    if (source / "cohort.json").is_file():
        return Cohort.open(source)
    from synthcohort.ingest import IngestConfig, ingest

    cohort = out / "cohort"
    if not (cohort / "cohort.json").is_file():
        ingest(source, cohort, IngestConfig(size=64, key="seed"), seed=0)
    return Cohort.open(cohort)


def half_of(owners: list[str], generator: np.random.Generator) -> np.ndarray:
    """True for the images of a random half of the patients: [N]."""
    index = group_index(owners)
    order = generator.permutation(int(index.max()) + 1)
    return np.isin(index, order[: len(order) // 2])


class Bench:
    """All similarities, computed once, and the draws made from them."""

    def __init__(self, real: Cohort, clean: Cohort | None, out: Path, draws: int, share: float, policy: str | None):
        self.thresholds = load_policy(policy).thresholds.copies
        self.search = CopySearch(real, out / "cache", self.thresholds.false_positive_rate)
        self.control_view, self.test_view = real.select(split="control"), real.select(split="test")
        self.control = self.search.hits(self.control_view).similarity
        self.test = self.search.hits(self.test_view).similarity
        self.clean = self.test if clean is None else self.search.hits(clean).similarity
        self.sensitivity = self.search.planted(0)
        self.draws = draws
        self.copies = max(1, round(share * len(self.clean)))
        self.copy_similarity: dict[str, np.ndarray] = {}

    def judged(self, synthetic: np.ndarray, control: np.ndarray) -> dict[str, Any]:
        return judge(Audit(synthetic, control, self.search.threshold, self.sensitivity), self.thresholds)

    def planted(self, kind: str, draw: int) -> dict[str, Any]:
        """Clean images, of which a share is replaced by training images changed in one way."""
        train = self.search.train
        values = value_range_of(train.image(0).dtype, train.column("bits_stored"))
        generator = rng("copy_verdict", kind, draw)
        sources = generator.choice(len(train), self.copies, replace=False)
        others = generator.integers(0, len(self.test_view), self.copies)
        images = [
            KINDS[kind](train.image(int(i)), self.test_view.image(int(j)), values, generator)
            for i, j in zip(sources, others, strict=True)
        ]
        found = self.search.index.query(images, description=f"{kind}, draw {draw + 1}").similarity
        self.copy_similarity[kind] = np.concatenate([self.copy_similarity.get(kind, found[:0]), found])
        kept = generator.choice(len(self.clean), len(self.clean) - self.copies, replace=False)
        return self.judged(np.concatenate([self.clean[kept], found]), self.control)

    def null(self, draw: int) -> dict[str, Any]:
        """Half of the control patients against the other half."""
        offered = half_of(patients(self.control_view), rng("copy_verdict", "null", draw))
        return self.judged(self.control[offered], self.control[~offered])

    def second_null(self, draw: int) -> dict[str, Any]:
        """Half of the test patients against all control patients."""
        offered = half_of(patients(self.test_view), rng("copy_verdict", "second null", draw))
        return self.judged(self.test[offered], self.control)

    def run(self) -> list[dict[str, Any]]:
        conditions: list[tuple[str, str, Callable[[int], dict[str, Any]]]] = [
            *((kind, "fail", lambda draw, kind=kind: self.planted(kind, draw)) for kind in PLANTED),
            ("control patients, half against half", "pass", self.null),
            ("test patients, half against control", "pass", self.second_null),
        ]
        rows = []
        for name, wanted, make in conditions:
            results = [make(draw) for draw in range(self.draws)]
            counts = Counter(result["verdict"] for result in results)
            low, high = clopper_pearson(counts[wanted], self.draws)
            figures = [result["figures"] for result in results]
            rows.append(
                {
                    "condition": name,
                    "wanted": wanted,
                    "as_wanted": counts[wanted],
                    "draws": self.draws,
                    "low": low,
                    "high": high,
                    "verdicts": dict(sorted(counts.items())),
                    "images": figures[0]["synthetic_images"],
                    "hits": [item["copies"] for item in figures],
                    "control_images": figures[0]["control_images"],
                    "control_hits": [item["control_hits"] for item in figures],
                    "largest_p_value": max(item["p_value"] for item in figures),
                    "smallest_p_value": min(item["p_value"] for item in figures),
                    "smallest_rate_caught": [item["smallest_rate_caught"] for item in figures],
                }
            )
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="an ingested cohort, or a folder of images")
    parser.add_argument("--clean", type=Path, help="a synthetic cohort for the clean part of the planted draws")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.02, help="of planted copies")
    parser.add_argument("--policy", help="a shipped policy's name or a TOML file")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/copy_verdict"))
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    began = time.monotonic()
    clean = Cohort.open(asked.clean) if asked.clean else None
    bench = Bench(opened(asked.source, asked.out), clean, asked.out, asked.draws, asked.share, asked.policy)
    rows = bench.run()
    print(
        f"{'condition':<38}{'wanted':<8}{'counted':<10}{'95 % interval':<16}{'images':>7}{'hits':>9}{'p at most':>11}"
    )
    for row in rows:
        hits = f"{min(row['hits'])}–{max(row['hits'])}"
        interval = f"{row['low']:.2f}–{row['high']:.2f}"
        print(
            f"{row['condition']:<38}{row['wanted']:<8}{row['as_wanted']}/{row['draws']:<7}{interval:<16}"
            f"{row['images']:>7}{hits:>9}{row['largest_p_value']:>11.2g}"
        )
    result = {
        "rows": rows,
        "threshold": bench.search.threshold,
        "calibration": bench.search.index.info["calibration"],
        "sensitivity": bench.sensitivity,
        "planted_similarity": {
            kind: {"least": float(found.min()), "median": float(np.median(found)), "copies": len(found)}
            for kind, found in bench.copy_similarity.items()
        },
        "clean_largest": float(bench.clean.max()),
        "control_largest": float(bench.control.max()),
        "share": asked.share,
        "training_images": len(bench.search.train),
    }
    write_json(asked.out / "copy_verdict.json", result)
    print(f"{time.monotonic() - began:.0f} s; {asked.out / 'copy_verdict.json'}", file=sys.stderr)
    print(json.dumps({"result": (asked.out / "copy_verdict.json").as_posix()}))


if __name__ == "__main__":
    main()
