"""Fetching from and receiving from a real PACS: Orthanc of Debian's packages, on loopback. Run by make test-pacs."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove, Verification

from synthcohort.core.errors import InputError
from synthcohort.core.files import digest_array
from synthcohort.ingest import inbox
from synthcohort.ingest.dicomweb import fetch
from synthcohort.ingest.dicomweb_config import DicomwebConfig
from synthcohort.ingest.receive import ReceiveConfig, receive
from synthcohort.phantoms import write_hospital

pytestmark = pytest.mark.pacs
BOUNDARY = b"stow-boundary"


def digests(paths):
    """SOP Instance UID -> (transfer syntax, digest of the pixels as pydicom decodes them)."""
    found = {}
    for path in paths:
        ds = pydicom.dcmread(path)
        found[str(ds.SOPInstanceUID)] = (str(ds.file_meta.TransferSyntaxUID), digest_array(ds.pixel_array))
    return found


def pixels(found):
    return {uid: digest for uid, (_, digest) in found.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Ten patients with three images each, in four transfer syntaxes."""
    folder = write_hospital(
        tmp_path_factory.mktemp("hospital") / "h", patients=10, seed=3, size=(160, 128), images_per_patient=3
    )
    return sorted(folder.rglob("*.dcm"))


@pytest.fixture(scope="module")
def headers(files):
    return [pydicom.dcmread(path, stop_before_pixels=True) for path in files]


@pytest.fixture(scope="module")
def pacs(script, files, tmp_path_factory):
    """An Orthanc that got half of the images by C-STORE and half by STOW-RS."""
    if problem := script.missing():
        pytest.exit(problem, returncode=2)
    with script.pacs(tmp_path_factory.mktemp("orthanc") / "o") as server:
        send(server, files[::2])
        stow(server, files[1::2])
        assert server.ask("GET", "/statistics")["CountInstances"] == len(files) == 30
        yield server


def send(server, paths):
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(Verification)
    sets = [pydicom.dcmread(path) for path in paths]
    for kind in sorted({(str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)) for ds in sets}):
        entity.add_requested_context(*kind)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title=server.aet)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    assert {association.send_c_store(ds).Status for ds in sets} == {0}
    association.release()


def stow(server, paths):
    body = b"".join(
        b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n"
        for path in paths
    )
    kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
    answer = server.ask("POST", "/dicom-web/studies", body + b"--" + BOUNDARY + b"--\r\n", kind)
    assert len(answer["00081199"]["Value"]) == len(paths)  # Referenced SOP Sequence
    assert "00081198" not in answer or not answer["00081198"].get("Value")  # Failed SOP Sequence


@pytest.fixture
def settings(pacs, tmp_path):
    """Makes settings that log in."""
    logins = tmp_path / "netrc"
    logins.write_text(f"machine 127.0.0.1 login {pacs.user} password {pacs.password}\n")
    logins.chmod(0o600)
    return lambda **changes: DicomwebConfig(**{"netrc": str(logins), "page_size": 7, "timeout": 30.0, **changes})


def arrived(folder):
    return sorted(folder.rglob("*.dcm"))


@pytest.mark.parametrize("retrieve", ["instance", "series"])
def test_all_images_arrive_pixel_for_pixel_in_their_own_encoding(pacs, files, settings, tmp_path, retrieve):
    report = fetch("dicomweb:" + pacs.url, tmp_path / "d", settings(retrieve=retrieve))
    assert (report.found, report.fetched, report.studies, report.failed) == (30, 30, 10, ())
    assert (report.left_out, report.unconfirmed) == ({}, ())
    got, sent = digests(arrived(report.folder)), digests(files)
    assert got == sent
    assert len({syntax for syntax, _ in sent.values()}) >= 4


def names(headers, keep):
    return {inbox.name_of(str(ds.SOPInstanceUID)) for ds in headers if keep(ds)}


def test_filters(pacs, headers, settings, tmp_path):
    days = sorted({str(ds.StudyDate) for ds in headers})
    people = sorted({str(ds.PatientID) for ds in headers})[1:4]
    (tmp_path / "list.txt").write_text("\n".join(people))
    cases = {
        "modality": ({"modality": "CR"}, lambda ds: ds.Modality == "CR"),
        "two modalities": ({"modality": ("CR", "DX"), "body_part": "KNEE"}, lambda ds: True),
        "dates": ({"since": days[2], "until": days[6]}, lambda ds: days[2] <= ds.StudyDate <= days[6]),
        "people": ({"patients": str(tmp_path / "list.txt")}, lambda ds: ds.PatientID in people),
        "description": (
            {"study_description": "kn?e*", "series_description": "Knee AP R"},
            lambda ds: ds.SeriesNumber == 2,
        ),
    }
    for name, (changes, keep) in cases.items():
        report = fetch(pacs.url, tmp_path / name.replace(" ", "-"), settings(**changes))
        got = {path.relative_to(report.folder).as_posix() for path in arrived(report.folder)}
        assert got == names(headers, keep) != set(), name
        assert report.unconfirmed == (), name
    with pytest.raises(InputError, match=r"no matching study|without an image"):
        fetch(pacs.url, tmp_path / "none", settings(body_part="SKULL"))
    assert fetch(pacs.url, tmp_path / "few", settings(limit=5)).found == 5


