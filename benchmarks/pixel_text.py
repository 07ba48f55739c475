"""How much burned-in text is found, how often in vain, and how fast; as docs/experiments/2026-11-25-pixel-text.md says.

    python benchmarks/pixel_text.py --shared ../shared/data --out runs/pixel_text

Needs Debian's packages fonts-freefont-ttf, fonts-noto-core, fonts-noto-mono, fonts-open-sans, fonts-courier-prime,
fonts-cantarell, fonts-ocr-a, fonts-terminus-otb and xfonts-75dpi. Writes scores.json and prints it; what was missed or
alarmed goes to missed.jsonl, which holds invented texts and digests of images only.
"""

import argparse
import csv
import hashlib
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from pixel_text_material import PHOTOGRAPHS, Annotation, Role, annotate, backgrounds, files_of, phantom, read

from synthcohort.core.seeds import rng
from synthcohort.ingest.pixel_text import TextBox, blank, find_text
from synthcohort.metrics.intervals import clopper_pearson

FOLDERS = ("knee-xray", "chest-xray", "chest-ct", "brain-mri", "breast-ultrasound", "fundus-photo", "dermoscopy")
COUNTS = {**dict.fromkeys(FOLDERS, 2), "chest-ct-dicom": 2, "phantom 512": 1, "phantom 1000": 1, "phantom 2000": 1}
SIZES = (("6-7", 8), ("8-9", 10), ("10-13", 14), ("14-20", 21), ("21 and more", 10**6))
BESIDE = Path(__file__).parent


def share(successes: int, trials: int) -> dict[str, Any]:
    low, high = clopper_pearson(successes, trials)
    return {
        "count": successes,
        "of": trials,
        "share": round(successes / trials, 4),
        "ci": [round(low, 4), round(high, 4)],
    }


def covered(box: tuple[int, int, int, int], boxes: list[TextBox], kind: str) -> float:
    """Share of the annotation's rectangle that boxes of this kind cover."""
    inside = np.zeros((box[2] - box[0], box[3] - box[1]), bool)
    for other in boxes:
        if other.kind == kind:
            inside[
                max(0, other.top - box[0]) : max(0, other.bottom - box[0]),
                max(0, other.left - box[1]) : max(0, other.right - box[1]),
            ] = True
    return float(inside.mean())


def drawn(
    shared: Path, fonts: Path, role: Role, name: str, seed: int, number: int, **how: bool
) -> list[tuple[np.ndarray, Annotation]]:
    draw = rng("pixel text", name, seed)
    made: list[tuple[np.ndarray, Annotation]] = []
    for background, pixels in backgrounds(shared, role, COUNTS, draw):
        if (one := annotate(pixels, background, role, fonts, draw, **how)) is not None:
            made.append(one)
        if len(made) == number:
            return made
    raise AssertionError("backgrounds have no end")


def recall(made: list[tuple[np.ndarray, Annotation]], log: Any, again: bool = False) -> dict[str, Any]:
    """Annotations found, by size, background, font and style; with `again` also what remains after blanking."""
    by: dict[str, dict[str, list[bool]]] = {k: defaultdict(list) for k in ("cap_height", "background", "font", "style")}
    found: list[bool] = []
    any_box: list[bool] = []
    left: list[bool] = []
    for pixels, note in made:
        boxes = find_text(pixels)
        hit = covered(note.box, boxes, "text") >= 0.5
        found.append(hit)
        any_box.append(any(box.kind == "text" for box in boxes))
        size = next(name for name, limit in SIZES if note.cap_height < limit)
        for key, value in zip(by, (size, note.background, note.font, note.style), strict=True):
            by[key][value].append(hit)
        if not hit:
            log.write(json.dumps({"missed": vars(note), "boxes": [vars(box) for box in boxes]}) + "\n")
        elif again:
            rest = find_text(blank(pixels, [box for box in boxes if box.kind == "text"]))
            left.append(covered(note.box, rest, "text") > 0)
            if left[-1]:
                log.write(json.dumps({"left": vars(note), "boxes": [vars(box) for box in rest]}) + "\n")
        log.flush()
    scores: dict[str, Any] = {"found": share(sum(found), len(found)), "image_alarmed": share(sum(any_box), len(found))}
    if again:
        scores["readable_after_blanking"] = share(sum(left), len(left))
    for key, groups in by.items():
        scores[f"by_{key}"] = {name: share(sum(hits), len(hits)) for name, hits in sorted(groups.items())}
    return scores


