import contextlib
import datetime
import http.server
import json
import re
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter

import pydicom
import pytest
import trustme

from synthcohort.core.config import apply_overrides, build, to_mapping
from synthcohort.core.errors import ArtifactError, ConfigError, InputError
from synthcohort.formats import dicom
from synthcohort.ingest import IngestConfig, inbox, ingest
from synthcohort.ingest import dicomweb as module
from synthcohort.ingest.dicomweb import fetch, remove_download
from synthcohort.ingest.dicomweb_client import checked_url
from synthcohort.ingest.dicomweb_config import DicomwebConfig, is_dicomweb
from synthcohort.ingest.dicomweb_query import is_image
from synthcohort.phantoms import write_hospital

STUDY = {"00080020": "StudyDate", "00100020": "PatientID", "00081030": "StudyDescription", "00100010": "PatientName"}
SERIES = {"00080060": "Modality", "00180015": "BodyPartExamined", "0008103E": "SeriesDescription"}
LEVELS = (("0020000D", "StudyInstanceUID"), ("0020000E", "SeriesInstanceUID"), ("00080018", "SOPInstanceUID"))


class Archive(http.server.ThreadingHTTPServer):
    """Enough of a DICOMweb server: QIDO with filters and pages, WADO of series and instances, and planned failures.

    `faults` are (pattern of the path, kind, times); a kind is a status code or the name of a way to fail.
    """

    daemon_threads = True

    def __init__(self, folder, context=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.files = {}
        self.headers = {}
        for path in sorted(folder.rglob("*.dcm")):
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            self.files[str(ds.SOPInstanceUID)] = path.read_bytes()
            self.headers[str(ds.SOPInstanceUID)] = ds
        self.faults = []
        self.requests = []
        self.most_rows = 10**9
        self.ignores_filters = self.ignores_offset = self.knows_no_syntax = False
        self.extra = []
        self.delay = 0.0
        self.authorization = None
        self.guard = threading.Lock()

    def handle_error(self, request, client_address):
        pass  # a client that goes away is part of the tests

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/dicom-web"

    def retrieved(self):
        return Counter(path for path, _, accept in self.requests if "multipart" in accept)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        archive = self.server
        path, _, query = self.path.removeprefix("/dicom-web").partition("?")
        with archive.guard:
            archive.requests.append((path, query, self.headers["Accept"]))
            kind = None
            for fault in archive.faults:
                if fault[2] > 0 and re.search(fault[0], path):
                    fault[2] -= 1
                    kind = fault[1]
                    break
        time.sleep(archive.delay)
        if archive.authorization and self.headers.get("Authorization") != archive.authorization:
            kind = 401
        if isinstance(kind, int):
            return self.answer(b"no", "text/plain", kind)
        if kind == "html":
            return self.answer(b"<html>please log in</html>", "text/html; charset=utf-8")
        if kind == "away":
            return self.answer(b"", "", 302, Location="http://127.0.0.2:1/dicom-web/studies")
        if kind == "around":
            return self.answer(b"", "", 302, Location=self.path)
        if kind == "here":
            return self.answer(b"", "", 307, Location=urllib.parse.quote(self.path, safe="/?&=%"))
        if kind == "hang up":
            self.close_connection = True
            return None
        if not path.startswith("/studies"):
            return self.answer(b"", "text/plain", 404)
        if "multipart" in self.headers["Accept"]:
            return self.objects(path, kind)
        return self.rows(path, query)

    def answer(self, body, kind, status=200, cut=0, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) - cut])
        if cut:
            self.close_connection = True

    def rows(self, path, query):
        archive, fields = self.server, dict(urllib.parse.parse_qsl(query))
        level = path.count("/") // 2
        found = {}
        for uid, ds in archive.headers.items():
            if all(f"/{part}" in path for part in [str(ds[name].value) for _, name in LEVELS[:level]]):
                row = {tag: [str(ds[name].value)] for tag, name in LEVELS[: level + 1]}
                row |= {tag: [str(ds.get(name, ""))] for tag, name in (STUDY, SERIES, {})[level].items()}
                if level == 0:
                    row["00080061"] = [ds.Modality]
                if level == 2:
                    row |= {"00080016": [str(ds.SOPClassUID)], "00200013": [int(ds.InstanceNumber)]}
                if archive.ignores_filters or self.fits(ds, fields):
                    found.setdefault(row[LEVELS[level][0]][0], (uid, row))
        rows = [row for _, row in found.values()] + (archive.extra if level == 2 else [])
        if level == 1:
            for row in rows:
                series = row["0020000E"][0]
                row["00201209"] = [sum(str(ds.SeriesInstanceUID) == series for ds in archive.headers.values())]
        start = 0 if archive.ignores_offset else int(fields.get("offset", 0))
        rows = rows[start : start + min(int(fields.get("limit", 10**9)), archive.most_rows)]
        if not rows:
            self.send_response(204)
            self.end_headers()
            return
        body = [{tag: {"vr": "LO", "Value": values} for tag, values in row.items()} for row in rows]
        self.answer(json.dumps(body).encode(), "application/dicom+json")

    def fits(self, ds, fields):
        first, _, last = fields.get("StudyDate", "-").partition("-")
        tests = [(first or "0") <= ds.StudyDate <= (last or "9")]
        wanted = {"ModalitiesInStudy": ds.Modality, "Modality": ds.Modality, "PatientID": ds.PatientID}
        wanted |= {"BodyPartExamined": ds.BodyPartExamined}
        tests += [fields[name] == value for name, value in wanted.items() if name in fields]
        return all(tests)

    def objects(self, path, kind):
        archive = self.server
        if archive.knows_no_syntax and "transfer-syntax" in self.headers["Accept"]:
            return self.answer(b"", "text/plain", 406)
        parts = path.split("/")
        uids = [uid for uid, ds in archive.headers.items() if str(ds.SeriesInstanceUID) == parts[4]]
        bodies = [archive.files[uid] for uid in uids if len(parts) == 5 or uid == parts[6]]
        if kind == "another image":
            bodies = [next(data for uid, data in archive.files.items() if uid not in uids)]
        if kind == "damaged":
            bodies = [data[:-20] for data in bodies]
        if kind == "no DICOM":
            bodies = [b"sorry"]
        if kind == "single":
            return self.answer(bodies[0], "application/dicom")
        data = b"".join(b"--a b\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in bodies)
        data += b"--a b--\r\n"
        if kind == "slow":
            self.send_response(200)
            self.send_header("Content-Type", 'multipart/related; boundary="a b"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for byte in data[:200]:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
            self.close_connection = True
            return None
        if kind == "chunked and cut":
            self.send_response(200)
            self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary="a b"')
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data) // 2, data[: len(data) // 2]))
            self.close_connection = True
            return None
        if kind == "until closed":
            self.send_response(200)
            self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary="a b"')
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return None
        return self.answer(
            data, 'multipart/related; type="application/dicom"; boundary="a b"', cut=90 if kind == "cut" else 0
        )


@pytest.fixture(scope="session")
def hospital(tmp_path_factory):
    """Six studies of two images each."""
    return write_hospital(tmp_path_factory.mktemp("pacs") / "h", patients=6, seed=11, size=32, images_per_patient=2)


@contextlib.contextmanager
def serving(folder, context=None):
    with Archive(folder, context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def archive(hospital):
    with serving(hospital) as server:
        yield server


def settings(**changes):
    return DicomwebConfig(**{"backoff": 0.01, "timeout": 5.0, "page_size": 5, **changes})


def names(report):
    return {path.relative_to(report.folder).as_posix() for path in report.folder.rglob("*") if path.is_file()}


def test_everything_arrives_as_it_was_and_nobodys_name_is_on_disk(archive, tmp_path, capsys):
    report = fetch("dicomweb:" + archive.url + "/", tmp_path / "d", settings())
    assert (report.found, report.fetched, report.present, report.failed) == (12, 12, 0, ())
    assert report.studies == 6
    assert report.left_out == {}
    assert report.unconfirmed == ()
    assert names(report) == {inbox.name_of(uid) for uid in archive.files}
    for uid, data in archive.files.items():
        assert (report.folder / inbox.name_of(uid)).read_bytes() == data
    written = "".join(str(path) for path in tmp_path.rglob("*")) + capsys.readouterr().err
    written += (tmp_path / "d" / "fetch.json").read_text()
    for ds in archive.headers.values():
        for value in (str(ds.PatientID), str(ds.PatientName).split("^")[0], str(ds.SOPInstanceUID), "127.0.0.1"):
            assert value not in written
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in report.folder.rglob("*.dcm"))


def test_a_finished_fetch_needs_no_server_and_a_download_is_removed_alone(archive, tmp_path):
    first = fetch(archive.url, tmp_path / "d", settings())
    asked = len(archive.requests)
    again = fetch(archive.url, tmp_path / "d", settings(timeout=7.0, connections=1))
    assert len(archive.requests) == asked
    assert (again.found, again.fetched, again.present) == (12, 0, 12)
    assert again.folder == first.folder
    (again.folder / inbox.name_of(next(iter(archive.files)))).unlink()
    assert fetch(archive.url, tmp_path / "d", settings()).fetched == 1
    with pytest.raises(ArtifactError, match="holds a fetch of other images"):
        fetch(archive.url, tmp_path / "d", settings(modality="DX"))
    remove_download(tmp_path / "d")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "precious").touch()
    for call in (lambda: remove_download(tmp_path / "own"), lambda: fetch(archive.url, tmp_path / "own", settings())):
        with pytest.raises(ArtifactError):
            call()
    assert (tmp_path / "own" / "precious").exists()


