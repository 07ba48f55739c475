"""How well an attack tells members from others: area, hits at few false alarms, and what chance gives. By patient.

Words: a *score* is larger the more an attacker takes an image for a member's; a *group* is a patient; a *stratum* is a
class that members and others are compared within, so that another mix of classes is not mistaken for a leak.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.stats import rankdata

from synthcohort.metrics.intervals import Score, clopper_pearson, group_index

LEAST_FALSE_ALARMS = 10  # a rate at false-positive rate f is given only where so many others lie above the threshold
Groups = Sequence[Hashable] | np.ndarray


@dataclass(frozen=True)
class Area:
    """Area under the ROC curve within strata, its standard error by patient, and the degrees of freedom of that."""

    value: float
    error: float
    freedom: int

    def low(self, tail: float) -> float:
        """One-sided lower bound at level `tail`."""
        return max(0.0, self.value - float(stats.t.isf(tail, self.freedom)) * self.error)

    def high(self, tail: float) -> float:
        """One-sided upper bound at level `tail`."""
        return min(1.0, self.value + float(stats.t.isf(tail, self.freedom)) * self.error)

    def score(self, confidence: float = 0.95) -> Score:
        tail = (1 - confidence) / 2
        return Score(self.value, self.low(tail), self.high(tail))


def attack_area(
    *,
    members: np.ndarray,
    others: np.ndarray,
    member_groups: Groups,
    other_groups: Groups,
    member_strata: np.ndarray | None = None,
    other_strata: np.ndarray | None = None,
) -> Area | None:
    """The area within strata: sum over strata s of w_s AUC_s with w_s proportional to m_s n_s / (m_s + n_s).

    The error is that of the structural components, summed by patient; members and others share no patient. It is never
    taken smaller than that of as many independent images of exponential scores, which keeps an area of 1 from claiming
    certainty. None: no stratum holds both sides, or one side has a single patient.
    Sources: van Elteren 1960 (weights), Obuchowski 1997 (clusters), Hanley and McNeil 1982 (the least error).
    """
    members, others = np.asarray(members, np.float64), np.asarray(others, np.float64)
    first = np.zeros(len(members), np.int64) if member_strata is None else np.asarray(member_strata)
    second = np.zeros(len(others), np.int64) if other_strata is None else np.asarray(other_strata)
    shared = [s for s in np.unique(first) if (second == s).any()]
    if not shared:
        return None
    weights = np.array([_harmonic((first == s).sum(), (second == s).sum()) for s in shared])
    weights /= weights.sum()
    value, parts_m, parts_o = 0.0, np.zeros(len(members)), np.zeros(len(others))
    for stratum, weight in zip(shared, weights, strict=True):
        rows, columns = np.flatnonzero(first == stratum), np.flatnonzero(second == stratum)
        above, below = _components(members[rows], others[columns])
        area = float(above.mean())
        value += weight * area
        parts_m[rows] = weight / len(rows) * (above - area)
        parts_o[columns] = weight / len(columns) * (below - area)
    used_m, used_o = np.isin(first, shared), np.isin(second, shared)
    sums = [
        np.bincount(group_index(np.asarray(groups)[used]), parts[used])
        for groups, parts, used in ((member_groups, parts_m, used_m), (other_groups, parts_o, used_o))
    ]
    least = min(len(part) for part in sums)
    if least < 2:
        return None
    variance = sum(len(part) / (len(part) - 1) * float((part**2).sum()) for part in sums)
    clipped = float(np.clip(value, 0.5 / least, 1 - 0.5 / least))
    floor = _independent_variance(clipped, int(used_m.sum()), int(used_o.sum()))
    return Area(float(value), float(np.sqrt(max(variance, floor))), least - 1)


def _harmonic(first: int, second: int) -> float:
    return first * second / (first + second)


def _components(members: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the others below each member, and share of the members above each other one; ties count half."""
    ranks = rankdata(np.concatenate([members, others]))
    above = (ranks[: len(members)] - rankdata(members)) / len(others)
    below = 1 - (ranks[len(members) :] - rankdata(others)) / len(members)
    return above, below


def _independent_variance(area: float, num_members: int, num_others: int) -> float:
    """Hanley and McNeil 1982, equations 1 and 2; at area 0.5 the exact variance of the Mann-Whitney statistic."""
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    return (area * (1 - area) + (num_members - 1) * (first - area**2) + (num_others - 1) * (second - area**2)) / (
        num_members * num_others
    )


@dataclass(frozen=True)
class Hits:
    """Share of members found at a false-positive rate: None where it can't be estimated; bounds that always hold."""

    value: float | None
    at_least: float
    at_most: float


