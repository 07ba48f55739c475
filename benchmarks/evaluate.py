"""Time and memory of a whole evaluation, the usefulness part left out, once the auditors are fitted.

    python benchmarks/evaluate.py --out runs/bench-evaluate         phantoms: 6,600 real images, 5,000 synthetic
    python benchmarks/evaluate.py --out OUT --real COHORT --synthetic COHORT --run RUN

Stages, each in a process of its own: the cohorts; a first evaluation of --warm synthetic images, which fits the
auditors and sees the real images (what that adds is said); then evaluations of a quarter, half and all of --images,
each with new synthetic images only. Peak memory is the process's largest resident set. Quote the machine and the date.
"""

import argparse
import json
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from stages import Stages

from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.seeds import rng

LEFT_OUT = ("utility", "harm", "curves", "stress")  # fits of learners: they are the usefulness part


class Bench(Stages):
    @property
    def real(self) -> Path:
        return Path(self.args.real or self.out / "real")

    @property
    def synthetic(self) -> Path:
        return Path(self.args.synthetic or self.out / "drawn")


def cohorts(bench: Bench) -> dict[str, Any]:
    """Phantom hospitals, unless cohorts are given: the second one's patients are strangers, offered as synthetic."""
    from synthcohort.ingest import IngestConfig, ingest
    from synthcohort.phantoms import write_hospital

    size, wanted = bench.args.size, {"real": bench.args.real_images, "drawn": bench.args.images}
    for seed, (name, count) in enumerate(wanted.items()):
        if (bench.args.real if name == "real" else bench.args.synthetic) is None:
            source = write_hospital(bench.out / f"hospital-{name}", -(-count // 3), seed, size, 3)
            ingest(source, bench.out / name, IngestConfig(size=size, key="seed"), seed)
    real, drawn = Cohort.open(bench.real), Cohort.open(bench.synthetic)
    return {"real": len(real), "synthetic": len(drawn), "size": list(real.image(0).shape)}


def part(bench: Bench, count: int, first: int) -> Path:
    """`count` images of the synthetic cohort, from place `first` of a fixed random order, as a cohort of their own."""
    path, whole = bench.out / "parts" / f"{first}-{count}", Cohort.open(bench.synthetic)
    if (path / "cohort.json").is_file():
        return path
    chosen = rng("bench evaluate").permutation(len(whole))[first : first + count]
    view = whole.select(indices=sorted(chosen.tolist()))
    writer = CohortWriter(path, whole.name, "synthetic", tuple(whole.labels.values()), {"made": "benchmark"}, "bench")
    for i in range(len(view)):
        record = view.record(i)
        if record["image_id"] not in writer.done:
            writer.add(view.image(i), record | {"split": None})
    writer.finish()
    return path


def evaluation(bench: Bench, count: str, first: str) -> dict[str, Any]:
    """One evaluation: its seconds, those of each part, and its peak memory."""
    from synthcohort.evaluation import evaluate
    from synthcohort.evaluation.config import EvaluateConfig, Part

    parts = tuple(name for name in get_args(Part) if name not in LEFT_OUT)
    config = replace(EvaluateConfig(), parts=parts, threads=bench.args.threads)
    synthetic, out = part(bench, int(count), int(first)), bench.out / "evidence"
    began, cpu = time.time(), time.process_time()
    evaluate(bench.real, synthetic, out, config, run=bench.args.run)
    seconds = time.time() - began
    done = [(f.stat().st_mtime, f.name.rpartition("-")[0]) for f in (out / "owner" / "cache").glob("*.json")]
    times, spent = sorted(x for x in done if x[0] >= began), {}
    for before, (at, name) in zip([began, *(t for t, _ in times)], times, strict=False):
        spent[name] = round(at - before, 1)
    return {
        "images": int(count), "seconds": round(seconds, 1), "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "parts": spent,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-evaluate"))
    parser.add_argument("--real", type=Path, help="a real cohort of your own")
    parser.add_argument("--synthetic", type=Path, help="a synthetic cohort of your own")
    parser.add_argument("--run", type=Path, help="the run that drew it, whose model is then attacked too")
    parser.add_argument("--images", type=int, default=5000, help="synthetic images of the largest evaluation")
    parser.add_argument("--real-images", type=int, default=6600, help="of the phantom hospital")
    parser.add_argument("--size", type=int, default=64, help="of the phantoms")
    parser.add_argument("--warm", type=int, default=300, help="synthetic images of the first evaluation")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    bench = Bench(args)
    if args.stage:
        bench.run(args.stage)
        return 0
    found = {"cohorts": bench.stage("cohorts"), "threads": args.threads, "evaluations": []}
    counts = [args.warm, args.images // 4, args.images // 2, args.images]
    for count in counts:
        first = args.warm if args.warm + count <= found["cohorts"]["synthetic"] else 0
        result = bench.stage(f"evaluation/{count}/{0 if count == args.warm else first}")
        found["evaluations"].append(result)
    print(json.dumps(found, indent=1))
    slowest = found["evaluations"][-1]
    print(f"{slowest['images']} images: {slowest['seconds'] / 60:.1f} min on {args.threads} threads", file=sys.stderr)
    return 0


Bench.work = {"cohorts": cohorts, "evaluation": evaluation}

if __name__ == "__main__":
    sys.exit(main())
