"""Looks over the machine before a user loses an afternoon to it."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

# package -> why it is needed; checked by importing in a process of its own, since a broken one can take Python down
NEEDED = {
    "numpy": "arrays",
    "scipy": "statistics",
    "pyarrow": "cohort tables",
    "PIL": "PNG and JPEG",
    "pydicom": "DICOM",
    "gdcm": "compressed DICOM (JPEG, JPEG 2000)",
    "jpeg_ls": "JPEG-LS DICOM",
    "openjpeg": "JPEG 2000 DICOM",
    "torch": "models",
    "safetensors": "weights",
    "efficientnet_lite_pytorch": "the packaged encoder",
    "jinja2": "reports",
    "rich": "progress",
}
MINIMUM_DISK_GIB = 5.0
MINIMUM_MEMORY_GIB = 4.0


def finding(state: str, what: str, found: str, remedy: str = "") -> dict[str, Any]:
    return {"state": state, "what": what, "found": found, "remedy": remedy}


def examine(out: Path) -> list[dict[str, Any]]:
    """Every check in order; each finding has state (ok, note, problem), what, found and remedy."""
    return [_python(), *_packages(), _torchvision(), *_threads(), _accelerator(), _disk(out), _memory()]


def _python() -> dict[str, Any]:
    version = ".".join(map(str, sys.version_info[:3]))
    return finding("ok", "Python", version)


def _try(code: str) -> tuple[bool, str]:
    """Runs a line in a fresh interpreter; returns whether it worked and its last line."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return False, "no answer within 2 minutes"
    text = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return done.returncode == 0, text[-1] if text else ""


def _packages() -> list[dict[str, Any]]:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    present = [name for name in NEEDED if name not in missing]
    findings = [
        finding(
            "problem",
            name,
            f"is missing (needed for {NEEDED[name]})",
            "run make setup, or pip install -c constraints.txt -e .",
        )
        for name in missing
    ]
    worked, _ = _try("; ".join(f"import {name}" for name in present))
    if worked:
        findings.append(finding("ok", "packages", f"{len(present)} of {len(NEEDED)} import"))
        return findings
    for name in present:
        worked, last = _try(f"import {name}")
        if not worked:
            findings.append(
                finding("problem", name, f"is installed and does not import ({last})", "install it anew: make setup")
            )
    return findings


def _torchvision() -> dict[str, Any]:
    """A torchvision of another build than torch breaks the import of whatever looks for it; we need none."""
    if importlib.util.find_spec("torchvision") is None:
        return finding("ok", "torchvision", "not installed, and not needed")
    worked, last = _try("import torchvision")
    if worked:
        return finding("note", "torchvision", f"{importlib.metadata.version('torchvision')} imports; it is not needed")
    return finding(
        "problem",
        "torchvision",
        f"is installed and does not import ({last})",
        "pip uninstall torchvision: it is not needed here",
    )


def _threads() -> list[dict[str, Any]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    findings = [
        finding(
            "ok" if cores > 1 else "note",
            "processor cores",
            str(cores),
            "" if cores > 1 else "training will be slow on one core",
        )
    ]
    if asked.isdigit() and int(asked) > cores:
        findings.append(
            finding(
                "problem",
                "OMP_NUM_THREADS",
                f"{asked} threads on {cores} cores",
                f"set it to {cores} or unset it: too many threads run many times slower",
            )
        )
    elif asked.isdigit() and int(asked) < cores:
        findings.append(
            finding(
                "note",
                "OMP_NUM_THREADS",
                f"{asked} of {cores} cores",
                "unset it unless several runs share this machine",
            )
        )
    load = os.getloadavg()[0]
    if load > cores + 0.5:
        findings.append(
            finding(
                "note",
                "load",
                f"{load:.1f} on {cores} cores",
                "other programs are busy; two trainings side by side crawl",
            )
        )
    return findings


def _accelerator() -> dict[str, Any]:
    worked, last = _try("import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')")
    if worked and last:
        return finding("ok", "GPU", last)
    return finding("note", "GPU", "none", "everything works without one; 64 px studies take under an hour on 2 cores")


def _disk(out: Path) -> dict[str, Any]:
    folder = out.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        return finding("problem", "output folder", f"{out} cannot be written", "choose another --out")
    if free < MINIMUM_DISK_GIB:
        return finding(
            "problem", "free disk", f"{free:.1f} GiB", f"free up to {MINIMUM_DISK_GIB:.0f} GiB or choose another --out"
        )
    return finding("ok", "free disk", f"{free:.0f} GiB")


def _memory() -> dict[str, Any]:
    try:
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else []
        for line in lines:
            if line.startswith("MemAvailable:"):
                available = int(line.split()[1]) * 1024
    except (ValueError, OSError):
        return finding("note", "memory", "cannot be read here")
    gib = available / 2**30
    if gib < MINIMUM_MEMORY_GIB:
        return finding(
            "problem",
            "free memory",
            f"{gib:.1f} GiB",
            f"close programs: a 64 px study wants {MINIMUM_MEMORY_GIB:.0f} GiB",
        )
    return finding("ok", "free memory", f"{gib:.0f} GiB")
