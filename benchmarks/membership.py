"""Membership audit on a real cohort: the null, planted copies, and synthetic cohorts (docs/experiments, membership).

    python benchmarks/membership.py --real COHORT --synthetic COHORT… [--run RUN] --cache DIR [--resamples]

Prints JSON objects. Features are kept in --cache, so a second call takes minutes less.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import stats

from synthcohort.core.cohort import Cohort
from synthcohort.core.policy import load_policy
from synthcohort.core.seeds import rng
from synthcohort.evaluation.config import EvaluateConfig
from synthcohort.evaluation.inputs import open_inputs, patients, sample_patients
from synthcohort.evaluation.membership import MembershipConfig, black_box_scores, membership
from synthcohort.evaluation.membership_verdict import Attacks, judge
from synthcohort.evaluation.spaces import SPACES, planted_images, range_of
from synthcohort.metrics.intervals import clopper_pearson

RESAMPLES = {0.0: 40, 0.01: 40, 0.25: 10, 0.5: 10, 1.0: 10}  # of each share of copies
RESAMPLED_PATIENTS = 500  # training patients in the resamples: the control halves' numbers decide, not theirs
EACH = 40  # changed copies of each kind in the pool


class Seen:
    """The cohort's features in every space, and a pool of changed copies of members."""

    def __init__(self, real: Cohort, members: int, cache: Path):
        values = range_of(real)
        train = real.select(split="train")
        self.members = train.select(indices=sample_patients(patients(train), members, 0, "members"))
        self.control, self.strangers = real.select(split="control"), real.select(split="validation")
        copies, self.owners = planted_images(self.members, EACH, values, 1)
        views = {"strangers": self.strangers, "control": self.control, "copies": copies, "members": self.members}
        self.seen = {name: {s.name: s.see(view, values, cache) for s in SPACES} for name, view in views.items()}
        self.classes = {
            name: np.array(view.column(next(iter(real.labels))), dtype=object)
            for name, view in (("members", self.members), ("control", self.control))
        }
        self.patients = {"members": patients(self.members), "control": patients(self.control)}

    def attacks(self, made: dict[str, np.ndarray], others: np.ndarray, members: np.ndarray) -> Attacks:
        """Scores with these synthetic images, of some control images and some members."""
        nobody = np.zeros(0, np.int64)
        parts = {
            s.name: (
                self.seen["members"][s.name][members], self.seen["control"][s.name][others],
                self.seen["strangers"][s.name], made[s.name], self.seen["copies"][s.name][:0],
            )
            for s in SPACES
        }  # fmt: skip
        names, scores, _ = black_box_scores(parts, nobody)
        m = len(members)
        return Attacks(
            "black-box", names, scores[:m], scores[m:], [self.patients["members"][i] for i in members],
            [self.patients["control"][i] for i in others],
            np.array([str(c) for c in self.classes["members"][members]]),
            np.array([str(c) for c in self.classes["control"][others]]),
        )  # fmt: skip


def halves(seen: Seen, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the control images offered as synthetic, and of those that stay."""
    owners = np.array(seen.patients["control"])
    names = np.unique(owners)
    offered = set(rng("half", number).permutation(names)[: len(names) // 2])
    inside = np.array([owner in offered for owner in owners])
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def resampled(seen: Seen, share: float) -> dict[str, Any]:
    """Verdicts of the resamples with this share of the offered images replaced by copies of members."""
    thresholds = load_policy("open").thresholds.membership
    verdicts, p_values, held, areas = Counter(), [], Counter(), []
    owners = np.array(seen.patients["members"])
    some = rng("members of resamples").permutation(np.unique(owners))[:RESAMPLED_PATIENTS]
    everyone = np.flatnonzero(np.isin(owners, some))
    for number in range(RESAMPLES[share]):
        offered, rest = halves(seen, number)
        draw = rng("copies", number, str(share))
        count = round(share * len(offered))
        chosen = draw.permutation(len(seen.owners))[:count]
        kept = draw.permutation(offered)[: len(offered) - count]
        made = {
            s.name: np.concatenate([seen.seen["control"][s.name][kept], seen.seen["copies"][s.name][chosen]])
            for s in SPACES
        }
        attacks = seen.attacks(made, rest, everyone)
        scores, judged = judge([attacks], thresholds, 1999, number)
        verdicts[judged["verdict"]] += 1
        p_values.append(judged["figures"]["p_value"])
        found = [s for s in scores if s["name"] == "membership_auc"]
        areas.append([s["value"] for s in found])
        held.update(s["encoder"] for s in found if s["low"] <= 0.5 <= s["high"])
    names = [s["encoder"] for s in found]
    return {
        "verdicts": verdicts,
        "fails": [verdicts["fail"], number + 1, *clopper_pearson(verdicts["fail"], number + 1)],
        "p_values": {
            "below_0.05": int((np.array(p_values) <= 0.05).sum()),
            "uniform": float(stats.kstest(p_values, "uniform").pvalue),
            "median": float(np.median(p_values)),
        },
        "intervals_with_0.5": held,
        "area": {name: [float(np.mean(v)), float(np.std(v))] for name, v in zip(names, np.array(areas).T, strict=True)},
    }


def overtrained(seen: Seen) -> dict[str, Any]:
    """Members are the images whose changed copies are all the synthetic images there are."""
    members = np.unique(seen.owners)
    made = {s.name: seen.seen["copies"][s.name] for s in SPACES}
    attacks = seen.attacks(made, np.arange(len(seen.control)), members)
    scores, judged = judge([attacks], load_policy("open").thresholds.membership, 1999, 0)
    return {"family": judged, "area": [(s["encoder"], s["value"], s["low"], s["high"]) for s in scores[::3]]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--synthetic", type=Path, nargs="*", default=[])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--members", type=int, default=5000)
    parser.add_argument("--features-only", action="store_true")
    parser.add_argument("--resamples", action="store_true", help="the null and the planted copies")
    args = parser.parse_args()
    seen = Seen(Cohort.open(args.real), args.members, args.cache)
    if args.features_only:
        return
    if args.synthetic:
        show("over-trained", overtrained(seen))
    for path in args.synthetic:
        inputs = open_inputs(args.real, path, None, args.cache)
        found = membership(
            inputs, SimpleNamespace(), EvaluateConfig(), load_policy("open"), args.cache, 0,  # type: ignore[arg-type]
            settings=MembershipConfig(max_members=args.members), run=args.run,
        )  # fmt: skip
        areas = [[s["title"], s["value"], s["low"], s["high"]] for s in found["scores"] if "auc" in s["name"]]
        show(path.as_posix(), {"family": found["families"]["membership"], "area": areas})
    for share in RESAMPLES if args.resamples else ():
        show(f"planted {share:.0%}", resampled(seen, share))


def show(name: str, content: Any) -> None:
    print(json.dumps({name: content}, indent=1), flush=True)


if __name__ == "__main__":
    main()
