"""Starts an Orthanc PACS with DICOMweb for tests and trials: on this machine alone, in a folder that goes with it.

python scripts/pacs.py --check            says in one line what is missing, if anything
python scripts/pacs.py --folder DICOM     starts one, stores the DICOM files of a folder in it, and waits for Ctrl-C
"""

import argparse
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTALL = "apt-get update && apt-get install -y orthanc orthanc-dicomweb"
PROGRAMS = ("/usr/sbin/Orthanc", "/usr/local/sbin/Orthanc")
PLUGINS = ("/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so")
START_SECONDS = 60.0
USER, PASSWORD = "nobody", "sesame"  # of a server that lives for minutes, on loopback


@dataclass(frozen=True)
class Pacs:
    """A running Orthanc. `url` is its DICOMweb service, `rest` its own interface."""

    http_port: int
    dicom_port: int
    aet: str = "ORTHANC"
    user: str = USER
    password: str = PASSWORD

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def url(self) -> str:
        return f"{self.rest}/dicom-web"

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """One request to Orthanc; returns its JSON."""
        request = urllib.request.Request(self.rest + path, data=body, method=method)
        login = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Accept", "application/dicom+json" if path.startswith("/dicom-web") else "application/json")
        if body is not None:
            request.add_header("Content-Type", kind)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text.strip() else None

    def know(self, name: str, aet: str, port: int) -> None:
        """Tells Orthanc of another node on this machine."""
        node = {"AET": aet, "Host": "127.0.0.1", "Port": port}
        self.ask("PUT", f"/modalities/{name}", json.dumps(node).encode())


def program() -> Path | None:
    found = shutil.which("Orthanc")
    return next((path for path in map(Path, (found, *PROGRAMS) if found else PROGRAMS) if path.is_file()), None)


def plugin() -> Path | None:
    return next((path for path in map(Path, PLUGINS) if path.exists()), None)


def missing() -> str:
    """What has to be installed, in one line; empty when nothing is missing."""
    if program() is None or plugin() is None:
        what = "Orthanc" if program() is None else "Orthanc's DICOMweb plugin"
        return f"error: {what}: is not installed; do: {INSTALL}"
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(folder: Path, http_port: int, dicom_port: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """Nobody from outside: remote requests are refused, and DICOM nodes are known by title and address."""
    return {
        "Name": "SynthCohort test",
        "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
        "Plugins": [str(plugin())], "HttpPort": http_port, "DicomPort": dicom_port, "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD},
        "DicomModalities": {"sender": ["SENDER", "127.0.0.1", 1]}, "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False, "DicomAlwaysAllowStore": False, "DicomCheckCalledAet": True,
        "UnknownSopClassAccepted": False, "OverwriteInstances": False, "HttpVerbose": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False}, **more,
    }  # fmt: skip


@contextmanager
def pacs(folder: Path, **more: Any) -> Iterator[Pacs]:
    """Runs an Orthanc with its data in `folder` for as long as the block lasts; `more` are settings of Orthanc's."""
    if problem := missing():
        raise SystemExit(problem)
    server = Pacs(free_port(), free_port())
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(configuration(folder, server.http_port, server.dicom_port, more), indent=1))
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([str(program()), str(settings)], stdout=log, stderr=log, env=environment)
        try:
            _wait_until_up(server, process, folder / "log")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)


def _wait_until_up(server: Pacs, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            server.ask("GET", "/system")
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    tail = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing in its log"]
    raise SystemExit(f"error: Orthanc: did not start; {tail[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    parser.add_argument("--folder", type=Path, help="folder of DICOM files to store first")
    args = parser.parse_args()
    if problem := missing():
        print(problem, file=sys.stderr)
        return 2
    if args.check:
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="synthcohort-pacs-") as place, pacs(Path(place)) as server:
        files = sorted(args.folder.rglob("*.dcm")) if args.folder else []
        for path in files:
            server.ask("POST", "/instances", path.read_bytes(), "application/dicom")
        logins = Path(place) / "netrc"
        logins.write_text(f"machine 127.0.0.1 login {server.user} password {server.password}\n")
        logins.chmod(0o600)
        print(f"{len(files)} files stored; DICOM: {server.aet} on 127.0.0.1 port {server.dicom_port}; Ctrl-C ends it")
        print(f"synthcohort ingest dicomweb:{server.url} --out cohort --set ingest.dicomweb.netrc={logins}", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
