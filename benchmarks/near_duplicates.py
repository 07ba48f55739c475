"""How well near-duplicates are found, and what they cost: docs/experiments/2026-11-25-near-duplicates.md.

    python benchmarks/near_duplicates.py recall --data FOLDER --owner patient_id   planted copies, by kind of change
    python benchmarks/near_duplicates.py groups --data FOLDER --owner patient_id   groups of a set as it is, and a sheet
    python benchmarks/near_duplicates.py cost --counts 1000,10000,50000            seconds and memory

FOLDER holds a metadata.csv with a column `file`. Sheets show images and are written to --out, which must not travel.
"""

import argparse
import csv
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ingest import tree_mib
from PIL import Image, ImageDraw, ImageOps

from synthcohort.core.files import write_json
from synthcohort.core.seeds import rng
from synthcohort.imaging.fingerprint import Fingerprint, fingerprint
from synthcohort.ingest.near_duplicates import NearDuplicates, find_groups
from synthcohort.metrics.intervals import clopper_pearson

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def jpeg(quality: int) -> Change:
    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(io.BytesIO(buffer.getvalue())).copy()

    return change


def resized(columns: float, rows: float) -> Change:
    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        return image.resize((round(image.width * columns), round(image.height * rows)), Image.Resampling.LANCZOS)

    return change


def turned(degrees: float, fill: str) -> Change:
    """Turned within the frame; corners black, or filled by numpy's padding of this name."""

    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        angle = degrees * draw.choice([-1, 1])
        if fill == "black":
            return image.rotate(angle, Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
        room = max(image.size) // 2
        padded = np.pad(pixels, ((room, room), (room, room), (0, 0))[: pixels.ndim], mode=fill)  # type: ignore[call-overload]
        box = (room, room, room + image.width, room + image.height)
        return Image.fromarray(padded).rotate(angle, Image.Resampling.BICUBIC).crop(box)

    return change


def cropped(share: float) -> Change:
    """Without this share of the rows and of the columns, anywhere."""

    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        columns, rows = round(image.width * (1 - share)), round(image.height * (1 - share))
        left, top = draw.integers(0, image.width - columns + 1), draw.integers(0, image.height - rows + 1)
        return image.crop((left, top, left + columns, top + rows))

    return change


def toned(gain: float = 1.0, offset: float = 0.0, gamma: float = 1.0) -> Change:
    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        unit = np.clip(((np.asarray(image) / 255.0) ** gamma - 0.5) * gain + 0.5 + offset, 0, 1)
        return Image.fromarray(np.rint(unit * 255).astype(np.uint8))

    return change


def noisy(share: float) -> Change:
    """With Gaussian noise of this share of the range."""

    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        pixels = np.asarray(image) + draw.normal(0, share * 255, np.asarray(image).shape)
        return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))

    return change


def moved(*transposes: Image.Transpose) -> Change:
    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        for transpose in transposes:
            image = image.transpose(transpose)
        return image

    return change


def several(*changes: Change) -> Change:
    def change(image: Image.Image, draw: np.random.Generator) -> Image.Image:
        for one in changes:
            image = one(image, draw)
        return image

    return change


