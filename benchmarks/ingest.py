"""Speed and memory of ingest: against a plain single-process loop, and against decoding alone (the floor).

    python benchmarks/ingest.py                 speed on DICOM and PNG
    python benchmarks/ingest.py --memory        peak memory at 1,000, 10,000 and 50,000 images

Sources are procedural: 512 x 512 12-bit radiographs as uncompressed and as JPEG 2000 DICOM, 512 x 512 8-bit PNG. The
plain loop is what a user would write: read, decode, resize, collect, save, one table. The floor decodes the same files
with the same readers in as many processes and throws the pixels away. Ours is the command line. Every way runs in a
fresh process, in turn, the files in the page cache and all modules compiled, as after an installation with pip (a round
before the first sees to both and does not count); the median of three rounds counts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import PIL.Image

SIZE, TARGET = 512, 128
KINDS = ("dicom", "jpeg2000", "png")


def picture(i: int, shape: tuple[int, int], top: int) -> np.ndarray:
    """A smooth, noisy image that differs from all others; compresses about as a radiograph does."""
    rng = np.random.default_rng(i)
    coarse = PIL.Image.fromarray(rng.random((9, 9)).astype(np.float32)).resize(
        shape[::-1], PIL.Image.Resampling.BICUBIC
    )
    image = np.asarray(coarse) * 0.9 + rng.random(shape) * 0.02
    return np.clip(image * top, 0, top)


def make(folder: Path, kind: str, count: int, size: int = SIZE) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, JPEG2000Lossless

    (folder / "images").mkdir(parents=True)
    rows = ["file,patient_id,grade"]
    for i in range(count):
        name = f"images/{i:06d}.{'png' if kind == 'png' else 'dcm'}"
        rows.append(f"{name},P{i // 2},{i % 5}")
        if kind == "png":
            pixels = picture(i, (size, size), 255).astype(np.uint8)
            PIL.Image.fromarray(pixels).save(folder / name, compress_level=1)
            continue
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        meta.MediaStorageSOPInstanceUID = f"2.25.{i + 1}"
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        ds.PatientID, ds.PatientSex, ds.PatientAge, ds.Modality = f"P{i // 2}", "FM"[i % 2], "060Y", "DX"
        ds.BodyPartExamined, ds.ViewPosition, ds.BurnedInAnnotation = "KNEE", "AP", "NO"
        ds.Rows = ds.Columns = size
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.PixelSpacing = ["0.2", "0.2"]
        ds.PixelData = picture(i, (size, size), 4095).astype("<u2").tobytes()
        if kind == "jpeg2000":
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        ds.save_as(folder / name, enforce_file_format=True)
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


def plain(source: Path, out: Path) -> None:
    """The loop that a user would write."""
    import csv

    import pydicom

    images, records = [], []
    with open(source / "metadata.csv", newline="") as file:
        for row in csv.DictReader(file):
            path = source / row["file"]
            if path.suffix == ".png":
                pixels = np.asarray(PIL.Image.open(path))
            else:
                ds = pydicom.dcmread(path)
                pixels = ds.pixel_array
                row |= {"sex": str(ds.PatientSex), "age": str(ds.PatientAge), "view": str(ds.ViewPosition)}
            scaled = PIL.Image.fromarray(pixels.astype(np.float32)).resize(
                (TARGET, TARGET), PIL.Image.Resampling.BICUBIC
            )
            images.append(np.asarray(scaled).round().astype(pixels.dtype))
            records.append(row)
    out.mkdir(parents=True)
    np.save(out / "images.npy", np.stack(images))
    with open(out / "records.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def decode_only(paths: list[str]) -> int:
    """Reads and decodes, with the package's readers, and keeps nothing."""
    from synthcohort.formats import FORMATS
    from synthcohort.formats.image import ReadOptions, Source

    kind = "raster" if paths[0].endswith(".png") else "dicom"
    return sum(1 for path in paths for _ in FORMATS[kind](Source.of(Path(path)), ReadOptions()))


def floor(source: Path, workers: int) -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    paths = sorted(str(path) for path in (source / "images").iterdir())
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = [paths[i : i + 64] for i in range(0, len(paths), 64)]
        assert sum(pool.map(decode_only, parts)) == len(paths)


def ours(source: Path, out: Path, workers: int) -> None:
    from synthcohort.cli.main import main

    settings = {"size": TARGET, "key": "seed", "workers": workers, "pixel_text": "unchecked"}
    asked = [word for name, value in settings.items() for word in ("--set", f"ingest.{name}={value}")]
    assert main(["ingest", str(source), "--out", str(out), *asked]) == 0
    made = json.loads((out / "cohort.json").read_text())["provenance"]
    assert made["found"] == made["taken"], made["refused_because"]


def measured(way: str, source: Path, out: Path, workers: int) -> tuple[float, float]:
    """Seconds and peak MiB of the process tree's largest process, in a fresh process."""
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        __file__,
        "--way",
        way,
        "--source",
        str(source),
        "--out",
        str(out),
        "--jobs",
        str(workers),
    ]
    compiled = {"PYTHONPYCACHEPREFIX": str(out.with_name("compiled").resolve()), "PYTHONDONTWRITEBYTECODE": ""}
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | compiled)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, tree_mib(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{way} ended with {process.returncode}")
    return time.monotonic() - began, peak


def tree_mib(pid: int) -> float:
    """Memory of a process and its children that no other process shares (proportional set size), MiB."""
    total, todo = 0.0, [pid]
    while todo:
        own = todo.pop()
        try:
            for line in Path(f"/proc/{own}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon", "Pss_Shmem")):
                    total += int(line.split()[1]) / 1024
            for task in Path(f"/proc/{own}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total


def speed(folder: Path, kinds: list[str], count: int, rounds: int, workers: int) -> None:
    for kind in kinds:
        source = folder / kind
        make(source, kind, count)
        times: dict[str, list[float]] = {"plain": [], "floor": [], "ours": []}
        for number in range(rounds + 1):
            for way, seconds in times.items():
                took = measured(way, source, folder / "out", workers)[0]
                if number:  # the first fills the caches
                    seconds.append(took)
        rate = {way: count / statistics.median(seconds) for way, seconds in times.items()}
        line = {
            "source": kind, "images": count, "processes": workers,
            **{f"{way}_images_per_second": round(value, 1) for way, value in rate.items()},
            "times_the_loop": round(rate["ours"] / rate["plain"], 2),
            "share_of_the_floor": round(rate["ours"] / rate["floor"], 2),
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        shutil.rmtree(source)


def memory(folder: Path, counts: list[int], workers: int) -> None:
    for count in counts:
        source = folder / f"png{count}"
        make(source, "png", count, size=64)
        seconds, peak = measured("ours", source, folder / "out", workers)
        print(json.dumps({"images": count, "seconds": round(seconds, 1), "peak_mib": round(peak)}), flush=True)
        shutil.rmtree(source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes that decode")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--way", choices=("plain", "floor", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way == "plain":
        plain(args.source, args.out)
    elif args.way == "floor":
        floor(args.source, args.jobs)
    elif args.way == "ours":
        ours(args.source, args.out, args.jobs)
    else:
        with tempfile.TemporaryDirectory(dir="runs") as folder:
            if args.memory:
                memory(Path(folder), [1_000, 10_000, 50_000], args.jobs)
            else:
                speed(Path(folder), args.kinds, args.count, args.rounds, args.jobs)


if __name__ == "__main__":
    main()