def test_dry_run_counts_and_writes_nothing(archive, tmp_path):
    report = fetch(archive.url, tmp_path / "d", settings(modality="DX"), dry_run=True)
    assert 0 < report.found < 12
    assert report.found == sum(ds.Modality == "DX" for ds in archive.headers.values())
    assert list(tmp_path.iterdir()) == []
    assert not archive.retrieved()


def expected(archive, **wanted):
    return {
        inbox.name_of(uid)
        for uid, ds in archive.headers.items()
        if all(str(getattr(ds, name)) in values for name, values in wanted.items())
    }


@pytest.mark.parametrize("ignores", [False, True])
def test_filters_hold_even_when_the_server_overlooks_them(archive, tmp_path, ignores):
    archive.ignores_filters = ignores
    report = fetch(archive.url, tmp_path / "m", settings(modality="cr", body_part=("KNEE", "HIP")))
    assert names(report) == expected(archive, Modality=["CR"]) != set()
    dates = sorted({str(ds.StudyDate) for ds in archive.headers.values()})
    some = dates[1:4]
    report = fetch(archive.url, tmp_path / "d", settings(since=int(some[0]), until=some[-1]))
    assert names(report) == expected(archive, StudyDate=some)
    patients = sorted({str(ds.PatientID) for ds in archive.headers.values()})[2:5]
    (tmp_path / "ids.txt").write_text("\ufeff" + "\r\n".join(patients) + "\n\n")
    report = fetch(archive.url, tmp_path / "p", settings(patients=str(tmp_path / "ids.txt")))
    assert names(report) == expected(archive, PatientID=patients)
    left_out = sum(report.left_out.values())
    assert left_out == (3 * 6 - 3 if ignores else 0)


