"""Do the intervals of reader studies cover the truth? Simulated readers of known skill, many simulated studies.

Protocol, written before any figure was seen:

- Detection. Readers with d′ 0, 0.5 and 1.5 judge 60 real and 60 synthetic images on ten levels. What a reader sees is
  d′ · [synthetic] + √0.3 · (what the case shows every reader) + √0.7 · (this reader, this case), so that every reader's
  d′ and area are known, cases are shared, and 5 readers of one study are not 5 independent ones. In the variant
  "varied" each reader's d′ is drawn from a normal law with standard deviation 0.3 around d′.
- Agreement. 5 readers grade 120 cases in five classes of shares 0.3, 0.25, 0.2, 0.15, 0.1. Each grade is the case's
  with probability √κ, else drawn from the shares: then κ of any weights, Fleiss' κ, Krippendorff's α and ICC of every
  pair of readers are κ (0.4 and 0.8).
- Grading real against synthetic. 5 readers, 60 images of each kind, right with probability 0.6 ± reader's 0.05 ± case;
  difference 0 (the interval) and equal to the margin 0.15 (TOST must say equivalent in at most 5 %).
- Each figure's 95 % interval is counted as covering or not over --studies studies (2,000 by default), with the exact
  interval of the share. The wanted band is 93.5 to 96.5 %. Figures of one reader count for reader 1 alone.

    python benchmarks/study_coverage.py [--studies 2000] [--seed 0]
"""

import argparse
import json
import time

import numpy as np
from scipy import stats

from synthcohort.core.seeds import rng
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.metrics.readers import d_prime, decisions, share
from synthcohort.metrics.readers_agreement import (
    fleiss_kappa,
    icc,
    krippendorff_alpha,
    mean_weighted_kappa,
    weighted_kappa,
)
from synthcohort.metrics.readers_equivalence import tost
from synthcohort.metrics.readers_mrmc import d_prime_figures, difference, figures, mean_figures, single
from synthcohort.metrics.readers_roc import area_score

READERS, EACH, AGREED_CASES = 5, 60, 120
CUTS = np.linspace(-1.2, 2.2, 9)
SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
MARGIN = 0.15
Found = dict[str, tuple[float | None, float | None, float]]  # low, high, truth


def detection(d: float, varied: float, draw: np.random.Generator) -> Found:
    truth = np.arange(2 * EACH) >= EACH
    skills = d + varied * draw.normal(size=READERS)
    case, own = draw.normal(size=2 * EACH), draw.normal(size=(READERS, 2 * EACH))
    seen = skills[:, None] * truth + np.sqrt(0.3) * case + np.sqrt(0.7) * own
    ratings, said = np.digitize(seen, CUTS), seen > d / 2
    # averaged over readers: E Φ(D/√2) of D ~ N(d, varied²)
    mean_area = float(stats.norm.cdf(d / np.sqrt(2 + varied**2)))
    steps = np.concatenate([[-np.inf], CUTS, [np.inf]])
    levels = np.diff(stats.norm.cdf(steps)), np.diff(stats.norm.cdf(steps - skills[0]))
    result: Found = {}
    one = area_score(truth=truth, ratings=ratings[0])
    result["area, one reader"] = one.low, one.high, _tied_area(*levels)
    if not varied:
        mean_area = _tied_area(*levels)
    else:
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        parts = [_tied_area(levels[0], np.diff(stats.norm.cdf(steps - d - varied * x))) for x in nodes]
        mean_area = float(weights @ parts / weights.sum())
    pooled = single(*figures(truth=truth, ratings=ratings)).score(0, 1)
    result["area, all readers"] = pooled.low, pooled.high, mean_area
    found = d_prime(*decisions(truth=truth, said=said[0]))
    result["d′, one reader"] = found.low, found.high, float(skills[0])
    all_d = single(*d_prime_figures(truth=truth, said=said)).score()
    result["d′, all readers"] = all_d.low, all_d.high, d
    right = said == truth
    if not varied:
        expected = float(stats.norm.cdf(d / 2))
        hit = share(int(right[0].sum()), 2 * EACH)
        result["accuracy, one reader"] = hit.low, hit.high, expected
        together = single(*mean_figures(right)).score(0, 1)
        result["accuracy, all readers"] = together.low, together.high, expected
    return result


def _tied_area(noise: np.ndarray, signal: np.ndarray) -> float:
    """The area of ratings on levels: chance of a higher level plus half of the same."""
    return float(sum(signal[i] * (noise[:i].sum() + 0.5 * noise[i]) for i in range(len(noise))))


def agreement(kappa: float, draw: np.random.Generator) -> Found:
    true = draw.choice(5, AGREED_CASES, p=SHARES)
    own = draw.choice(5, (READERS, AGREED_CASES), p=SHARES)
    grades = np.where(draw.random((READERS, AGREED_CASES)) < np.sqrt(kappa), true, own).astype(float)
    scores = {
        "weighted κ, two readers": weighted_kappa(grades[0], grades[1], 5),
        "weighted κ, all pairs": mean_weighted_kappa(grades, 5),
        "Fleiss κ": fleiss_kappa(grades, 5),
        "Krippendorff α, nominal": krippendorff_alpha(grades, 5),
        "Krippendorff α, interval": krippendorff_alpha(grades, 5, "interval"),
        "ICC(2,1)": icc(grades),
    }
    return {name: (score.low, score.high, kappa) for name, score in scores.items()}


def grading(gap: float, draw: np.random.Generator) -> Found:
    skill = np.clip(0.6 + 0.05 * draw.normal(size=(READERS, 1)), 0.3, 0.95)
    right = []
    for shift in (gap / 2, -gap / 2):
        case = 0.15 * draw.choice([-1, 1], size=EACH)  # cases that are easy or hard for everyone
        right.append(draw.random((READERS, EACH)) < np.clip(skill + shift + case, 0.0, 1.0))
    (a, a_out), (b, b_out) = (mean_figures(part) for part in right)
    found = difference(np.stack([a, b]), [a_out, b_out])
    result: Found = {"difference of accuracy": (found.low, found.high, gap)}
    if gap:
        said = tost(found, MARGIN).equivalent
        result["TOST at the margin: not called equivalent"] = (-1.0, 1.0, 2.0 if said else 0.0)
    return result


SCENARIOS = {
    **{f"d′ {d}{' varied' if v else ''}": (detection, (d, v)) for d in (0.0, 0.5, 1.5) for v in (0.0, 0.3)},
    **{f"κ {k}": (agreement, (k,)) for k in (0.4, 0.8)},
    "grading, no difference": (grading, (0.0,)),
    "grading, at the margin": (grading, (MARGIN,)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, (simulate, settings) in SCENARIOS.items():
        began, covered, missing = time.time(), {}, {}
        for number in range(args.studies):
            found = simulate(*settings, rng("study coverage", args.seed, name, number))
            for figure, (low, high, truth) in found.items():
                if low is None or high is None:
                    missing[figure] = missing.get(figure, 0) + 1
                else:
                    covered.setdefault(figure, []).append(low <= truth <= high)
        for figure, hits in covered.items():
            low, high = clopper_pearson(sum(hits), len(hits))
            row = {"scenario": name, "figure": figure, "covered": round(100 * np.mean(hits), 2)}
            row |= {"interval": [round(100 * low, 2), round(100 * high, 2)], "studies": len(hits)}
            row |= {"without interval": missing.get(figure, 0)}
            print(json.dumps(row, ensure_ascii=False), flush=True)
        print(f"# {name}: {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