_MIRROR, _QUARTER = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90
KINDS: dict[str, Change] = {
    **{f"JPEG quality {quality}": jpeg(quality) for quality in (75, 50, 30, 15)},
    **{f"resized x {scale}": resized(scale, scale) for scale in (0.5, 0.75, 1.5)},
    "stretched by 10 %": resized(1.1, 1.0),
    "stretched by 25 %": resized(1.25, 1.0),
    "mirrored": moved(_MIRROR),
    "upside down": moved(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned by 90": moved(_QUARTER),
    "turned by 180": moved(Image.Transpose.ROTATE_180),
    "turned by 270": moved(Image.Transpose.ROTATE_270),
    "mirrored and turned by 90": moved(_MIRROR, _QUARTER),
    **{f"turned by {angle}, black corners": turned(angle, "black") for angle in (3, 7, 15, 30, 45, 75)},
    **{f"turned by {angle}, {fill} corners": turned(angle, fill) for angle in (15, 45) for fill in ("edge", "reflect")},
    **{f"cropped by {share * 100:g} %": cropped(share) for share in (0.02, 0.05, 0.075, 0.10, 0.15, 0.20)},
    "brighter by 20 %": toned(offset=0.2),
    "darker by 20 %": toned(offset=-0.2),
    "contrast x 0.6": toned(gain=0.6),
    "contrast x 1.5": toned(gain=1.5),
    "gamma 0.6": toned(gamma=0.6),
    "gamma 1.6": toned(gamma=1.6),
    **{f"noise of {round(share * 100)} %": noisy(share) for share in (0.02, 0.05, 0.10)},
    "mirrored, turned by 97, cropped by 5 %, brighter, JPEG 50": several(
        moved(_MIRROR, _QUARTER), turned(7, "black"), cropped(0.05), toned(1.2, 0.1), jpeg(50)
    ),
}


def loaded(data: Path, owner: str | None, first_only: bool) -> tuple[list[Image.Image], list[str]]:
    """The images of a folder, and whose each is: by the owner's column, else each its own."""
    with (data / "metadata.csv").open(encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["file"])
    owners = [row[owner] if owner else row["file"] for row in rows]
    chosen = [i for i, name in enumerate(owners) if not first_only or owners.index(name) == i]
    images = []
    for i in chosen:
        with Image.open(data / rows[i]["file"]) as image:
            images.append(image.copy())
    return images, [owners[i] for i in chosen]


def stacked(marks: list[Fingerprint]) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([mark.vector for mark in marks]), np.stack([mark.thumbnail for mark in marks])


def group_numbers(found: NearDuplicates) -> np.ndarray:
    """The group's number of each image; images in none have a number of their own."""
    numbers = -1 - np.arange(found.images)
    for number, members in enumerate(found.groups):
        numbers[list(members)] = number
    return numbers


def share(hits: int, trials: int) -> dict[str, Any]:
    low, high = clopper_pearson(hits, trials)
    return {"hits": hits, "trials": trials, "share": hits / trials, "low": low, "high": high}


def recall(images: list[Image.Image], least: int, name: str) -> dict[str, Any]:
    """Planted copies found, by kind; passes until each kind has `least` copies."""
    vectors, thumbnails = stacked([fingerprint(np.asarray(image)) for image in images])
    hits: Counter[str] = Counter()
    trials: Counter[str] = Counter()
    kinds, passes = list(KINDS), 0
    while min(trials[kind] for kind in kinds) < least:
        draw = rng("near-duplicates", name, passes)
        chosen = draw.permutation(np.arange(len(images)) % len(kinds))
        copies = [
            fingerprint(np.asarray(KINDS[kinds[k]](image, draw))) for k, image in zip(chosen, images, strict=True)
        ]
        more_vectors, more_thumbnails = stacked(copies)
        found = find_groups(np.concatenate([vectors, more_vectors]), np.concatenate([thumbnails, more_thumbnails]))
        numbers = group_numbers(found)
        together = numbers[: len(images)] == numbers[len(images) :]
        for k, kind in enumerate(kinds):
            hits[kind] += int(together[chosen == k].sum())
            trials[kind] += int((chosen == k).sum())
        passes += 1
    return {"passes": passes, "kinds": {kind: share(hits[kind], trials[kind]) for kind in kinds}}


def groups(images: list[Image.Image], owners: list[str], truth: bool, sheet: Path | None) -> dict[str, Any]:
    """What is grouped in a set as it is, against whose the images are."""
    vectors, thumbnails = stacked([fingerprint(np.asarray(image)) for image in images])
    began = time.process_time()
    found = find_groups(vectors, thumbnails)
    seconds = time.process_time() - began
    strangers = sum(len(members) for members in found.groups if len({owners[i] for i in members}) > 1)
    across = [k for k, (i, j) in enumerate(found.pairs.tolist()) if owners[i] != owners[j]]
    result = {
        "images": found.images,
        "cpu_seconds": seconds,
        "pairs": len(found.pairs),
        "pairs_across_owners": len(across),
        "groups": len(found.groups),
        "grouped_images": sum(map(len, found.groups)),
        "largest": max(map(len, found.groups), default=0),
        "chains": [vars(chain) for chain in found.chains],
        "families": list(found.families),
        "blank": found.blank,
        "images_grouped_with_another_owner": share(strangers, found.images),
        "similarity_across_owners": sorted((round(float(found.similarity[k]), 3) for k in across), reverse=True)[:30],
    }
    if truth:
        result |= against(group_numbers(found), np.unique(owners, return_inverse=True)[1])
    if sheet:
        draw = rng("sheet")
        chosen = across if across and not truth else list(range(len(found.pairs)))
        chosen = sorted(
            draw.choice(chosen, min(30, len(chosen)), replace=False).tolist(), key=lambda k: found.similarity[k]
        )
        draw_sheet(sheet, images, found, chosen)
    return result


def against(numbers: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Pairs in one group against pairs of one owner: precision and recall."""
    same = numbers[:, None] == numbers[None, :]
    true = truth[:, None] == truth[None, :]
    upper = np.triu(np.ones_like(same), 1)
    both, ours, all_true = (int((mask & upper).sum()) for mask in (same & true, same, true))
    return {"pair_precision": share(both, max(ours, 1)), "pair_recall": share(both, max(all_true, 1))}


def draw_sheet(path: Path, images: list[Image.Image], found: NearDuplicates, chosen: list[int]) -> None:
    """Pairs side by side with their similarity, the least alike first."""
    size, across = 128, 6
    canvas = Image.new("RGB", (across * (2 * size + 12), -(-len(chosen) // across) * (size + 16)), "white")
    pen = ImageDraw.Draw(canvas)
    for place, k in enumerate(chosen):
        x, y = place % across * (2 * size + 12), place // across * (size + 16)
        for side, i in enumerate(found.pairs[k].tolist()):
            canvas.paste(ImageOps.pad(images[i].convert("RGB"), (size, size)), (x + side * size, y + 14))
        pen.text((x + 2, y + 1), f"{found.similarity[k]:.3f}", fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)


def cost(counts: list[int], workers: int) -> list[dict[str, Any]]:
    """Seconds and peak memory (Pss_Anon and Pss_Shmem of all processes, so that mapped files do not count) for phantom
    knees, half of them changed copies of the other half."""
    from synthcohort.phantoms.anatomy import draw_anatomy, draw_knee
    from synthcohort.phantoms.knee import knee

    kinds = list(KINDS.values())
    vectors = np.empty((max(counts), 1), np.float16)
    thumbnails = np.empty((max(counts), 48, 48), np.uint8)
    seconds = 0.0
    for i in range(max(counts) // 2):
        draw = rng("near-duplicates, cost", i)
        person = draw_knee(draw_anatomy(draw), int(draw.integers(0, 5)), "L", draw)
        image = Image.fromarray((knee(person, 128, draw)[0] >> 4).astype(np.uint8))
        for place, pixels in ((2 * i, image), (2 * i + 1, kinds[i % len(kinds)](image, draw))):
            array = np.asarray(pixels)
            began = time.process_time()
            mark = fingerprint(array)
            seconds += time.process_time() - began
            vectors[place], thumbnails[place] = mark.vector, mark.thumbnail
    rows = []
    for count in sorted(counts):
        began, wall = cpu_seconds(), time.monotonic()
        with peak_memory() as peak:
            found = find_groups(vectors[:count], thumbnails[:count], workers=workers)
        rows.append(
            {
                "images": count,
                "processes": workers,
                "cpu_seconds": cpu_seconds() - began,
                "wall_seconds": time.monotonic() - wall,
                "peak_mib": max(peak),
                "groups": len(found.groups),
                "fingerprint_ms": seconds * 1e3 / max(counts),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def cpu_seconds() -> float:
    """Of this process and of those it has waited for."""
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """MiB of this process and its children, looked at by another process often."""
    peak = [0.0]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "peak"
        watcher = subprocess.Popen([sys.executable, __file__, "watch", "--out", str(out), "--pid", str(os.getpid())])
        try:
            while not (out.exists() and out.stat().st_size):  # until it looks
                time.sleep(0.01)
            yield peak
        finally:
            watcher.terminate()
            watcher.wait()
            peak += [float(line) for line in out.read_text().split()] if out.exists() else []


def watch(pid: int, out: Path) -> None:
    """Writes the memory of a process tree, without this process, until it is ended."""
    with out.open("w") as file:
        while True:
            print(tree_mib(pid) - tree_mib(os.getpid()), file=file, flush=True)
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("recall", "groups", "cost", "watch"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--owner", help="column that says whose an image is")
    parser.add_argument("--first-only", action="store_true", help="one image of each owner")
    parser.add_argument("--truth", action="store_true", help="the owner's column is what groups should be")
    parser.add_argument("--least", type=int, default=300, help="copies of each kind")
    parser.add_argument("--counts", default="1000,10000,50000")
    parser.add_argument("--out", type=Path, default=Path("runs/near_duplicates"))
    parser.add_argument("--workers", type=int, default=2, help="processes that search")
    parser.add_argument("--pid", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.what == "watch":
        return watch(asked.pid, asked.out)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.what == "cost":
        write_json(
            asked.out / "cost.json", {"rows": cost([int(count) for count in asked.counts.split(",")], asked.workers)}
        )
        return
    if asked.data is None:
        parser.error("--data is needed")
    images, owners = loaded(asked.data, asked.owner, asked.first_only)
    if asked.what == "recall":
        result = recall(images, asked.least, asked.data.name)
    else:
        result = groups(images, owners, asked.truth, asked.out / f"{asked.data.name}.png")
    write_json(asked.out / f"{asked.what}-{asked.data.name}.json", result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