def test_letters_that_need_encoding_are_asked_for_as_any_letter(archive, tmp_path):
    for number, uid in enumerate(sorted(archive.headers)):
        archive.headers[uid].PatientID = "A B/1" if number < 2 else "A-B-1" if number < 4 else f"{number}"
        archive.headers[uid].StudyInstanceUID = f"1.2.{number}"  # a study each
    (tmp_path / "ids").write_text("A B/1\n")
    archive.ignores_filters = True
    report = fetch(archive.url, tmp_path / "d", settings(patients=str(tmp_path / "ids"), study_description="Knee"))
    assert names(report) == expected(archive, PatientID=["A B/1"]) != set()
    asked = [urllib.parse.parse_qs(query) for path, query, _ in archive.requests if path == "/studies"]
    assert {tuple(fields["PatientID"]) for fields in asked} == {("A?B?1",)}
    assert all("%" not in query and "+" not in query for _, query, _ in archive.requests)


def test_filters_that_no_answer_confirms_are_named(archive, tmp_path):
    for ds in archive.headers.values():
        ds.StudyDescription = "Left [knee], two views" if ds.Modality == "DX" else ""
    report = fetch(archive.url, tmp_path / "d", settings(study_description="*[KNEE]*views"))
    assert report.unconfirmed == ("study_description",)
    report = fetch(archive.url, tmp_path / "e", settings(study_description="*views", modality="DX"))
    assert report.unconfirmed == ()
    assert names(report) == expected(archive, Modality=["DX"])


