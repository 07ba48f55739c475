"""The verdict on membership, from the scores of all attacks.

**Many attacks, one verdict.** K attacks are tried, and each looks at two lines of the policy, the area and the hits at
one false alarm in a hundred.
- *Fail* says "some attack succeeds", so chance has many ways to it: a union. Each line gets half of the family's level
  a = 0.005, and each attack a K-th of that: the lower bound at one-sided level a / 2K must lie above the threshold. By
  Bonferroni, P(any bound of a line is wrong) <= K (a / 2K) = a / 2, and a / 2 + a / 2 = a, however the attacks are
  related. The area line also asks for p <= a / 2 of the permutation test of the best attack, which relabels whole
  patients (maxT; of two sets of attacks the smaller p, doubled). It is exact for patients that are exchangeable: where
  nothing leaks, that line fails at most with probability a / 2 for any number of patients, even if the bounds were bad.
  (Real rates are far lower, since the thresholds lie far from what chance gives.)
- *Pass* says "no attack succeeds": an intersection. If the strongest attack lies beyond the threshold, its own upper
  bound at 2.5 % falls below it with probability 0.025 at most; so every attack is tested at 2.5 % and nothing is
  divided (an intersection-union test, Berger 1982).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from synthcohort.core.policy import MembershipThresholds
from synthcohort.core.seeds import rng
from synthcohort.evaluation.entries import CONFIDENCE, entry
from synthcohort.evaluation.verdicts import family
from synthcohort.metrics.attacks import Area, ChanceTest, Hits, attack_area, chance_test, design_effect, hits_at
from synthcohort.metrics.intervals import Score, clopper_pearson

LEVEL = 0.005  # of the family: how often it may fail where nothing leaks
LINES = 2  # of the policy
PASS_TAIL = 0.025
FALSE_POSITIVE_RATE = 0.01  # of the policy's second line
RATES = (0.01, 0.001)  # that figures are given at
POWER = 0.95


@dataclass(frozen=True)
class Attacks:
    """Scores of several attacks on the same images: [M, K] of members and [O, K] of others, with patient and class."""

    kind: str  # "black-box" or "white-box"
    names: tuple[str, ...]
    members: np.ndarray
    others: np.ndarray
    member_patients: Sequence[str]
    other_patients: Sequence[str]
    member_classes: np.ndarray
    other_classes: np.ndarray
    planted: np.ndarray | None = None  # [P, K] of members of whom a changed copy was put among the synthetic images


@dataclass(frozen=True)
class Found:
    """What one attack reached."""

    kind: str
    name: str
    area: Area | None
    chance: float  # p-value of this attack alone
    failing: Hits  # bounds at the level of a failure
    passing: Hits  # bounds at the level of a pass
    planted: float | None  # share of the planted members that lie beyond nearly all others
    same_mix: bool  # whether members and others have the same mix of classes, which hits need


def judge(
    sets: Sequence[Attacks], thresholds: MembershipThresholds, permutations: int, seed: int, notes: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores and the family `membership` from what the attacks reached."""
    total = sum(len(attacks.names) for attacks in sets)
    tail = LEVEL / LINES / total
    tests = [_chance(attacks, permutations, seed) for attacks in sets]
    found = [
        _found(attacks, number, test, tail)
        for attacks, test in zip(sets, tests, strict=True)
        for number in range(len(attacks.names))
    ]
    p_value = min(1.0, len(sets) * min(test.family for test in tests))
    scores = [item for attacks in sets for item in _entries(attacks)]
    figures = _figures(sets, found, p_value, tail, thresholds) | {"notes": list(notes)}
    verdict, reason = _verdict(found, p_value, tail, thresholds, sets)
    caught, best = figures["smallest_share_caught"], figures["best_at_planted_copies"]
    seen = (
        "" if best is None else f" (of changed copies put among the synthetic images, the best attack sees {best:.0%})"
    )
    power = (
        f"it would have failed had {caught:.0%} of the training images been learned by heart{seen}"
        if caught is not None
        else "with so few images it could not have failed, whatever the generator learned by heart"
    )
    if caught is None and verdict == "pass":
        verdict = "inconclusive"
    return scores, family(verdict, "; ".join([reason, power, *notes]), figures)


