"""Peak memory of training and of drawing at several sizes, each measured in a process of its own, on noise.

    python benchmarks/memory.py --sizes 64 128 256

The peak is the process's largest resident set (getrusage), libraries included; `base` is the process before the model
is built. Drawing is one image (whose batch is padded, so that a batch of eight takes the same), the default settings.
On a GPU the peak of torch's allocator stands beside it.
"""

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import replace

import torch

from synthcohort.diffusion.sampling import SamplingConfig
from synthcohort.models.checkpoint import ImageSpec, ModelSpec
from synthcohort.models.condition import Vocabulary
from synthcohort.models.generator import Generator
from synthcohort.training.config import TrainConfig
from synthcohort.training.diffusion import TrainingState

BATCHES = (16, 64)
STEPS = 3


def peak() -> int:
    """MiB; ru_maxrss is in KiB on Linux."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(size: int, batch: int) -> dict[str, float]:
    """The peak of a process that trains `STEPS` steps of this batch, or draws one image where batch is 0."""
    base = peak()
    config = replace(TrainConfig(), batch=max(batch, 1))
    image = ImageSpec(size, size, 1, "uint8", 0, 255)
    spec = ModelSpec(config.network, (image,), Vocabulary(), 0.5, config.precision)
    state = TrainingState(spec, config, 0, 1000)
    if batch:
        images = torch.rand(batch, 1, size, size) * 2 - 1
        for _ in range(STEPS):
            state.update(images, spec.vocabulary.null(batch), torch.Generator().manual_seed(0))
    else:
        next(Generator(state.average, spec, SamplingConfig()).draw([{}], [0]))
    found: dict[str, float] = {"base_mib": base, "peak_mib": peak()}
    if torch.cuda.is_available():
        found["device_mib"] = torch.cuda.max_memory_allocated() // 2**20
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--one", type=int, nargs=2, metavar=("SIZE", "BATCH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return 0
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    print(
        "| size | "
        + " | ".join(f"training, batch {b}" for b in BATCHES)
        + " | drawing | libraries |\n|---|---|---|---|---|"
    )
    for size in args.sizes:
        cells = []
        for batch in (*BATCHES, 0):
            command = [sys.executable, __file__, "--one", str(size), str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = json.loads(done.stdout) if done.returncode == 0 else {}
            cells.append(f"{found['peak_mib']} MiB" if found else f"failed ({done.returncode})")
            base = found.get("base_mib", "")
            if not found:
                print(done.stderr[-2000:], file=sys.stderr)
        print(f"| {size} px | " + " | ".join(cells) + f" | {base} MiB |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
