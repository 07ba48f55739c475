"""How often does the whole verdict accuse real patients, and does the named family see each fault?

    python benchmarks/gates.py prepare --source runs/ten --out runs/gates
    python benchmarks/verdicts.py prepare --source runs/ten --gates runs/gates --out runs/verdicts
    python benchmarks/verdicts.py measure --gates runs/gates --out runs/verdicts

`prepare` adds to what the gates' benchmark keeps: similarities to training images, features for the attacks on
membership, and what the grader reads. `measure` takes the verdicts anew. The protocol: docs/experiments.
"""

import argparse
import json
import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gates
import numpy as np
from copy_changes import HELD_OUT

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import write_json
from synthcohort.core.seeds import rng
from synthcohort.evaluation import alignment, verdicts
from synthcohort.evaluation.config import EvaluateConfig, GraderConfig
from synthcohort.evaluation.encoding import Eyes
from synthcohort.evaluation.fidelity import Seen, reached_entries
from synthcohort.evaluation.inputs import Inputs, patients, sample_patients
from synthcohort.evaluation.membership import MembershipConfig, black_box_scores
from synthcohort.evaluation.membership_verdict import Attacks
from synthcohort.evaluation.membership_verdict import judge as judge_membership
from synthcohort.evaluation.privacy import Audit, CopySearch, audited
from synthcohort.evaluation.privacy import judge as judge_copies
from synthcohort.evaluation.spaces import SPACES, range_of
from synthcohort.metrics.intervals import Score, clopper_pearson

EACH = 12  # copies of each held-out change
PATIENTS = 8  # copied again and again, by every change once
REPEATED = 20  # images that a generator which repeats itself has
FAMILIES = ("copies", "membership", "label_truth", "image_damage", "coverage", "subgroups", "harm")
CONFIG = EvaluateConfig(grader=GraderConfig(steps=gates.GRADER_STEPS))


def prepare(name: str, kept_gates: Path, out: Path) -> None:
    """Keeps of one set what the families need that the gates' benchmark does not have; a file that is there stays."""
    real = Cohort.open(kept_gates / name / "cohort")
    label = real.labels[gates.SETS[name]]
    pool = real.select(indices=[i for i, role in enumerate(real.column("split")) if role in ("control", "test")])
    inputs = Inputs(real, pool, label, (), kept_gates / name, kept_gates / name)
    cache, train = out / name / "cache", real.select(split="train")
    eyes, values = Eyes(inputs, CONFIG, cache, 0), range_of(real)

    def copies() -> dict[str, Any]:
        search = CopySearch(real, cache, gates.POLICY.thresholds.copies.false_positive_rate)
        found = search.hits(pool).similarity
        planted, one_patient = planted_similarities(search, pool)
        return {"pool": found, "audit": audited(search, found, found, 0), "copies": planted, "one_patient": one_patient}

    def membership() -> dict[str, Any]:
        chosen = sample_patients(patients(train), CONFIG.membership.max_members, 0, "members")
        members = train.select(indices=chosen)
        views = {"members": members, "pool": pool, "strangers": real.select(split="validation")}
        seen = {space.name: {key: space.see(view, values, cache) for key, view in views.items()} for space in SPACES}
        return {"seen": seen, "member_patients": patients(members), "member_classes": inputs.classes(members)}

    def features() -> dict[str, Any]:
        sides = {"train": train, "pool": pool}
        seen = {f"{key}_features": eyes.see("self_trained", view).features for key, view in sides.items()}
        people = {f"{key}_patients": patients(view) for key, view in sides.items()}
        return seen | people | {"train_classes": inputs.classes(train)}

    made = {"copies": copies, "membership": membership, "features": features}
    for part, work in (made | {"labels": lambda: {"read": eyes.read_labels(pool)}}).items():
        path = out / name / f"{part}.pickle"  # the benchmark's own, read by nobody else
        if not path.exists():
            path.write_bytes(pickle.dumps(work()))