def _chance(attacks: Attacks, permutations: int, seed: int) -> ChanceTest:
    scores = np.concatenate([attacks.members, attacks.others])
    is_member = np.arange(len(scores)) < len(attacks.members)
    owners = [f"member {name}" for name in attacks.member_patients] + [
        f"other {name}" for name in attacks.other_patients
    ]
    strata = np.concatenate([attacks.member_classes, attacks.other_classes])
    generator = rng("membership", seed, attacks.kind)
    return chance_test(scores, is_member, owners, strata, permutations, generator)


def _found(attacks: Attacks, number: int, test: ChanceTest, tail: float) -> Found:
    members, others = attacks.members[:, number], attacks.others[:, number]
    area = attack_area(
        members=members, others=others, member_groups=attacks.member_patients, other_groups=attacks.other_patients,
        member_strata=attacks.member_classes, other_strata=attacks.other_classes,
    )  # fmt: skip
    failing, passing = (_hits(attacks, number, FALSE_POSITIVE_RATE, level) for level in (tail, PASS_TAIL))
    planted = None
    if attacks.planted is not None:
        planted = float((attacks.planted[:, number] > np.quantile(others, 1 - _false_rate(len(others)))).mean())
    return Found(
        attacks.kind,
        attacks.names[number],
        area,
        float(test.each[number]),
        failing,
        passing,
        planted,
        same_mix(attacks),
    )


def _hits(attacks: Attacks, number: int, rate: float, tail: float) -> Hits:
    return hits_at(
        members=attacks.members[:, number], others=attacks.others[:, number],
        member_groups=attacks.member_patients, other_groups=attacks.other_patients,
        false_positive_rate=rate, tail=tail,
    )  # fmt: skip


def _false_rate(num_others: int) -> float:
    """The lowest false-positive rate, from the policy's on, that so many others can tell."""
    return min(0.5, max(FALSE_POSITIVE_RATE, 10 / num_others))