@pytest.mark.parametrize("most", [1, 3])
def test_servers_that_cap_pages_or_have_none_lose_nothing(archive, tmp_path, most):
    archive.most_rows = most
    assert fetch(archive.url, tmp_path / "a", settings(page_size=10)).found == 12
    archive.most_rows, archive.ignores_offset = 10**9, True
    assert fetch(archive.url, tmp_path / "b", settings(page_size=100)).found == 12


def test_limit_takes_whole_studies_scattered_and_the_same_ones_each_time(archive, tmp_path):
    report = fetch(archive.url, tmp_path / "a", settings(limit=4))
    assert (report.found, report.fetched, report.studies) == (4, 4, 2)
    assert names(fetch(archive.url, tmp_path / "b", settings(limit=4, connections=1))) == names(report)
    in_order = sorted(str(ds.StudyInstanceUID) for ds in archive.headers.values())
    assert names(report) != expected(archive, StudyInstanceUID=in_order[:4])
    assert fetch(archive.url, tmp_path / "c", settings(limit=3)).found == 3


def test_what_is_no_image_or_has_no_uid_is_counted_and_not_fetched(archive, tmp_path):
    archive.extra = [
        {"00080018": ["1.2.3"], "00080016": ["1.2.840.10008.5.1.4.1.1.88.11"]},
        {"00080018": ["../../etc/passwd"], "00080016": ["1.2.840.10008.5.1.4.1.1.2"]},
    ]
    report = fetch(archive.url, tmp_path / "d", settings(limit=4, page_size=50))
    assert (report.found, report.fetched) == (4, 4)
    assert set(report.left_out) == {
        "no image: a report, a plan, a measurement or the like", "listed without a valid UID",
    }  # fmt: skip
    assert not any("passwd" in path or "1.2.3" in path for path, _, _ in archive.requests)


@pytest.mark.parametrize(
    ("kind", "sop_class"),
    [(True, "1.1"), (True, "77.1.5.1"), (True, "66.4"), (True, "481.1"), (False, "88.67"), (False, "104.1"),
     (False, "11.1"), (False, "481.3"), (False, "66"), (True, "9999.1")],
)  # fmt: skip
def test_storage_classes(kind, sop_class):
    assert is_image("1.2.840.10008.5.1.4.1.1." + sop_class) is kind
    assert is_image("1.3.12.2.1107.5.9.1")


@pytest.mark.parametrize("kind", [500, 503, 429, "cut", "hang up", "slow", "chunked and cut", "until closed", "here"])
@pytest.mark.parametrize("retrieve", ["instance", "series"])
def test_errors_that_pass_are_waited_for(archive, tmp_path, kind, retrieve):
    archive.faults = [["/series/[0-9.]+(/instances/[0-9.]+)?$", kind, 2]]
    report = fetch(
        archive.url, tmp_path / "d", settings(limit=0 if retrieve == "series" else 6, retrieve=retrieve, timeout=0.4)
    )
    assert report.failed == ()
    assert report.fetched == report.found > 0
    assert archive.faults[0][2] == 0
    for uid, data in archive.files.items():
        path = report.folder / inbox.name_of(uid)
        assert not path.exists() or path.read_bytes() == data


def test_queries_are_tried_again_too(archive, tmp_path):
    archive.faults = [["/studies$", 500, 2], ["/instances$", "hang up", 2], ["/series$", "here", 3]]
    assert fetch(archive.url, tmp_path / "d", settings()).fetched == 12
    assert [fault[2] for fault in archive.faults] == [0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (404, "the server answers 404"),
        (403, "the server answers 403"),
        (500, "the server answers 500"),
        ("html", "the server sent text/html instead of DICOM"),
        ("damaged", "damaged: cut off"),
        ("no DICOM", "damaged: not understood as DICOM"),
        ("another image", "another image than asked for"),
        ("cut", "the answer was cut off"),
        ("around", "redirects in a circle"),
    ],
)
@pytest.mark.parametrize("retrieve", ["instance", "series"])
def test_images_that_do_not_come_are_counted_and_listed(archive, tmp_path, kind, words, retrieve):
    bad = next(iter(archive.files))
    series = archive.headers[bad].SeriesInstanceUID
    archive.faults = [[f"(/series/{series}|/instances/{bad})$", kind, 10**6]]
    config = settings(retries=1, retrieve=retrieve)
    report = fetch(archive.url, tmp_path / "d", config)
    assert (report.found, report.fetched) == (12, 11)
    [(name, reason)] = report.failed
    assert name == inbox.name_of(bad)
    assert words in reason
    assert names(report) == {inbox.name_of(uid) for uid in archive.files} - {name}
    assert report.summary()["failed_because"] == {reason: 1}
    assert bad in (tmp_path / "d" / "failed.csv").read_text()
    archive.faults, before = [], len(archive.retrieved())
    again = fetch(archive.url, tmp_path / "d", config)
    assert (again.fetched, again.present, again.failed) == (1, 11, ())
    assert len(archive.retrieved()) == before or list(archive.retrieved())[-1].endswith(bad)
    assert not (tmp_path / "d" / "failed.csv").exists()