def planted_similarities(search: CopySearch, strangers: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of changed copies of random training images [P], and of one patient's [PATIENTS, changes]."""
    generator = rng("verdicts", "planted")
    images = [
        change(search.train.image(int(i)), strangers.image(int(j)), generator)
        for change in HELD_OUT.values()
        for i, j in zip(generator.choice(len(search.train), EACH), generator.choice(len(strangers), EACH), strict=True)
    ]
    rows = generator.choice(len(search.train), PATIENTS, replace=False)
    again = [
        change(search.train.image(int(row)), strangers.image(int(generator.integers(len(strangers)))), generator)
        for row in rows
        for change in HELD_OUT.values()
    ]
    found = search.index.query(images + again, description="planted copies").similarity
    return found[: len(images)], found[len(images) :].reshape(PATIENTS, len(HELD_OUT))


class Set(gates.Set):
    """One prepared set; every family's verdict of some offered images of the pool."""

    def __init__(self, name: str, kept_gates: Path, out: Path):
        super().__init__(name, kept_gates)
        self.more: dict[str, Any] = {}
        for path in (out / name).glob("*.pickle"):
            self.more |= pickle.loads(path.read_bytes())

    def rest(self, rows: np.ndarray) -> np.ndarray:
        """The images of patients of whom nothing is offered."""
        owners = self.pool.owners
        return np.flatnonzero(~np.isin(owners, owners[rows]))

    def copies(self, rows: np.ndarray, instead: np.ndarray | None = None) -> dict[str, Any]:
        """`instead`: similarities of planted copies that take the place of the first offered images."""
        offered = self.more["pool"][rows].copy()
        if instead is not None:
            offered[: len(instead)] = instead
        audit: Audit = replace(self.more["audit"], synthetic=offered, control=self.more["pool"][self.rest(rows)])
        return judge_copies(audit, gates.POLICY.thresholds.copies)

    def membership(self, rows: np.ndarray) -> dict[str, Any]:
        rest, more = self.rest(rows), self.more
        nobody = np.zeros(0, np.int64)
        parts = {
            space: (seen["members"], seen["pool"][rest], seen["strangers"], seen["pool"][rows], seen["members"][:0])
            for space, seen in more["seen"].items()
        }
        names, scores, planted = black_box_scores(parts, nobody)
        count = len(more["member_patients"])
        attacks = Attacks(
            "black-box", names, scores[:count], scores[count:], more["member_patients"],
            [more["pool_patients"][i] for i in rest], more["member_classes"], self.pool.classes[rest], planted,
        )  # fmt: skip
        permutations = MembershipConfig().permutations
        return judge_membership([attacks], gates.POLICY.thresholds.membership, permutations, 0, [])[1]

    def label_truth(self, rows: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
        sides = []
        for chosen, truth in ((self.rest(rows), None), (rows, classes)):
            truth = self.pool.classes[chosen] if truth is None else truth
            known = np.flatnonzero(truth >= 0)
            owners = [self.more["pool_patients"][i] for i in chosen[known]]
            sides.append(alignment.Reading(truth[known], self.more["read"][chosen[known]], owners))
        skill = alignment.measure_skill(sides[0], sides[1], len(self.kept["values"]), CONFIG.bootstrap, 0)
        thresholds = gates.POLICY.thresholds.label_truth
        return verdicts.label_truth(skill.real, skill.synthetic, skill.ratio, len(skill.classes), thresholds)

    def coverage(self, rows: np.ndarray) -> dict[str, Any]:
        more, values = self.more, self.kept["values"]
        floor = sample_patients(more["train_patients"], len(rows), 0, "floor")
        owners = more["train_patients"]
        base = Seen(more["train_features"][floor], [owners[i] for i in floor], more["train_classes"][floor])
        rest = self.rest(rows)
        reference, made = (
            Seen(more["pool_features"][side], [more["pool_patients"][i] for i in side], self.pool.classes[side])
            for side in (rest, rows)
        )
        # Synthetic images depend on nobody: each is its own.
        made = replace(made, owners=[f"image {n}" for n in range(len(rows))])
        found = reached_entries(
            "self_trained", self.kept["label"], values, reference, made, base, CONFIG.min_class_images, CONFIG.folds, 0
        )
        ratios = {item["subset"]: Score(item["value"], item["low"], item["high"]) for item in found}
        counts = [
            {str(v): int((side == n).sum()) for n, v in enumerate(values)}
            for side in (more["train_classes"], self.pool.classes[rows])
        ]
        return verdicts.coverage(ratios.pop(None), ratios, counts[0], counts[1], gates.POLICY.thresholds.coverage)

    def whole(self, rows: np.ndarray, draw: int) -> dict[str, dict[str, Any]]:
        """All families, as for a synthetic cohort of these images with their own labels."""
        classes = self.pool.classes[rows]
        families = {
            "copies": self.copies(rows),
            "membership": self.membership(rows),
            "label_truth": self.label_truth(rows, classes),
            "image_damage": self.damage(self.pool.among(rows)),
            "coverage": self.coverage(rows),
            "subgroups": self.groups(self.side(rows)),
            "harm": self.harm(rows, classes, draw),
        }
        return verdicts.complete(families)


def null(sets: list[Set], total: int, seed: str) -> dict[str, Any]:
    """Real patients offered as synthetic: whole verdicts, and those of each family."""
    wholes, by_family, reasons = Counter(), {name: Counter() for name in FAMILIES}, []
    by_set = {item.name: Counter() for item in sets}
    for item, number in gates.spread(sets, total):
        families = item.whole(item.rows("null", seed, number), number)
        word = verdicts.overall(families)["verdict"]
        wholes[word] += 1
        by_set[item.name][word] += 1
        for name in FAMILIES:
            by_family[name][families[name]["verdict"]] += 1
            if families[name]["verdict"] == "fail":
                reasons.append(f"{item.name} {number}, {name}: {families[name]['reason']}")
                print(reasons[-1], file=sys.stderr, flush=True)
        if number % 10 == 9:
            print(f"null: {number + 1} of {total}, {dict(wholes)}", file=sys.stderr, flush=True)
    low, high = clopper_pearson(wholes["fail"], total)
    return {
        "fail": wholes["fail"], "of": total, "low": low, "high": high, "verdicts": dict(wholes),
        "families": {name: dict(found) for name, found in by_family.items()},
        "sets": {name: dict(found) for name, found in by_set.items()}, "reasons": reasons,
    }  # fmt: skip


def alternatives(sets: list[Set], total: int, seed: str) -> dict[str, Callable[[], list[dict[str, Any]]]]:
    """Each fault and the verdicts of the family that ought to name it."""

    def half_missing(more: int | None = None) -> list[dict[str, Any]]:
        """`more`: so many images, drawn again and again from the offered ones."""
        result = []
        for item, number in gates.spread(sets, total):
            generator = rng("verdicts half", seed, number)
            there = np.unique(item.pool.classes[item.pool.classes >= 0])
            gone = generator.permutation(there)[: len(there) // 2]
            among = ~np.isin(item.pool.classes, gone)
            rows = item.rows("half", seed, number, among=among)
            result.append(item.coverage(rows if more is None else generator.choice(rows, more)))
        return result

    def shuffled() -> list[dict[str, Any]]:
        result = []
        for item, number in gates.spread(sets, total):
            rows = item.rows("shuffled", seed, number)
            mixed = rng("verdicts shuffled", seed, number).permutation(item.pool.classes[rows])
            result.append(item.label_truth(rows, mixed))
        return result

    def as_it_is(family: str) -> list[dict[str, Any]]:
        """Real patients before one family alone, after a change of it."""
        result = []
        for item, number in gates.spread(sets, total):
            rows = item.rows("null", seed, number)
            given = (rows, item.pool.classes[rows]) if family == "label_truth" else (rows,)
            result.append(getattr(item, family)(*given))
        return result

    def copied(share: float, of_one: bool) -> list[dict[str, Any]]:
        result = []
        for item, number in gates.spread(sets, total):
            generator = rng("verdicts copied", seed, number, str(share), str(of_one))
            rows = generator.permutation(item.rows("copied", seed, str(share), number))
            source = item.more["one_patient"][number // len(sets) % PATIENTS] if of_one else item.more["copies"]
            result.append(item.copies(rows, generator.choice(source, max(1, round(share * len(rows))))))
        return result

    def repeated() -> list[dict[str, Any]]:
        result = []
        for item, number in gates.spread(sets, total):
            generator = rng("verdicts repeated", seed, number)
            rows = item.rows("repeated", seed, number)
            result.append(item.coverage(generator.choice(generator.choice(rows, REPEATED, replace=False), len(rows))))
        return result

    return {
        "coverage, half of the classes missing": half_missing,
        "coverage, half of the classes missing, 1,000 images": lambda: half_missing(1000),
        "coverage, 20 images again and again": repeated,
        "label_truth, labels shuffled": shuffled,
        "real patients, label_truth": lambda: as_it_is("label_truth"),
        "real patients, coverage": lambda: as_it_is("coverage"),
        "copies, 1 % planted": lambda: copied(0.01, False),
        "copies, one patient, 1 %": lambda: copied(0.01, True),
        "copies, one patient, 10 %": lambda: copied(0.1, True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "measure"])
    parser.add_argument("--gates", type=Path, default=Path("runs/gates"), help="what gates.py prepare made")
    parser.add_argument("--out", type=Path, default=Path("runs/verdicts"))
    parser.add_argument("--sets", nargs="*", default=list(gates.SETS))
    parser.add_argument("--only", default="", help="experiments whose name holds this")
    parser.add_argument("--null", type=int, default=200)
    parser.add_argument("--other", type=int, default=100)
    parser.add_argument("--seed", default="0")
    args = parser.parse_args()
    if args.what == "prepare":
        for name in args.sets:
            (args.out / name).mkdir(parents=True, exist_ok=True)
            prepare(name, args.gates, args.out)
        return
    sets = [Set(name, args.gates, args.out) for name in args.sets]
    results: dict[str, Any] = {}

    def keep(name: str, found: dict[str, Any], began: float) -> None:
        results[name] = {**found, "seconds_each": (time.monotonic() - began) / found["of"]}
        print(json.dumps({name: results[name]}, ensure_ascii=False), flush=True)
        write_json(args.out / f"results-{args.seed}{args.only and '-'}{args.only.replace(' ', '-')}.json", results)

    for name, work in alternatives(sets, args.other, args.seed).items():
        if args.only in name:
            began = time.monotonic()
            found = work()
            missed = Counter(
                f"{item['verdict']}: {item['reason'][:200]}" for item in found if item["verdict"] != "fail"
            )
            keep(name, {**gates.count(found, "fail"), "missed": dict(missed.most_common(4))}, began)
    if args.only in "null":
        began = time.monotonic()
        keep("null", null(sets, args.null, args.seed), began)


if __name__ == "__main__":
    main()
