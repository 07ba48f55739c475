"""Five whole studies by simulated readers of known skill, through the real server, the owner's page and the command.

    python benchmarks/study_simulated.py --out runs/study-simulated

Each study: readers grade, then tell real from synthetic, by HTTP as a browser does; the owner closes it; `synthcohort
study analyze` reads it. Grades are the label with probability q, else any grade; told apart is by a normal signal of
d' and its confidence. Exit 1 unless each reader's share of right answers equals, to the last digit, what the simulation
knows it to be. Whether the interval of the readers' d' holds the true one is told: one of twenty need not.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from study_load import Reader, Server
from study_people import phantom_cohort

from synthcohort.core.seeds import rng
from synthcohort.study.backup import open_store
from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase

SKILLS = ((0.0, 0.4), (0.5, 0.4), (1.5, 0.4), (0.5, 0.8), (1.5, 0.8))  # d', q
CASES = 60  # of each origin and phase
CUTS = (0.3, 0.6, 1.0, 1.5)  # of the distance from the criterion: confidence 1 to 5


class Simulated(Reader):
    """Knows the key, and uses it as well as its skill allows."""

    def __init__(self, port: int, join: str, study: int, number: int, skill: tuple[float, float], key: dict[str, dict]):
        super().__init__(port, join, number, 0.0)
        self._skill, self._key, self._draw = skill, key, rng("simulated reader", study, number)
        self.right: dict[int, list[bool]] = {0: [], 1: []}

    def judged(self, item: str) -> dict[str, str]:
        known, (d, q) = self._key[item], self._skill
        if known["phase"] == 0:
            truth, sure = int(known["label"]), int(self._draw.integers(1, 6))
            grade = truth if self._draw.random() < q else int(self._draw.integers(0, 5))
            self.right[0].append(grade == truth)
            return {"answer": str(grade), "confidence": str(sure)}
        synthetic = known["origin"] == "synthetic"
        signal = d * synthetic + self._draw.normal() - d / 2
        self.right[1].append((signal > 0) == synthetic)
        sure = 1 + int(np.searchsorted(CUTS, abs(signal)))
        return {"answer": "synthetic" if signal > 0 else "real", "confidence": str(sure)}

    def _read(self) -> None:
        self.ask("POST", self._join)
        while True:
            status, data, _ = self.ask("GET", "/")
            page = data.decode()
            token = re.search(r'name="csrf" value="([^"]*)"', page)
            found = re.search(r'"/image/([a-z0-9]+)/a"', page)
            if status != 200 or token is None:
                raise RuntimeError(f"status {status}")
            if found is None and 'action="/step"' not in page:
                return
            if found is None:
                self.ask("POST", "/step", urlencode({"csrf": token.group(1)}))
                continue
            item = found.group(1)
            self.ask("GET", f"/image/{item}/a")
            body = {**self.judged(item), "csrf": token.group(1), "active_ms": "900"}
            status, _, _ = self.ask("POST", f"/answer/{item}", urlencode(body))
            if status != 303:
                raise RuntimeError(f"an answer got status {status}")


def key_of(study: Path) -> dict[str, dict]:
    """What only the owner may know: origin and label of every case."""
    store = open_store(study, None)
    rows = store.rows("SELECT j.item, j.phase, i.origin, i.label FROM items j JOIN images i ON i.image = j.image")
    store.close()
    return {row["item"]: row for row in rows}


def one_study(out: Path, number: int, skill: tuple[float, float], readers: int) -> dict[str, object]:
    phases = (
        Phase("grade", label="kl_grade", real=CASES, synthetic=CASES, training=0),
        Phase("origin", label="kl_grade", real=CASES, synthetic=CASES, training=0),
    )
    names = tuple(f"reader-{n}" for n in range(readers))
    real, made = (phantom_cohort(out / origin, origin, 2 * CASES, 96) for origin in ("real", "synthetic"))
    study = out / f"study-{number}-{int(time.time())}"
    create(made.path, study, Design(phases=phases, readers=names), real.path, None)
    links = dict(line.split("\t") for line in (study / "invitations.txt").read_text().splitlines())
    key, server = key_of(study), Server(study, None)
    try:
        people = [Simulated(server.port, links[name], number, n, skill, key) for n, name in enumerate(names)]
        for reader in people:
            reader.start()
        for reader in people:
            reader.join()
        owner = Reader(server.port, links["owner"], 0, 0.0)
        owner.ask("POST", links["owner"])
        token = re.search(r'name="csrf" value="([^"]*)"', owner.ask("GET", "/overview")[1].decode())
        assert token
        owner.ask("POST", "/overview/close", urlencode({"csrf": token.group(1), "sure": "yes"}))
    finally:
        server.stop()
    command = [sys.executable, "-m", "synthcohort", "study", "analyze", str(study), "--out", str(study / "results")]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads((study / "results" / "study.json").read_text())
    wrong = [error for reader in people for error in reader.errors]
    for phase, figures in enumerate(part["figures"] for part in found["phases"]):
        shares = {f["reader"]: f["value"] for f in figures if f["name"] == "accuracy" and f["subset"] is None}
        for name, reader in zip(names, people, strict=True):
            if abs(shares[name] - float(np.mean(reader.right[phase]))) > 1e-9:
                wrong.append(f"part {phase + 1}, {name}: {shares[name]}, simulated {np.mean(reader.right[phase])}")
    d = next(f for f in found["phases"][1]["figures"] if f["name"] == "d_prime" and f["reader"] is None)
    return {
        "d": skill[0], "q": skill[1], "d_found": [d["value"], d["low"], d["high"]], "wrong": wrong,
        "inside": d["low"] <= skill[0] <= d["high"], "answers": sum(len(r.right[p]) for r in people for p in (0, 1)),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--readers", type=int, default=4)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    found = [one_study(args.out, number, skill, args.readers) for number, skill in enumerate(SKILLS)]
    print(json.dumps(found, indent=1))
    return 1 if any(one["wrong"] for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