def test_images_that_are_too_large_are_refused_before_they_fill_the_disk(archive, tmp_path, monkeypatch):
    large = next(iter(archive.files))
    ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(archive.files[large]))
    ds.add_new(0x00111010, "OB", b"\0" * 2**20)
    file = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(file, ds)
    archive.files[large] = file.getvalue()
    report = fetch(archive.url, tmp_path / "d", settings(largest_mb=1))
    assert report.failed == ((inbox.name_of(large), "larger than 1 MB"),)
    assert report.fetched == 11


def test_other_ways_to_send_an_object(archive, tmp_path):
    archive.faults = [["/instances/", "single", 10**6]]
    assert fetch(archive.url, tmp_path / "a", settings(limit=4)).fetched == 4
    archive.faults, archive.knows_no_syntax = [], True
    assert fetch(archive.url, tmp_path / "b", settings(limit=4, retries=0)).fetched == 4
    wishes = Counter("transfer-syntax" in accept for _, _, accept in archive.requests if "multipart" in accept)
    assert wishes[False] == 4


def test_a_whole_series_is_one_request(archive, tmp_path):
    uids = [uid for uid, ds in archive.headers.items() if ds.PatientID == archive.headers[uid].PatientID]
    for ds in archive.headers.values():
        ds.SeriesInstanceUID = ds.StudyInstanceUID  # two images a series
    report = fetch(archive.url, tmp_path / "d", settings(retrieve="series"))
    assert report.fetched == len(uids) == 12
    assert len(archive.retrieved()) == 6
    assert not any("/instances/" in path for path in archive.retrieved())


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([["/studies$", 401, 1]], "asks for credentials (401)"),
        ([["/studies$", 403, 1]], "does not allow this query (403)"),
        ([["/studies$", 404, 1]], "answers 404: no DICOMweb service"),
        ([["/studies$", "html", 1]], "answers a query with text/html: no DICOMweb service"),
        ([["/studies$", "away", 1]], "redirects to another server"),
        ([["/studies$", "around", 99]], "redirects in a circle"),
        ([["/studies$", 500, 99]], "the server answers 500"),
        ([["/instances$", 500, 99]], "the server answers 500"),
        ([["/instances/", 401, 1]], "asks for credentials (401)"),
        ([["/instances/", "away", 1]], "redirects to another server"),
        ([["/instances/", 404, 99]], "none of 12 images could be fetched: the server answers 404 (12)"),
        ([["/studies$", 503, 0]], ""),
    ],
)
def test_a_server_of_no_use_is_one_clear_line(archive, tmp_path, faults, words):
    if not words:
        archive.files.clear()
        archive.headers.clear()
        words = "has no matching study"
    archive.faults = faults
    with pytest.raises(InputError) as caught:
        fetch(archive.url, tmp_path / "d", settings(retries=1))
    [problem] = caught.value.problems
    assert words in str(problem)
    assert "\n" not in str(problem)
    assert "limit=" not in str(problem)
    assert not list((tmp_path / "d").rglob("*.part"))


def test_a_server_that_is_not_there(tmp_path):
    with Archive(tmp_path) as server:
        url = server.url
    with pytest.raises(InputError, match=r"cannot be reached \(connection refused\)"):
        fetch(url, tmp_path / "d", settings(retries=1))
    with pytest.raises(InputError, match="no such host"):
        fetch("https://nowhere.invalid/dicom-web", tmp_path / "e", settings(retries=0))


