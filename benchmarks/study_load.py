"""Fifty readers at once on a real server: how long an answer takes, and whether one is lost when the server is killed.

Protocol: --readers readers answer all their cases, each in a thread of its own, page, image and answer by turns as a
browser does, with --pause seconds (one) to look at a case: faster than anybody reads; 0 is as fast as they can.
--kills times, at even steps, the server is killed (SIGKILL) and started again; readers wait and go on. Then every
answer that was acknowledged (the redirect after it arrived) must be in the database with the value that was sent,
once. Times of answers (POST to redirect) are printed, those around the kill left out.
Traffic goes to 127.0.0.1 alone and ends with the cases.

    python benchmarks/study_load.py --out runs/study-load [--readers 50] [--cases 20] [--postgres | --database URL]
"""

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from study_cluster import cluster
from study_people import phantom_cohort

from synthcohort.study.backup import open_store
from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Server:
    """The command line's own server, which can be killed; what it says goes to `log`."""

    def __init__(self, study: Path, database: str | None, log: Path | None = None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._command = [sys.executable, "-m", "synthcohort", "study", "serve", str(study), "--port", str(self.port)]
        self._command += ["--database", database] if database else []
        self._log = log
        self.start()

    def start(self) -> None:
        with open(self._log or "/dev/null", "ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log, stdout=log)
        for _ in range(1200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server does not answer")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


class Reader(threading.Thread):
    """A browser with one connection; it asks again when the server is away."""

    def __init__(self, port: int, join: str, number: int, pause: float):
        super().__init__()
        self._port, self._join, self._number, self._pause = port, join, number, pause
        self._connection: http.client.HTTPConnection | None = None
        self._cookie = ""
        self.sent: dict[str, dict[str, str]] = {}
        self.times: list[tuple[float, float]] = []
        self.errors: list[str] = []

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, bytes, str]:
        for _ in range(300):
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                headers = {"Cookie": self._cookie, **(FORM if method == "POST" else {})}
                self._connection.request(method, path, body if method == "POST" else None, headers)
                answer = self._connection.getresponse()
                data = answer.read()
                if cookie := answer.getheader("Set-Cookie"):
                    self._cookie = cookie.partition(";")[0]
                if answer.status == 429:
                    time.sleep(1)
                    continue
                return answer.status, data, answer.getheader("Location") or ""
            except (OSError, http.client.HTTPException):
                self._connection = None
                time.sleep(0.2)
        raise RuntimeError("the server stayed away")

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:  # a thread's error must not vanish
            self.errors.append(f"{type(error).__name__}: {error}")

    def _read(self) -> None:
        self.ask("POST", self._join)
        while True:
            status, page, _ = self.ask("GET", "/")
            text = page.decode()
            token = re.search(r'name="csrf" value="([^"]*)"', text)
            if status != 200 or token is None:
                self.errors.append(f"status {status}")
                return
            found = re.search(r'data-image="/image/([a-z0-9]+)/a"', text)
            if found is None:
                if 'action="/step"' not in text:
                    return
                self.ask("POST", "/step", urlencode({"csrf": token.group(1)}))
                continue
            item = found.group(1)
            self.ask("GET", f"/image/{item}/a")
            time.sleep(self._pause)
            body = {"answer": str((self._number + len(self.sent)) % 5), "confidence": str(1 + len(self.sent) % 5)}
            began = time.perf_counter()
            status, _, _ = self.ask(
                "POST",
                f"/answer/{item}",
                urlencode({**body, "csrf": token.group(1), "active_ms": "9"}),
            )
            self.times.append((time.time(), time.perf_counter() - began))
            if status != 303:
                self.errors.append(f"answer status {status}")
                return
            self.sent[item] = body


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds that a reader looks at a case")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--database", help="an empty PostgreSQL database")
    parser.add_argument("--postgres", action="store_true", help="start a PostgreSQL for the run")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.postgres:
        return measure(args)
    with cluster(("load",)) as (args.database,):
        return measure(args)


def measure(args: argparse.Namespace) -> int:
    """Serves a new study, reads it, kills the server in the middle, and looks for every acknowledged answer."""
    each = args.cases // 2
    names = tuple(f"reader-{i}" for i in range(args.readers))
    design = Design(phases=(Phase("grade", label="kl_grade", real=each, synthetic=each, training=0),), readers=names)
    real = phantom_cohort(args.out / "real", "real", 60, args.size)
    made = phantom_cohort(args.out / "synthetic", "synthetic", 60, args.size)
    study = args.out / f"study-{int(time.time())}"
    create(made.path, study, design, real.path, args.database)
    links = dict(line.split("\t") for line in (study / "invitations.txt").read_text().splitlines())
    server = Server(study, args.database)
    readers = [Reader(server.port, links[name], i, args.pause) for i, name in enumerate(names)]
    began = time.time()
    for reader in readers:
        reader.start()
    away: list[tuple[float, float]] = []  # from a second before each kill to five after the new start
    while any(reader.is_alive() for reader in readers):
        time.sleep(0.05)
        share = (len(away) + 1) / (args.kills + 1)
        if len(away) < args.kills and sum(len(r.sent) for r in readers) >= share * args.readers * args.cases:
            killed = time.time()
            server.kill()
            server.start()
            away.append((killed - 1, time.time() + 5))
    took = time.time() - began
    server.stop()
    store = open_store(study, args.database)
    stored = {row["item"]: json.loads(row["body"]) for row in store.rows("SELECT item, body FROM answers")}
    store.close()
    sent = {item: body for reader in readers for item, body in reader.sent.items()}
    lost = sum(stored.get(item) != body for item, body in sent.items())
    times = [found for reader in readers for found in reader.times]
    calm = [took for at, took in times if not any(first < at < last for first, last in away)]
    result = {
        "readers": args.readers, "acknowledged": len(sent), "stored": len(stored), "lost_or_changed": lost,
        "errors": [error for reader in readers for error in reader.errors][:5],
        "answer_ms": {f"p{q}": round(1000 * float(np.percentile(calm, q)), 1) for q in (50, 95, 99)},
        "answers_timed": len(calm), "seconds": round(took, 1), "kills": len(away),
        "load_average": [round(load, 1) for load in os.getloadavg()], "cores": os.cpu_count(),
        "database": "postgresql" if args.database else "sqlite",
    }  # fmt: skip
    print(json.dumps(result))
    whole = len(sent) == args.readers * args.cases and len(away) == args.kills
    return 1 if lost or result["errors"] or not whole else 0


if __name__ == "__main__":
    sys.exit(main())