def markers(made: list[tuple[np.ndarray, Annotation]]) -> dict[str, Any]:
    kinds = Counter()
    for pixels, note in made:
        boxes = find_text(pixels)
        kinds[next((k for k in ("marker", "text") if covered(note.box, boxes, k) >= 0.5), "none")] += 1
    return {kind: share(kinds[kind], len(made)) for kind in ("marker", "text", "none")}


def alarms(shared: Path, log: Any) -> dict[str, Any]:
    """The hand-labeled images: what was found in those that carry text, a marker, or nothing."""
    with open(BESIDE / "pixel_text_labels.csv", newline="") as file:
        labels = {row["sha256_16"]: row["label"] for row in csv.DictReader(file)}
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    by_folder: dict[str, list[bool]] = defaultdict(list)
    for folder in PHOTOGRAPHS:
        for path in files_of(shared, folder, "test"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            if digest not in labels:
                continue
            kinds = {box.kind for box in find_text(read(path))}
            kind = "text" if "text" in kinds else "marker" if kinds else "none"
            seen[labels[digest]][kind] += 1
            if labels[digest] != "text":
                by_folder[folder].append(kind == "text")
                if kind == "text" or (kind == "marker" and labels[digest] == "none"):
                    log.write(json.dumps({"alarm": digest, "folder": folder, "as": kind}) + "\n")
    innocent = seen["none"] + seen["marker"]
    return {
        "false_alarms": share(innocent["text"], innocent.total()),
        "by_label": {label: dict(counts) for label, counts in seen.items()},
        "by_folder": {folder: share(sum(hits), len(hits)) for folder, hits in by_folder.items()},
    }


def speed() -> dict[str, Any]:
    """Milliseconds of processor time an image, the median of five, on one thread; and the peak memory.

    Procedural radiographs, 12 bits (two views) and 8 bits.
    """
    times: dict[str, Any] = {}
    shown = {size: phantom(size, 1) for size in (128, 512, 1024, 2000)}
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak memory that drawing took
    for size, deep in shown.items():
        for name, pixels in (("12 bits", deep), ("8 bits", (deep >> 4).astype(np.uint8))):
            taken = []
            for _ in range(5):
                start = time.process_time()
                find_text(pixels)
                taken.append(1000 * (time.process_time() - start))
            times[f"{size} px, {name}"] = round(statistics.median(taken), 1)
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    times["peak memory of the process, MiB"] = int(peak.split()[1]) // 1024
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="speed,alarms,recall,turned,markers")
    parser.add_argument("--number", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--role", choices=("tune", "test"), default="test")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    parts = args.only.split(",")
    scores: dict[str, Any] = {}

    def some(name: str, number: int, **how: bool) -> list[tuple[np.ndarray, Annotation]]:
        return drawn(args.shared, args.fonts, args.role, f"{args.role} {name}", args.seed, number, **how)

    with open(args.out / "missed.jsonl", "a") as log:
        if "speed" in parts:
            scores["speed"] = speed()
        if "alarms" in parts:
            scores["alarms"] = alarms(args.shared, log)
        if "recall" in parts:
            scores["recall"] = recall(some("text", args.number), log, again=True)
        if "turned" in parts:
            scores["turned"] = recall(some("turned", args.number // 10, turned=True), log)
        if "markers" in parts:
            scores["markers"] = markers(some("markers", args.number // 5, markers=True))
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    print(json.dumps(scores, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