def same_mix(attacks: Attacks) -> bool:
    """False where the classes' shares differ between members and others by more than chance and by more than 10 %.

    The area compares within classes; the one threshold of the hits does not.
    """
    classes = np.unique(np.concatenate([attacks.member_classes, attacks.other_classes]))
    counts = np.array(
        [[(side == c).sum() for c in classes] for side in (attacks.member_classes, attacks.other_classes)]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    if len(classes) < 2 or np.abs(shares[0] - shares[1]).sum() / 2 <= 0.1:
        return True
    return bool(stats.chi2_contingency(counts).pvalue >= 1e-3)


def _verdict(
    found: Sequence[Found], p_value: float, tail: float, thresholds: MembershipThresholds, sets: Sequence[Attacks]
) -> tuple[Any, str]:
    most_area, most_hits = thresholds.max_auc, thresholds.max_tpr_at_1_percent_fpr
    areas = [item for item in found if item.area is not None]
    for item in sorted(areas, key=lambda item: -item.area.low(tail) if item.area else 0.0):
        if item.area and item.area.low(tail) > most_area and p_value <= LEVEL / LINES:
            words = (
                f"{item.kind} attack ({item.name}) tells training from control images with area {item.area.value:.2f}"
            )
            return "fail", f"{words}, surely above {item.area.low(tail):.2f}; the policy allows {most_area:g}"
    for item in sorted(found, key=lambda item: -item.failing.at_least):
        if item.failing.at_least > most_hits and item.same_mix:
            words = f"{item.kind} attack ({item.name}) finds surely more than {item.failing.at_least:.1%}"
            return (
                "fail",
                f"{words} of training images at one false alarm in a hundred; the policy allows {most_hits:.0%}",
            )
    if len(areas) < len(found):
        return "inconclusive", "no class has both training and control images of two patients or more"
    area_at_most = max(item.area.high(PASS_TAIL) for item in found if item.area)
    hits_at_most = max(item.passing.at_most for item in found)
    tried = f"{len(found)} attacks on {sum(len(s.others) for s in sets[:1])} control images"
    area_words = f"the best reaches an area of at most {area_at_most:.2f} (the policy allows {most_area:g})"
    hit_words = f"at one false alarm in a hundred finds at most {hits_at_most:.1%} (the policy allows {most_hits:.0%})"
    said = f"{tried}: {area_words} and {hit_words}"
    if not found[0].same_mix:
        return (
            "inconclusive",
            f"training and control images have another mix of classes, so hits can't be compared; {said}",
        )
    if area_at_most <= most_area and hits_at_most <= most_hits:
        return "pass", said
    return "inconclusive", f"too few images, or too good an attack, to decide: {said}"


def smallest_share(
    attacks: Attacks, error: float, freedom: int, tail: float, thresholds: MembershipThresholds
) -> float | None:
    """The smallest share of members learned by heart that would have ended in `fail` with probability 0.95.

    Learned by heart: their scores lie beyond all others', as those of an exact copy do, and all other members are like
    strangers. A share s gives the area (1 + s) / 2, and hits of s at any false-positive rate.
    """
    beyond = float(stats.t.isf(tail, freedom) + stats.norm.isf(1 - POWER)) * error
    by_area = 2 * (thresholds.max_auc - 0.5 + beyond)
    by_hits = np.inf
    trials = int(len(attacks.members) / design_effect(np.zeros(len(attacks.members), bool), attacks.member_patients))
    independent = int(len(attacks.others) / design_effect(np.zeros(len(attacks.others), bool), attacks.other_patients))
    if stats.binom.cdf(0, independent, FALSE_POSITIVE_RATE) <= tail / 2:  # else no bound from below exists
        for share in np.linspace(thresholds.max_tpr_at_1_percent_fpr, 1.0, 400):
            count = float(stats.binom.ppf(1 - POWER, trials, share))
            if clopper_pearson(count, trials, 1 - tail)[0] > thresholds.max_tpr_at_1_percent_fpr:
                by_hits = float(share)
                break
    smallest = min(by_area, by_hits)
    return float(smallest) if smallest <= 1 else None


def _figures(
    sets: Sequence[Attacks], found: Sequence[Found], p_value: float, tail: float, thresholds: MembershipThresholds
) -> dict[str, Any]:
    each = {}
    for item in found:
        each[f"{item.kind}: {item.name}"] = {
            "area": None if item.area is None else item.area.value,
            "area_error": None if item.area is None else item.area.error,
            "area_surely_above": None if item.area is None else item.area.low(tail),
            "area_at_most": None if item.area is None else item.area.high(PASS_TAIL),
            "chance": item.chance,
            "hits_surely_above": item.failing.at_least,
            "hits_at_most": item.passing.at_most,
            "planted_found": item.planted,
        }
    errors = [(item.area.error, item.area.freedom) for item in found if item.area is not None]
    caught = smallest_share(sets[0], *errors[0], tail, thresholds) if errors else None
    return {
        "attacks": each,
        "p_value": p_value,
        "level": LEVEL,
        "members": len(sets[0].members),
        "others": len(sets[0].others),
        "max_auc": thresholds.max_auc,
        "max_tpr_at_1_percent_fpr": thresholds.max_tpr_at_1_percent_fpr,
        "smallest_share_caught": caught,
        "best_at_planted_copies": max((item.planted for item in found if item.planted is not None), default=None),
    }


def _entries(attacks: Attacks) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {
        "group": "privacy", "family": "membership", "better": "lower", "n_real": len(attacks.others),
        "n_synthetic": None, "split": "control",
    }  # fmt: skip
    sides = f"{attacks.kind} attack, {len(attacks.members)} training against {len(attacks.others)} control images"
    items = []
    for number, name in enumerate(attacks.names):
        area = attack_area(
            members=attacks.members[:, number], others=attacks.others[:, number],
            member_groups=attacks.member_patients, other_groups=attacks.other_patients,
            member_strata=attacks.member_classes, other_strata=attacks.other_classes,
        )  # fmt: skip
        items.append(
            entry(
                "membership_auc", title="Telling training from control images",
                score=Score(None) if area is None else area.score(CONFIDENCE), floor=Score(0.5), encoder=name,
                good="Good is 0.5: an attacker does no better than guessing who was in the training data.",
                computed_on=f"{sides}, within classes, interval by patient", **shared,
            )
        )  # fmt: skip
        for rate in RATES:
            hits = _hits(attacks, number, rate, (1 - CONFIDENCE) / 2)
            needed = round(10 / rate)
            words = "" if hits.value is not None else f"; not estimable: needs {needed} control images"
            items.append(
                entry(
                    f"membership_tpr_at_{'1' if rate == 0.01 else '0.1'}_percent_fpr",
                    title=f"Training images found at a false-alarm rate of {rate:.1%}",
                    score=Score(None) if hits.value is None else Score(hits.value, hits.at_least, hits.at_most),
                    floor=Score(rate), encoder=name,
                    good=f"Good is {rate:.1%}, what guessing finds; more means that some patients can be told.",
                    computed_on=f"{sides}, interval by patient and for any distribution{words}", **shared,
                )
            )  # fmt: skip
    return items
