"""Can a program tell real from synthetic by anything that a browser receives except the pixels?

Protocol: one reader reads --cases images of a real study on a real server, half of them synthetic. For each case are
noted: the times that page, image and answer took; sizes and headers of page and image; the letters of the address; the
place in the order, and the kind of the case before it. Half of the cases teach gradient boosting, the other half is
scored once; then the halves change places. The area under the ROC curve over all cases has its interval by DeLong's
method (the jackknife over cases, logit scale). Wanted: an upper bound of at most 0.55 with 5,000 cases or more.
Traffic goes to 127.0.0.1 alone.

    python benchmarks/study_leak.py --out runs/study-leak [--cases 5000]
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from sklearn.ensemble import HistGradientBoostingClassifier
from study_load import Reader, Server
from study_people import phantom_cohort

from synthcohort.metrics.readers_roc import area_score
from synthcohort.study.backup import open_store
from synthcohort.study.create import create
from synthcohort.study.design import Design, Phase


class Spy(Reader):
    """A reader who notes everything but pixels."""

    def __init__(self, port: int, join: str):
        super().__init__(port, join, 0, 0.0)
        self.noted: dict[str, list[float]] = {}

    def timed(self, path: str) -> tuple[bytes, list[float]]:
        import http.client

        began = time.perf_counter()
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        first = time.perf_counter()
        data = answer.read()
        took = time.perf_counter()
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() != "date"]
        size = sum(len(k) + len(v) for k, v in headers)
        # of headers: their number, their length, a number for their content (the date apart, which is the clock's)
        content = hash(tuple(headers)) % 9973
        return data, [first - began, took - first, len(data), len(headers), size, content]

    def read_all(self, cases: int) -> None:
        self.ask("POST", self._join)
        for _ in range(2):
            page = self.ask("GET", "/")[1].decode()
            token = re.search(r'name="csrf" value="([^"]*)"', page)
            assert token
            self.ask("POST", "/step", urlencode({"csrf": token.group(1)}))
        for number in range(cases):
            page_bytes, of_page = self.timed("/")
            text = page_bytes.decode()
            found, token = (re.search(p, text) for p in (r'"/image/([a-z0-9]+)/a"', r'name="csrf" value="([^"]*)"'))
            assert found
            assert token
            item = found.group(1)
            _, of_image = self.timed(f"/image/{item}/a")
            began = time.perf_counter()
            body = {"answer": "2", "confidence": "3", "csrf": token.group(1)}
            status, _, _ = self.ask("POST", f"/answer/{item}", urlencode(body))
            took = time.perf_counter() - began
            assert status == 303, status
            letters = [float(ord(letter)) for letter in item]
            digits = len(re.sub(r"\d+", "0", text))  # the page's length without its counters
            self.noted[item] = [*of_page, *of_image, took, number, digits, *letters]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", type=int, default=5000)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    each = args.cases // 2
    real = phantom_cohort(args.out / f"real{each}", "real", each + 10, 32)
    made = phantom_cohort(args.out / f"synthetic{each}", "synthetic", each + 10, 32)
    phase = Phase("grade", label="kl_grade", real=each, synthetic=each, training=0)
    study = args.out / f"study-{int(time.time())}"
    create(made.path, study, Design(phases=(phase,), readers=("spy",)), real.path)
    links = dict(line.split("\t") for line in (study / "invitations.txt").read_text().splitlines())
    server = Server(study, None)
    spy = Spy(server.port, links["spy"])
    began = time.time()
    spy.read_all(2 * each)
    took = time.time() - began
    server.stop()
    store = open_store(study)
    origin = {
        row["item"]: row["origin"]
        for row in store.rows("SELECT i.item, g.origin FROM items i JOIN images g ON g.image = i.image")
    }
    store.close()
    features = np.array(list(spy.noted.values()))
    truth = np.array([origin[item] == "synthetic" for item in spy.noted])
    before = np.concatenate([[0.5], truth[:-1].astype(float)])  # as if the case before had been solved
    features = np.column_stack([features, before])
    scores = np.empty(len(truth))
    halves = np.arange(len(truth)) % 2 == 0
    for taught in (halves, ~halves):
        model = HistGradientBoostingClassifier(random_state=0).fit(features[taught], truth[taught])
        scores[~taught] = model.predict_proba(features[~taught])[:, 1]
    found = area_score(truth=truth, ratings=scores)
    result = {
        "cases": len(truth), "features": features.shape[1], "auc": found.value, "low": found.low, "high": found.high,
        "sizes": sorted({int(row[8]) for row in spy.noted.values()}), "seconds": round(took, 1),
    }  # fmt: skip
    print(json.dumps(result))
    return 0 if found.high is not None and found.high <= 0.55 else 1


if __name__ == "__main__":
    sys.exit(main())
