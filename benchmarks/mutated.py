"""Damaged inputs: 5,000 mutated DICOM, PNG, NIfTI, npz and zip files; none may crash ingest, hang it or vanish.

    python benchmarks/mutated.py [--count 5000]

Each file is a small valid one with bytes flipped, cut off, inserted, repeated or overwritten, drawn from a seed. They
are read in batches by `synthcohort ingest` in a process of its own, as a user would. Counted: commands that end by a
signal or with a traceback; batches that take longer than 10 s for a file would; files that are in neither the taken
nor the refused nor the ignored ones.
"""

import argparse
import csv
import io
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

KINDS = ("dicom", "png", "nifti", "npz", "zip")
ENDING = {"dicom": ".dcm", "png": ".png", "nifti": ".nii.gz", "npz": ".npz", "zip": ".zip"}
BATCH = 125


def originals(folder: Path) -> dict[str, list[bytes]]:
    """Small valid files of each kind, several of each."""
    import gzip

    import nibabel
    import pydicom
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    from synthcohort.phantoms import write_hospital

    rng = np.random.default_rng(0)
    made: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for i, path in enumerate(sorted(write_hospital(folder / "h", 4, 3, 32, 2).rglob("*.dcm"))[:8]):
        ds = pydicom.dcmread(path)
        if i % 4 and not ds.file_meta.TransferSyntaxUID.is_compressed:
            ds.compress((JPEG2000Lossless, JPEGLSLossless, RLELossless)[i % 4 - 1], generate_instance_uid=False)
        data = io.BytesIO()
        ds.save_as(data)
        made["dicom"].append(data.getvalue())
    for dtype, shape in ((np.uint8, (24, 20)), (np.uint16, (24, 20)), (np.uint8, (24, 20, 3))):
        data = io.BytesIO()
        PIL.Image.fromarray(rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)).save(data, "PNG")
        made["png"].append(data.getvalue())
    for dtype, shape in ((np.int16, (12, 10, 6)), (np.float32, (8, 8, 4, 3)), (np.uint8, (10, 9, 5))):
        image = nibabel.Nifti1Image((rng.random(shape) * 200).astype(dtype), np.diag([1.0, 1.2, 3.0, 1.0]))
        made["nifti"].append(gzip.compress(image.to_bytes()))
    for split in (("train", "val", "test"), ("train",)):
        data = io.BytesIO()
        arrays = {f"{name}_images": rng.integers(0, 255, (6, 16, 16)).astype(np.uint8) for name in split}
        arrays |= {f"{name}_labels": rng.integers(0, 3, (6, 1)) for name in split}
        (np.savez_compressed if len(split) > 1 else np.savez)(data, **arrays)
        made["npz"].append(data.getvalue())
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", method) as archive:
            for i, content in enumerate(made["png"] + made["dicom"][:2]):
                archive.writestr(f"inner/{i}.{'png' if i < 3 else 'dcm'}", content)
        made["zip"].append(data.getvalue())
    return made


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes of random kinds and places."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, max(1, len(changed))))
        length = int(rng.integers(1, 1 + min(64, max(1, len(changed) - place))))
        kind = rng.integers(0, 6)
        if kind == 0:
            changed[place : place + 1] = bytes([int(rng.integers(0, 256))])
        elif kind == 1:
            changed[place : place + length] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            changed[place:place] = rng.integers(0, 256, length, dtype=np.uint8).tobytes()
        elif kind == 4:
            changed[place:place] = changed[place : place + length]
        else:
            changed[place : place + min(4, length)] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")[
                place % 3
            ][: min(4, length)]
    return bytes(changed)


def batch(folder: Path, kind: str, number: int, made: list[bytes]) -> dict[str, object]:
    """Writes and ingests one batch; what went wrong, in counts."""
    source, out = folder / f"{kind}{number}", folder / f"{kind}{number}.out"
    source.mkdir()
    rng = np.random.default_rng([KINDS.index(kind), number])
    names = [f"{i:04d}{ENDING[kind]}" for i in range(BATCH)]
    for i, name in enumerate(names):
        (source / name).write_bytes(mutated(made[i % len(made)], rng))
    command = [
        sys.executable, "-m", "synthcohort.cli.main", "ingest", str(source), "--out", str(out), "--debug",
        "--set", "ingest.key=seed", "--set", "ingest.pixel_text=unchecked",
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    seconds = time.monotonic() - began
    found = {"crashed": 0, "traceback": 0, "lost": 0, "taken": 0, "refused": 0, "seconds": seconds}
    if done.returncode < 0:
        found["crashed"] = 1
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)  # the same command goes on
    if done.returncode == 2 and "none of" in done.stderr:  # nothing could be taken: said in one line
        found["refused"] = BATCH
        return found
    if done.returncode:
        found["traceback"] = 1
        print(done.stderr[-2000:], file=sys.stderr)
        return found
    result = json.loads(done.stdout)
    found["taken"], found["refused"] = result["taken"], result["refused"]
    assert result["found"] == result["taken"] + result["refused"]
    found["lost"] = len(names) - len(accounted(source, out, names, kind))
    return found


def accounted(source: Path, out: Path, names: list[str], kind: str) -> set[str]:
    """Files of which an image is in the cohort or that are listed: images by their pseudonyms, the rest by name."""
    from synthcohort.core.cohort import Cohort
    from synthcohort.formats import FORMATS, ReadOptions, Source, Unreadable
    from synthcohort.ingest.archive import Archive
    from synthcohort.ingest.deidentify import Pseudonyms, seed_key

    lines = (out / "refused.csv").read_text().splitlines()[1:]
    known = {row["file"].split("/")[0] for row in csv.DictReader(lines)}
    ids, pseudonyms = set(Cohort.open(out).image_ids), Pseudonyms(seed_key(0))
    for name in set(names) - known:
        if kind == "zip":
            members = [f"{name}/{member}" for member in Archive(source / name).members]
            ours = [pseudonyms.image(member) for member in members]
        else:
            try:
                reader = FORMATS["raster" if kind == "png" else {"npz": "numpy"}.get(kind, kind)]
                parts = [item.part for item in reader(Source.of(source / name), ReadOptions())]
            except Unreadable:
                parts = []
            ours = [pseudonyms.image(f"{name}\0{part}" if part else name) for part in parts]
        if ours and all(image_id in ids for image_id in ours):
            known.add(name)
    return known & set(names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    args = parser.parse_args()
    Path("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="runs") as name:
        folder = Path(name)
        made = originals(folder)
        each = args.count // len(KINDS)
        for kind in KINDS:
            total = {"files": 0, "crashed": 0, "traceback": 0, "lost": 0, "taken": 0, "refused": 0}
            slowest = 0.0
            for number in range(-(-each // BATCH)):
                found = batch(folder, kind, number, made[kind])
                total["files"] += BATCH
                slowest = max(slowest, float(str(found.pop("seconds"))))
                for key, value in found.items():
                    total[key] += int(str(value))
            print(json.dumps({"kind": kind, **total, "slowest_batch_s": round(slowest, 1)}), flush=True)


if __name__ == "__main__":
    main()