def hits_at(
    *,
    members: np.ndarray,
    others: np.ndarray,
    member_groups: Groups,
    other_groups: Groups,
    false_positive_rate: float,
    tail: float = 0.025,
) -> Hits:
    """Share of members above the threshold that a share `false_positive_rate` of all others lies above.

    The threshold is estimated itself. With n independent others the share of all others above the k-th largest one is
    beta distributed, so P(share > f) = P(Bin(n, f) < k). `at_most` counts the members from the k-th largest other one
    on, with the smallest k that has P(Bin(n, f) >= k) <= tail / 2, and takes the upper end of that count's exact
    interval at tail / 2; `at_least` is its mirror image. Each bound holds with 1 - tail, for any distribution of
    scores and any n; with few others they are far apart. Counts are divided by their design effect, since images of
    one patient are alike. The value itself is None with fewer than 10 / f others.
    """
    members, others = np.asarray(members, np.float64), np.asarray(others, np.float64)
    count, sorted_others = len(others), np.sort(others)[::-1]
    threshold = sorted_others[min(int(false_positive_rate * count + 1e-9), count - 1)]
    estimable = count * false_positive_rate >= LEAST_FALSE_ALARMS
    value = float((members > threshold).mean()) if estimable else None
    # That of a tenth of the others: single ones tell nothing, and further out images of a patient are less alike.
    effect = design_effect(others > sorted_others[count // 10], other_groups)
    independent = max(1, int(count / effect))
    highest = int(stats.binom.isf(tail / 2, independent, false_positive_rate)) + 1
    place = int(np.ceil(highest * effect))
    at_most = 1.0
    if place <= count:
        at_most = _share_bounds(members >= sorted_others[place - 1], member_groups, tail / 2)[1]
    lowest = int(stats.binom.ppf(tail / 2, independent, false_positive_rate))
    if lowest > 0 and stats.binom.cdf(lowest - 1, independent, false_positive_rate) > tail / 2:
        lowest -= 1
    at_least = 0.0
    if lowest > 0:
        place = max(1, int(lowest * effect))
        at_least = _share_bounds(members > sorted_others[place - 1], member_groups, tail / 2)[0]
    return Hits(value, at_least, at_most)


def design_effect(found: np.ndarray, groups: Groups) -> float:
    """Images that weigh as one independent image: variance of a share by patients over that of independent images.

    Between 1 and the mean number of images that an image's patient has; the latter where fewer than ten are found.
    Source: Rao and Scott 1992.
    """
    index = group_index(groups)
    sizes = np.bincount(index)
    largest = float((sizes**2).sum() / sizes.sum())
    share = float(np.mean(found))
    if min(found.sum(), (~found).sum()) < LEAST_FALSE_ALARMS or len(sizes) < 2:
        return largest
    residuals = np.bincount(index, found) - share * sizes
    clustered = len(sizes) / (len(sizes) - 1) * float((residuals**2).sum()) / len(found) ** 2
    return float(np.clip(clustered / (share * (1 - share) / len(found)), 1.0, largest))


def _share_bounds(found: np.ndarray, groups: Groups, tail: float) -> tuple[float, float]:
    trials = max(1, int(len(found) / design_effect(found, groups)))
    return clopper_pearson(float(found.mean()) * trials, trials, 1 - 2 * tail)


@dataclass(frozen=True)
class ChanceTest:
    """p-values of a permutation test: of the best attack among all, and of each attack by itself [K]."""

    family: float
    each: np.ndarray


def chance_test(
    scores: np.ndarray,
    is_member: np.ndarray,
    groups: Groups,
    strata: np.ndarray | None,
    permutations: int,
    generator: np.random.Generator,
) -> ChanceTest:
    """Whether attacks [N, K] do better than with patients relabeled at random as members and others.

    Statistic of an attack: mean difference of the scores' ranks within strata, divided by its deviation over the
    relabelings; of the family: the largest one. Whole patients change sides, so the test is exact whenever patients are
    exchangeable, however alike their images and however related the attacks: P(p <= a) <= a.
    Source: Westfall and Young 1993 (maxT).
    """
    index = group_index(groups)
    is_member = np.asarray(is_member, bool)
    num_groups = int(index.max()) + 1
    label = np.zeros(num_groups)
    label[index[is_member]] = 1.0
    if (label[index] != is_member).any():
        raise ValueError("a patient stands on both sides")
    ranks = _centered_ranks(scores, np.zeros(len(index), np.int64) if strata is None else np.asarray(strata))
    sums = np.stack([np.bincount(index, column, num_groups) for column in ranks.T], axis=1)
    sizes = np.bincount(index, minlength=num_groups).astype(np.float64)
    labels = np.stack([label, *(generator.permutation(label) for _ in range(permutations))])
    num_members = labels @ sizes
    totals = labels @ sums
    values = totals / num_members[:, None] - (sums.sum(0) - totals) / (len(index) - num_members)[:, None]
    deviation = values[1:].std(axis=0)
    values = values / np.where(deviation > 0, deviation, 1.0)
    slack = 1e-9
    each = (values >= values[0] - slack).sum(axis=0) / (permutations + 1)
    best = values.max(axis=1)
    return ChanceTest(float((best >= best[0] - slack).sum() / (permutations + 1)), each)


def _centered_ranks(scores: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Ranks within strata in (-1/2, 1/2) with mean 0 in each: [N, K]."""
    ranks = np.empty(scores.shape)
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        ranks[rows] = (rankdata(scores[rows], axis=0) - 0.5) / len(rows) - 0.5
    return ranks
