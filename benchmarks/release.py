"""Speed and memory of release and verify, and what verify finds, on a cohort of two modalities made by code.

python benchmarks/release.py --images 5000 --flips 1000 2>release.log      prints one JSON object; about 20 minutes
of one core. Exit 1 when a bundle does not verify, a change is missed, or a file is refused by a reader.

Half of the images are 8-bit knee radiographs of 128 x 128, half 16-bit CT slices in volumes of 50. Every single-byte
change (random file, random place, random value) has to be found; then each DICOM file is opened by pydicom and
SimpleITK and judged by dciodvfy, where installed. Rates are also given by processor time, which other programs on the
machine change less. Memory is the largest that is the process's own while it makes a bundle of a tenth of the images
and of all: their difference is what grows with the cohort. The peak (ru_maxrss) also counts pages of the cohort's
mapped shards.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from synthcohort.core.cohort import Cohort, LabelColumn
from synthcohort.core.cohort_writer import CohortWriter
from synthcohort.core.files import artifact_text, write_artifact
from synthcohort.core.policy import FAMILIES, load_policy
from synthcohort.core.seeds import rng
from synthcohort.core.signing import load_private, make_key, public_path, sign_file
from synthcohort.metrics.intervals import clopper_pearson
from synthcohort.release import release, verify
from synthcohort.release.config import ReleaseConfig

SLICES = 50
STATED = {"license": "CC0", "intended_use": "Timing.", "not_intended_for": "Anything else.", "contact": "The desk."}
KNOWN = "not a recognized standard attribute - (0x0008,0x001c)"  # dciodvfy's dictionary of 2022


def make_cohort(folder: Path, count: int) -> Cohort:
    made = {"method": "code", "model_digest": "sha256:0", "seed": 1, "config": {}, "training": {}, "count": count}
    writer = CohortWriter(folder, "timing", "synthetic", [LabelColumn("grade", "ordinal", (0, 1, 2))], made, "timing")
    smooth = rng("base").normal(size=(16, 16)).repeat(8, 0).repeat(8, 1)
    volumes: list[list[str]] = []
    for i in range(count):
        name, noise = f"synthetic-{i:06d}", rng("image", i).normal(size=(128, 128))
        if i % 2:
            pixels = np.clip(110 + 40 * smooth + 8 * noise, 0, 255).astype(np.uint8)
            record: dict[str, Any] = {"modality": "DX", "body_part": "KNEE", "laterality": "LR"[i // 2 % 2]}
        else:
            pixels = np.clip(400 * smooth + 60 * noise, -1024, 3000).astype(np.int16)
            record = {"modality": "CT", "body_part": "CHEST", "view": "axial", "pixel_spacing_mm": [0.7, 0.7],
                      "window_center": 40, "window_width": 400}  # fmt: skip
            if i // 2 % SLICES == 0:
                volumes.append([])
            volumes[-1].append(name)
        writer.add(pixels, {"image_id": name, "grade": i % 3, "seed": i, **record})
    affine = [[0, 0, 0.7, 0], [0, 0.7, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1]]
    listed = [{"image_ids": names, "affine_lps": affine} for names in volumes]
    text = artifact_text("volumes", 1, {"volumes": listed})
    return writer.finish(extra_files={"volumes.json": text}, screened=True)


def write_evidence(folder: Path, cohort: Cohort, key: Path) -> None:
    base = {"title": "A figure", "group": "privacy", "family": "copies", "encoder": None, "subset": None, "floor": None,
            "control": None, "confidence": 0.95, "better": "lower", "good": "", "computed_on": "", "n_real": 1,
            "n_synthetic": len(cohort), "split": None, "verdict": "pass"}  # fmt: skip
    scores = {
        "real": {"digest": "sha256:1", "name": "none", "images": {"train": 1}, "patients": {"train": 1}},
        "synthetic": {"digest": cohort.digest, "name": "timing", "images": len(cohort), "screened": True,
                      "provenance": cohort.info["provenance"]},
        "scores": [{**base, "name": "copy_rate", "value": 0.0, "low": 0.0, "high": 0.001},
                   {**base, "name": "copy_sensitivity", "value": 1.0, "low": 0.97, "high": 1.0}],
        "families": {name: {"verdict": "pass", "reason": "made by code", "figures": {}} for name in FAMILIES},
        "verdict": "pass", "failed": [], "inconclusive": [], "policy": load_policy().summary(), "settings": {},
    }  # fmt: skip
    write_artifact(folder / "scores.json", "scores", 1, scores)
    sign_file(folder / "scores.json", load_private(key))


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


class OwnMemory:
    """The largest memory of the process's own while in the block, in MiB: without pages of files that are mapped, which
    the system takes back when it needs them. 0 where /proc does not tell."""

    def __enter__(self) -> "OwnMemory":
        self.peak, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        status = Path("/proc/self/status")
        while status.exists() and not self._ended.wait(0.05):
            line = next(text for text in status.read_text().splitlines() if text.startswith("RssAnon"))
            self.peak = max(self.peak, int(line.split()[1]) / 1024)


def flips(bundle: Path, public: Path, count: int) -> dict[str, Any]:
    """Random single-byte changes, each undone; verify must name the file."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    random, missed, kinds = rng("flips"), list[list[Any]](), Counter[str]()
    for _ in range(count):
        path = files[int(random.integers(len(files)))]
        data = bytearray(path.read_bytes())
        place = int(random.integers(len(data)))
        before = bytes(data)
        data[place] ^= int(random.integers(1, 256))
        path.write_bytes(data)
        result = verify(bundle, public)
        if result["ok"] or not any(path.name in problem for problem in result["problems"]):
            missed.append([path.relative_to(bundle).as_posix(), place])
        kinds[path.relative_to(bundle).parts[0] if path.parent != bundle else path.name] += 1
        path.write_bytes(before)
    found = count - len(missed)
    low, high = clopper_pearson(found, count, 0.95)
    return {"found": found, "of": count, "low": low, "high": high, "missed": missed, "in": dict(kinds.most_common()),
            "whole_again": verify(bundle, public)["ok"]}  # fmt: skip


