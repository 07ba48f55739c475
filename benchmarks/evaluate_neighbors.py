"""Speed and memory of the exact neighbour searches behind precision, recall, density, coverage and the copy search.

    python benchmarks/evaluate_neighbors.py prdc --count 20000 --dims 256      ours against the prdc package's formula
    python benchmarks/evaluate_neighbors.py nearest --queries 100000 --corpus 1000000 --dims 128 --minutes 20

Each side runs in a process of its own, so that its peak memory is its own; memory is given beyond the bare process with
the features. `nearest` stops after --minutes and says how many queries it answered. On a shared machine use one thread
(OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1) and read the processor's seconds, not the clock's. Prints one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from synthcohort.metrics.nearest import ROWS, nearest
from synthcohort.metrics.neighbors import neighborhoods

NAMES = ("precision", "recall", "density", "coverage")


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pair(count: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with a decaying spectrum, as encoders give them; the synthetic side a little off."""
    generator = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(dims))
    real = generator.standard_normal((count, dims)) * scale
    return real, generator.standard_normal((count, dims)) * scale * 0.9 + 0.02


def theirs(real: np.ndarray, synthetic: np.ndarray, k: int) -> dict[str, float]:
    """The formula of prdc 0.2 (MIT licence): three full matrices of distances, each partitioned as a whole."""
    from sklearn.metrics import pairwise_distances

    def radii(features: np.ndarray) -> np.ndarray:
        distances = pairwise_distances(features, features, metric="euclidean", n_jobs=8)
        indices = np.argpartition(distances, k + 1, axis=-1)[..., : k + 1]
        return np.take_along_axis(distances, indices, axis=-1).max(axis=-1)

    radii_real, radii_synthetic = radii(real), radii(synthetic)
    distances = pairwise_distances(real, synthetic, metric="euclidean", n_jobs=8)
    return {
        "precision": float((distances < radii_real[:, None]).any(axis=0).mean()),
        "recall": float((distances < radii_synthetic[None, :]).any(axis=1).mean()),
        "density": float((distances < radii_real[:, None]).sum(axis=0).mean() / k),
        "coverage": float((distances.min(axis=1) < radii_real).mean()),
    }


def ours(real: np.ndarray, synthetic: np.ndarray, k: int) -> dict[str, float]:
    table = neighborhoods(real=real, synthetic=synthetic, k=k)
    return {name: table.value(name) for name in NAMES}


def side(name: str, count: int, dims: int) -> None:
    real, synthetic = pair(count, dims)
    import sklearn.metrics  # noqa: F401  both sides pay for it before the clock starts

    function = {"ours": ours, "theirs": theirs}[name]
    function(real[:500], synthetic[:500], 5)
    before, began, worked = peak_mib(), time.perf_counter(), time.process_time()
    values = function(real, synthetic, 5)
    cost = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - worked}
    print(json.dumps({**cost, "mib": peak_mib() - before, "values": values}))


def compare(count: int, dims: int) -> None:
    found = {}
    for name in ("ours", "theirs"):
        command = [sys.executable, __file__, "side", "--name", name, "--count", str(count), "--dims", str(dims)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout)
    difference = max(abs(found["ours"]["values"][name] - found["theirs"]["values"][name]) for name in NAMES)
    print(
        json.dumps(
            {
                "count": count,
                "dims": dims,
                **found,
                "times_faster": found["theirs"]["processor_seconds"] / found["ours"]["processor_seconds"],
                "share_of_memory": found["ours"]["mib"] / found["theirs"]["mib"],
                "largest_difference": difference,
            },
            indent=2,
        )
    )


def search(queries: int, corpus: int, dims: int, minutes: float) -> None:
    generator = np.random.default_rng(0)
    scale = (1 / np.sqrt(1 + np.arange(dims))).astype(np.float32)
    points = generator.standard_normal((corpus, dims), dtype=np.float32) * scale
    asked = generator.standard_normal((queries, dims), dtype=np.float32) * scale
    nearest(asked[:8], points[: 2 * ROWS], 1)
    loaded, began, worked, done = peak_mib(), time.perf_counter(), time.process_time(), 0
    sample = None
    while done < queries and time.perf_counter() - began < 60 * minutes:
        found = nearest(asked[done : done + 2 * ROWS], points, 1)
        sample = found if sample is None else sample
        done += len(found[0])
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    assert sample is not None
    some = np.arange(0, len(sample[0]), 256)
    checked = [int(((points.astype(np.float64) - asked[i]) ** 2).sum(axis=1).argmin()) for i in some]
    print(
        json.dumps(
            {
                "queries_answered": done,
                "of": queries,
                "corpus": corpus,
                "dims": dims,
                "seconds": seconds,
                "processor_seconds": processor,
                "processor_minutes_for_all": processor / done * queries / 60,
                "peak_gib_with_features": peak_mib() / 1024,
                "mib_beyond_features": peak_mib() - loaded,
                "checked_by_brute_force": len(some),
                "wrong": int((np.array(checked) != sample[1][some, 0]).sum()),
            },
            indent=2,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prdc", "nearest", "side"])
    parser.add_argument("--name", choices=["ours", "theirs"], default="ours")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--dims", type=int, default=128)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--corpus", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=20)
    chosen = parser.parse_args()
    if chosen.what == "prdc":
        compare(chosen.count, chosen.dims)
    elif chosen.what == "side":
        side(chosen.name, chosen.count, chosen.dims)
    else:
        search(chosen.queries, chosen.corpus, chosen.dims, chosen.minutes)


if __name__ == "__main__":
    main()