def test_a_server_that_goes_away_ends_the_fetch_soon(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GIVE_UP", 3)
    listing = ["/studies$", None, 2]  # the two pages at the beginning are answered
    archive.faults = [["/instances/", 503, 10**6], listing, ["/studies$", 503, 10**6]]
    with pytest.raises(InputError, match="the server answers 503"):
        fetch(archive.url, tmp_path / "d", settings(retries=0, page_size=100, connections=1))
    assert len(archive.retrieved()) < 12
    archive.faults = [["/instances/", 503, 7]]  # one damaged study is no dead server
    assert fetch(archive.url, tmp_path / "d", settings(retries=0, connections=1)).fetched == 5


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://127.0.0.1/x", "is malformed"),
        ("https:/127.0.0.1/x", "is malformed"),
        ("https://127.0.0.1:99999/x", "is malformed"),
        ("https://a.example/x y", "is malformed"),
        ("https://nobody:secret@a.example/x", "holds a name or password"),
        ("https://a.example/x?PatientID=1", "holds a query"),
        ("http://a.example/x", "http:// to another machine"),
        ("http://10.0.0.1/x", "http:// to another machine"),
        ("http://localhost.a.example/x", "http:// to another machine"),
    ],
)
def test_addresses_that_are_refused(url, words):
    with pytest.raises(InputError) as caught:
        checked_url(url, insecure=False)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def test_addresses_that_are_taken():
    assert checked_url("http://localhost:80/dicom-web/", False) == "http://localhost:80/dicom-web"
    assert checked_url("http://[::1]:8042/d", False) == "http://[::1]:8042/d"
    assert checked_url("http://a.example/d", True) == "http://a.example/d"
    assert checked_url("https://a.example", False) == "https://a.example"
    assert is_dicomweb("dicomweb:https://a.example")
    assert not is_dicomweb("dicomweb")