def readers(paths: list[Path]) -> dict[str, Any]:
    """How many files each reader opens, and the validator passes."""
    import SimpleITK

    opened = sum(pydicom.dcmread(path).pixel_array.size > 0 for path in paths)
    itk = sum(SimpleITK.ReadImage(str(path)).GetNumberOfPixels() > 0 for path in paths)
    result: dict[str, Any] = {"files": len(paths), "pydicom": int(opened), "simpleitk": int(itk)}
    if shutil.which("dciodvfy"):
        result["dciodvfy"] = sum(not list(errors(path)) for path in paths)
    return result


def orthanc(bundle: Path, folder: Path) -> dict[str, Any]:
    """The whole bundle sent to an Orthanc of its own by C-STORE; how many images it then holds, and says are those."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
    import pacs

    from synthcohort.release.push import PushConfig, push

    if problem := pacs.missing():
        return {"not_run": problem}
    known = {str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
             for path in bundle.rglob("*.dcm")}  # fmt: skip
    with pacs.pacs(folder) as server:
        began = time.monotonic()
        sent = push(bundle, f"pacs://{server.aet}@127.0.0.1:{server.dicom_port}", PushConfig(title="SENDER"))
        seconds = time.monotonic() - began
        held = {item["MainDicomTags"]["SOPInstanceUID"] for item in server.ask("GET", "/instances?expand")}
    return {**sent, "of": len(known), "held": len(held & known), "others": len(held - known),
            "images_per_s": round(len(known) / seconds, 1)}  # fmt: skip


def errors(path: Path) -> Iterator[str]:
    found = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    for line in (found.stdout + found.stderr).splitlines():
        if line.startswith("Error") and KNOWN not in line:
            yield line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--flip-images", type=int, default=40, help="images of the bundle whose bytes are changed")
    parser.add_argument("--orthanc", action="store_true", help="send the whole bundle to an Orthanc, too")
    args = parser.parse_args()
    result: dict[str, Any] = {"images": args.images}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        key = folder / "key"
        make_key(key)
        config = ReleaseConfig(formats=("dicom", "png"), **STATED)
        for name, count in (("tenth", max(20, args.images // 10)), ("whole", args.images)):
            cohort = make_cohort(folder / name / "cohort", count)
            write_evidence(folder / name / "evidence", cohort, key)
            cohort = None  # type: ignore[assignment]
            before, began, busy = peak_mib(), time.monotonic(), time.process_time()
            bundle = folder / name / "bundle"
            with OwnMemory() as own:
                release(folder / name / "cohort", folder / name / "evidence", bundle, config, key=key)
            made, made_busy = time.monotonic(), time.process_time()
            ok = verify(bundle, public_path(key))["ok"]
            result[name] = {
                "images": count, "verified": ok, "release_images_per_s": round(count / (made - began), 1),
                "release_images_per_cpu_s": round(count / (made_busy - busy), 1),
                "verify_images_per_s": round(count / (time.monotonic() - made), 1),
                "verify_images_per_cpu_s": round(count / (time.process_time() - made_busy), 1),
                "own_mib": round(own.peak, 1),
                "peak_mib_before": before,
                "peak_mib": peak_mib(),
            }  # fmt: skip
        result["readers"] = readers(sorted((folder / "whole" / "bundle").rglob("*.dcm")))
        if args.orthanc:
            result["orthanc"] = orthanc(folder / "whole" / "bundle", folder / "orthanc")
        if args.flips:
            cohort = make_cohort(folder / "few" / "cohort", args.flip_images)
            write_evidence(folder / "few" / "evidence", cohort, key)
            release(cohort.path, folder / "few" / "evidence", folder / "few" / "bundle", config, key=key)
            result["flips"] = flips(folder / "few" / "bundle", public_path(key), args.flips)
    json.dump(result, sys.stdout, indent=1)
    print()
    read = result["readers"]
    whole = all(result[name]["verified"] for name in ("tenth", "whole")) and len(set(read.values())) == 1
    changes = result.get("flips", {"missed": [], "whole_again": True})
    archive = result.get("orthanc", {"held": args.images, "others": 0})
    whole = whole and (archive.get("held"), archive.get("others")) == (args.images, 0)
    return 0 if whole and not changes["missed"] and changes["whole_again"] else 1


if __name__ == "__main__":
    sys.exit(main())
