"""Speed of the parts that a study waits for, on phantoms; nothing is kept. Quote medians, with machine and date.

python benchmarks/speed.py --size 64 --repeats 3
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from synthcohort.core.cohort import Cohort
from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.ingest import IngestConfig, ingest
from synthcohort.learning.fit import FitConfig, fit_classifier
from synthcohort.learning.search import CopyIndex, build_index
from synthcohort.models.checkpoint import ImageSpec, ModelSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.models.generator import BATCH, Generator
from synthcohort.phantoms import write_hospital
from synthcohort.training.config import TrainConfig
from synthcohort.training.diffusion import TrainingState


def rates(work: Callable[[], int], repeats: int) -> dict[str, float]:
    """Images per second of a piece of work that says how many images it did: minimum, median, maximum."""
    found = []
    for _ in range(repeats):
        began = time.monotonic()
        count = work()
        found.append(count / (time.monotonic() - began))
    return {"min": round(min(found), 1), "median": round(statistics.median(found), 1), "max": round(max(found), 1)}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--size", type=int, default=64)
    arguments.add_argument("--repeats", type=int, default=3)
    args = arguments.parse_args()
    config, sampling = TrainConfig(), SamplingConfig()
    spec = ModelSpec(
        config.network, (ImageSpec(args.size, args.size, 1, "uint8", 0, 255),), Vocabulary(), 0.5, config.precision
    )
    state = TrainingState(spec, config, 0, 1000)
    batch = torch.rand(config.batch, 1, args.size, args.size) * 2 - 1
    drawer = Generator(state.average, spec, sampling)

    def train_step() -> int:
        state.update(batch, spec.vocabulary.null(config.batch), torch.Generator().manual_seed(0))
        return config.batch

    def draw() -> int:
        return len(list(drawer.draw([{}] * BATCH, list(range(BATCH)))))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hospital = write_hospital(folder / "hospital", 100, 0, args.size, 3)
        counter = iter(range(1000))

        def read() -> int:
            wanted = IngestConfig(size=args.size, key="seed")
            return int(ingest(hospital, folder / f"cohort{next(counter)}", wanted, 0)["taken"])

        results = {"ingest (DICOM)": rates(read, args.repeats)}
        cohort = Cohort.open(folder / "cohort0")
        build_index(cohort.select(split="train"), folder / "index", validation=cohort.select(split="validation"))
        index, images = CopyIndex.open(folder / "index"), cohort.images()
        labels = torch.tensor(cohort.column("kl_grade")).numpy()

        def fit() -> int:
            fit_classifier(images, labels, 5, FitConfig(steps=10), 0)
            return 10 * FitConfig().batch

        for title, work in (
            ("train", train_step),
            ("draw", draw),
            ("copy search", lambda: search(index, images)),
            ("grader fit", fit),
        ):
            work()
            results[title] = rates(work, args.repeats)
    print(json.dumps({"size": args.size, "threads": torch.get_num_threads(), "images_per_second": results}, indent=1))
    return 0


def search(index: CopyIndex, images: object) -> int:
    """Queries every image; returns how many."""
    return len(index.query(images).similarity)  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
