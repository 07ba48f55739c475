"""What does a query of the copy detector cost, against how many training images? Milliseconds of one core, and memory.

    python benchmarks/copy_cost.py --index runs/copy_detector/.../INDEX --images COHORT --sizes 5000 100000

The index is grown to each size by repeating its rows, in files beside it: a query does the same work as with as many
different images, for every one of them is compared. Memory is what the process has touched itself, mapped files apart.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from synthcohort.core.cohort import Cohort
from synthcohort.core.files import read_json, write_json
from synthcohort.learning.search import CopyIndex


def grown(source: Path, folder: Path, count: int) -> CopyIndex:
    """An index of `count` images, made of the rows of another again and again."""
    folder.mkdir(parents=True)
    for name in ("gray.npy", "vectors.npy"):
        rows = np.load(source / name, mmap_mode="r")
        made = np.lib.format.open_memmap(folder / name, "w+", rows.dtype, (count, *rows.shape[1:]))
        for start in range(0, count, len(rows)):
            made[start : start + len(rows)] = rows[: count - start]
        made.flush()
    shutil.copy(source / "projection.npy", folder)
    content = read_json(source / "index.json")
    write_json(folder / "index.json", content | {"images": count})
    return CopyIndex.open(folder)


def own_memory() -> float:
    """MiB that no file backs."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True, help="a cohort whose first images are looked for")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 100_000])
    parser.add_argument("--queries", type=int, default=160)
    parser.add_argument("--out", type=Path, default=Path("runs/copy_cost"))
    asked = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    images = [Cohort.open(asked.images).image(i) for i in range(asked.queries)]
    asked.out.mkdir(parents=True, exist_ok=True)
    print("| training images | ms a query | memory, MiB | index, MiB |")
    print("|---|---|---|---|")
    for count in asked.sizes:
        with tempfile.TemporaryDirectory(dir=asked.out) as name:
            index = grown(asked.index, Path(name) / "index", count)
            index.query(images[:16])
            began = time.process_time()
            index.query(images)
            spent = (time.process_time() - began) / len(images) * 1000
            size = sum(path.stat().st_size for path in index.path.iterdir()) / 2**20
            print(f"| {count:,} | {spent:.1f} | {own_memory():.0f} | {size:.0f} |")
    print("done", file=sys.stderr)


if __name__ == "__main__":
    main()