def secret(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_credentials_come_from_files_of_ones_own(archive, tmp_path, capsys):
    archive.authorization = "Bearer sesame.7"
    token = secret(tmp_path / "token", "sesame.7\n")
    assert fetch(archive.url, tmp_path / "a", settings(limit=1, token_file=token)).fetched == 1
    archive.authorization = "Basic bm9ib2R5OnNlc2FtZQ=="
    logins = secret(tmp_path / "netrc", "machine 127.0.0.1 login nobody password sesame\n")
    assert fetch(archive.url, tmp_path / "b", settings(limit=1, netrc=logins)).fetched == 1
    stored = "".join(path.read_text() for path in tmp_path.rglob("fetch.json")) + capsys.readouterr().err
    assert "sesame" not in stored
    wrong = secret(tmp_path / "wrong", "sesame.8")
    for changes, words in [
        ({"token_file": wrong}, r"does not take these credentials \(401\)"),
        ({"token_file": secret(tmp_path / "open", "sesame", 0o640)}, "others may read"),
        ({"token_file": secret(tmp_path / "two", "open sesame")}, "holds no token"),
        ({"token_file": str(tmp_path / "absent")}, "cannot be read"),
        ({"netrc": secret(tmp_path / "other", "machine a.example login a password b")}, "has no entry for 127.0.0.1"),
        ({"netrc": secret(tmp_path / "bad", "sesame sesame")}, "cannot be understood"),
        ({"ca_file": secret(tmp_path / "ca", "no certificate")}, "cannot be read as certificates"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            fetch(archive.url, tmp_path / "c", settings(**changes))
        assert "sesame" not in str(caught.value)


def test_certificates_are_always_checked(hospital, tmp_path):
    authority, ca = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    for identity, good in (("127.0.0.1", True), ("a.example", False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(identity).configure_cert(context)
        with serving(hospital, context) as archive:
            with pytest.raises(InputError, match="certificate is not trusted") as caught:
                fetch(archive.url, tmp_path / identity, settings(insecure=True))
            assert "ingest.dicomweb.ca_file" in str(caught.value)
            known = settings(limit=1, ca_file=str(ca))
            if good:
                assert fetch(archive.url, tmp_path / identity, known).fetched == 1
            else:
                with pytest.raises(InputError, match=r"certificate is not trusted.*valid for"):
                    fetch(archive.url, tmp_path / identity, known)


def test_a_client_certificate_is_shown_to_a_server_that_asks_for_one(hospital, tmp_path):
    authority, ca, own = trustme.CA(), tmp_path / "ca.pem", tmp_path / "own.pem"
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("nobody.example").private_key_and_cert_chain_pem.write_to_path(own)
    own.chmod(0o600)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with serving(hospital, context) as archive:
        with pytest.raises(InputError):
            fetch(archive.url, tmp_path / "d", settings(limit=1, retries=0, ca_file=str(ca)))
        config = settings(limit=1, ca_file=str(ca), client_certificate=str(own))
        assert fetch(archive.url, tmp_path / "d", config).fetched == 1


def test_patient_lists_are_checked_without_quoting_them(archive, tmp_path):
    for text, words in [("12*\n13\n", "line 1 cannot"), ("", "0 lines"), ("a\n\nPH?1\n", "line 3 cannot")]:
        (tmp_path / "ids").write_text(text)
        with pytest.raises(InputError, match=words) as caught:
            fetch(archive.url, tmp_path / "d", settings(patients=str(tmp_path / "ids")))
        assert "12*" not in str(caught.value)
        assert "PH?1" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        fetch(archive.url, tmp_path / "d", settings(patients=str(tmp_path / "absent")))


def test_settings_from_the_command_line_and_what_may_leave():
    texts = [
        "modality=DX",
        "since=2021-03-01",
        "until=20210401",
        'body_part=["KNEE","HIP"]',
        "timeout=3",
        "token_file=t",
    ]
    config = build(DicomwebConfig, apply_overrides({}, [f"d.{text}" for text in texts])["d"])
    assert (config.modalities, config.body_parts) == (("DX",), ("KNEE", "HIP"))
    assert (config.since, config.until) == ("2021-03-01", "2021-04-01")
    assert DicomwebConfig(since=datetime.date(2021, 3, 1)).since == "2021-03-01"
    assert build(DicomwebConfig, json.loads(json.dumps(to_mapping(config)))) == config
    assert config.public().token_file == ""
    assert config.public().modality == ("DX",)
    with pytest.raises(ConfigError) as caught:
        DicomwebConfig(
            modality="D*", since="1.3.2021", limit=-1, connections=0, timeout=float("nan"), netrc="a", token_file="b"
        )
    assert len(caught.value.problems) == 6
    with pytest.raises(ConfigError, match="before since"):
        DicomwebConfig(since="2021-03-02", until="2021-03-01")


def test_a_killed_fetch_goes_on_and_loads_nothing_twice(archive, tmp_path):
    archive.delay = 0.03
    code = (
        "import sys; from pathlib import Path; from synthcohort.ingest.dicomweb import fetch; "
        "from synthcohort.ingest.dicomweb_config import DicomwebConfig; "
        "fetch(sys.argv[1], Path(sys.argv[2]), DicomwebConfig(page_size=5, connections=2, timeout=5.0))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, archive.url, str(tmp_path / "d")], stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while len(archive.retrieved()) < 6 and time.monotonic() < until and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    there = {path.name for path in (tmp_path / "d" / "files").glob("??/*.dcm")}
    assert 2 <= len(there) < 12
    first, archive.delay = archive.retrieved(), 0.0
    report = fetch(archive.url, tmp_path / "d", settings())
    assert (report.found, report.fetched, report.present) == (12, 12 - len(there), len(there))
    twice = [path for path, count in archive.retrieved().items() if count > 1]
    assert len(twice) <= 2 + 2  # what was under way when it was killed: on two connections, or just written
    assert sum(first.values()) + report.fetched == sum(archive.retrieved().values())
    assert all((report.folder / inbox.name_of(uid)).read_bytes() == data for uid, data in archive.files.items())


def test_fetched_files_are_read_like_any_other(archive, tmp_path):
    report = fetch(archive.url, tmp_path / "d", settings(limit=4))
    for name in names(report):
        (image,) = dicom.read(report.folder / name)
        assert image.pixels.shape == (32, 32)


def test_ingest_fetches_reads_and_takes_its_download_away(archive, tmp_path):
    config = build(
        IngestConfig, {"key": "seed", "pixel_text": "unchecked", "dicomweb": to_mapping(settings(limit=4))}, "ingest"
    )
    planned = ingest(f"dicomweb:{archive.url}", tmp_path / "cohort", config, 0, dry_run=True)
    assert planned["fetched"]["found"] >= 4
    assert not (tmp_path / "cohort").exists()
    result = ingest(f"dicomweb:{archive.url}", tmp_path / "cohort", config, 0)
    assert result["found"] == result["taken"] + result["refused"] == result["fetched"]["found"]
    assert result["taken"] >= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort"]
    written = b"".join(path.read_bytes() for path in (tmp_path / "cohort").rglob("*") if path.is_file())
    assert archive.url.split("//")[1].split("/")[0].encode() not in written