def test_credentials_are_asked_for(pacs, settings, tmp_path):
    with pytest.raises(InputError, match=r"asks for credentials \(401\)"):
        fetch(pacs.url, tmp_path / "d", DicomwebConfig())
    with pytest.raises(InputError, match="no DICOMweb service"):
        fetch(pacs.rest + "/nothing", tmp_path / "e", settings())


def test_a_fetch_killed_at_any_moment_goes_on_and_loads_nothing_twice(pacs, files, settings, tmp_path):
    config = settings(connections=2)
    code = (
        "import json, sys; from pathlib import Path; from synthcohort.core.config import build; "
        "from synthcohort.ingest.dicomweb import fetch; "
        "from synthcohort.ingest.dicomweb_config import DicomwebConfig; "
        "fetch(sys.argv[1], Path(sys.argv[2]), build(DicomwebConfig, json.loads(sys.argv[3])))"
    )
    asked = json.dumps({"netrc": config.netrc, "page_size": 7, "connections": 2})
    into, kills = tmp_path / "d", Counter()
    for number in range(4):
        before = {path.name: path.stat().st_mtime_ns for path in arrived(into)}
        process = subprocess.Popen([sys.executable, "-c", code, pacs.url, str(into), asked], stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while len(arrived(into)) < len(before) + 3 + number and time.monotonic() < until and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        kills[process.wait(20)] += 1
        after = {path.name: path.stat().st_mtime_ns for path in arrived(into)}
        assert before.items() <= after.items()  # what was there stayed as it was, and was not loaded again
        for path in arrived(into):
            inbox.inspect(path)
    there = {path.name: path.stat().st_mtime_ns for path in arrived(into)}
    report = fetch(pacs.url, into, config)
    assert kills[-signal.SIGKILL] >= 2
    assert report.present == len(there)
    assert report.fetched == 30 - len(there)
    assert there.items() <= {path.name: path.stat().st_mtime_ns for path in arrived(into)}.items()
    assert digests(arrived(report.folder)) == digests(files)


@contextlib.contextmanager
def receiving(out, **changes):
    """A receiver in a thread; yields its port and a list that will hold the result."""
    stop, ready, ports, results = threading.Event(), threading.Event(), [], []

    def opened(port):
        ports.append(port)
        ready.set()

    config = ReceiveConfig(**{"port": 0, "allow": ("ORTHANC",), "reserve_mb": 1, **changes})
    thread = threading.Thread(target=lambda: results.append(receive(out, config, stop, opened)))
    thread.start()
    try:
        assert ready.wait(20)
        yield ports[0], results
    finally:
        stop.set()
        thread.join(40)
    assert not thread.is_alive()


def test_orthanc_stores_to_the_receiver_twice(pacs, files, tmp_path):
    with receiving(tmp_path / "in") as (port, results):
        pacs.know("receiver", "SYNTHCOHORT", port)
        assert pacs.ask("POST", "/modalities/receiver/echo", b"{}") in ({}, None)
        everything = json.dumps({"Resources": pacs.ask("GET", "/studies"), "Synchronous": True}).encode()
        answer = pacs.ask("POST", "/modalities/receiver/store", everything)
        assert (answer["InstancesCount"], answer["FailedInstancesCount"]) == (30, 0)
        pacs.ask("POST", "/modalities/receiver/store", everything)
    assert (results[0]["received"], results[0]["duplicates"], results[0]["refused"]) == (30, 30, 0)
    assert digests(arrived(tmp_path / "in")) == digests(files)


def test_orthanc_moves_a_study_to_the_receiver(pacs, headers, files, tmp_path):
    with receiving(tmp_path / "in") as (port, results):
        pacs.know("receiver", "SYNTHCOHORT", port)
        entity = AE(ae_title="SENDER")
        entity.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
        association = entity.associate("127.0.0.1", pacs.dicom_port, ae_title=pacs.aet)
        assert association.is_established
        query = Dataset()
        query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", headers[0].StudyInstanceUID
        statuses = [
            status.Status
            for status, _ in association.send_c_move(query, "SYNTHCOHORT", StudyRootQueryRetrieveInformationModelMove)
        ]
        association.release()
        assert statuses[-1] == 0
    assert results[0]["received"] == 3
    wanted = {str(ds.SOPInstanceUID) for ds in headers if ds.StudyInstanceUID == headers[0].StudyInstanceUID}
    sent = pixels(digests(files))
    assert pixels(digests(arrived(tmp_path / "in"))) == {uid: sent[uid] for uid in wanted}


def test_a_receiver_that_does_not_know_orthanc_lets_it_send_nothing(pacs, tmp_path):
    with receiving(tmp_path / "in", allow=("ANOTHER",)) as (port, results):
        pacs.know("receiver", "SYNTHCOHORT", port)
        with pytest.raises(OSError, match=r"HTTP Error 5\d\d"):
            pacs.ask("POST", "/modalities/receiver/store", pacs.ask("GET", "/instances")[0].encode(), "text/plain")
    assert results[0]["received"] == 0
    assert results[0]["rejected_associations"] >= 1
