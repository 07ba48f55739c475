"""Is a diffusion model that was trained for too long on 400 images found out by the audit, with default settings?

    python benchmarks/overtrained.py --source runs/ten/knee-xray --out runs/overtrained

Five seeds at 32 pixels, and once as many steps on all training images. Each stage leaves a file: a run that was
stopped goes on. The protocol: docs/experiments/2026-11-25-verdicts.md.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from stages import Stages

from synthcohort.core.cohort import Cohort
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.files import write_json
from synthcohort.evaluation.inputs import patients, sample_patients
from synthcohort.imaging.geometry import placement

FEW = 400  # training images
CONTROL = "all"  # the seed's place of the training on all images


class Bench(Stages):
    """The folder of results, and the cohorts: of few training images, and of all."""

    def cohort(self, seed: str) -> Path:
        return self.out / "cohorts" / ("all" if seed == CONTROL else "few")

    def model(self, seed: str) -> Path:
        return self.out / "models" / seed


def reduced(bench: Bench, name: str) -> dict[str, Any]:
    """The cohort at the models' size; `few` keeps the training images of whole patients up to 400."""
    real, size = Cohort.open(Path(bench.args.source)), bench.args.size
    train = [i for i, role in enumerate(real.column("split")) if role == "train"]
    dropped: set[int] = set()
    if name == "few":
        kept = sample_patients([patients(real)[i] for i in train], FEW, "overtrained")
        dropped = set(train) - {train[i] for i in kept}
    path = bench.out / "cohorts" / name
    writer = CohortWriter(path, name, "real", tuple(real.labels.values()), {"made": "benchmark"}, "overtrained")
    for index in range(len(real)):
        record = real.record(index)
        if index not in dropped and record["image_id"] not in writer.done:
            image = real.image(index)
            writer.add(placement(image.shape[:2], (size, size)).apply(image), record)
    return {"images": len(writer.finish()), "train": len(train) - len(dropped)}


def trained(bench: Bench, seed: str) -> dict[str, Any]:
    from synthcohort.training.config import TrainConfig
    from synthcohort.training.diffusion import train

    config = TrainConfig(size=bench.args.size, images=bench.args.images, batch=bench.args.batch)
    number = 0 if seed == CONTROL else int(seed)
    return train([bench.cohort(seed)], bench.model(seed), config, number)


def drawn(bench: Bench, seed: str) -> dict[str, Any]:
    """Without the screen: what the audit sees of a model whose images nobody held back."""
    from synthcohort.generation.config import GenerateConfig
    from synthcohort.generation.synthesize import generate

    out = bench.out / "synthetic" / seed
    return generate(bench.model(seed), out, GenerateConfig(screen=False), 0, bench.args.count)


def screened(bench: Bench, seed: str) -> dict[str, Any]:
    """With the screen, as the product does it by default: how many images it leaves out, or that it refuses."""
    from synthcohort.core.errors import Refused
    from synthcohort.generation.config import GenerateConfig
    from synthcohort.generation.synthesize import generate

    try:
        return generate(bench.model(seed), bench.out / "screened" / seed, GenerateConfig(), 0, bench.args.screened)
    except Refused as error:
        return {"refused": str(error)}


def judged(bench: Bench, seed: str) -> dict[str, Any]:
    from synthcohort.evaluation import evaluate
    from synthcohort.evaluation.config import EvaluateConfig

    out = bench.out / "evidence" / seed
    config = EvaluateConfig(parts=("copies", "membership"), threads=bench.args.threads)
    evaluate(bench.cohort(seed), bench.out / "synthetic" / seed, out, config, seed=0, run=bench.model(seed))
    scores = json.loads((out / "scores.json").read_text())
    return {name: scores["families"][name] for name in ("copies", "membership")}


def told(found: dict[str, Any]) -> str:
    """A table in Markdown."""
    rows = ["| seed | training images | copies | `copies` | `membership` |", "|---|---|---|---|---|"]
    for seed, one in found.items():
        copies, membership = one["judge"]["copies"], one["judge"]["membership"]
        areas = [item["area"] for item in membership["figures"].get("attacks", {}).values() if item["area"] is not None]
        best = f" (best area {max(areas):.2f})" if areas else ""
        figures = copies["figures"]
        rows.append(
            f"| {seed} | {one['train']} | {figures['copies']} of {figures['synthetic_images']}, control "
            f"{figures['control_hits']} of {figures['control_images']} | {copies['verdict']} | "
            f"{membership['verdict']}{best} |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="an ingested cohort with the four roles")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--images", type=int, default=60_000, help="seen by each training: 150 passes over 400")
    parser.add_argument("--batch", type=int, default=16, help="images of a step: small ones give more steps")
    parser.add_argument("--count", type=int, default=1000, help="images drawn and judged")
    parser.add_argument("--screened", type=int, default=100, help="images asked of the screened generation")
    parser.add_argument("--seeds", nargs="*", default=["0", "1", "2", "3", "4", CONTROL])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/overtrained"))
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    args = parser.parse_args()
    bench = Bench(args)
    bench.work = {"cohort": reduced, "train": trained, "draw": drawn, "screen": screened, "judge": judged}
    if args.stage:
        bench.run(args.stage)
        return
    bench.begin("size", "images", "batch", "count", "screened", "threads")
    found = {}
    for seed in args.seeds:
        cohort = bench.stage(f"cohort/{bench.cohort(seed).name}")
        found[seed] = {kind: bench.stage(f"{kind}/{seed}") for kind in ("train", "draw", "screen", "judge")}
        found[seed]["train"] = cohort["train"]
        print(told(found), file=sys.stderr, flush=True)
    write_json(args.out / "overtrained.json", found)
    print(told(found))


if __name__ == "__main__":
    main()
