"""Sending a bundle: to a receiver of our own in this process; Orthanc stands in tests/pacs."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from synthcohort.core.errors import InputError, Refused
from synthcohort.release import release
from synthcohort.release.push import Node, PushConfig, parse, push

pynetdicom = pytest.importorskip("pynetdicom")


@pytest.fixture
def bundle(cohort, scores, save, config, key, tmp_path):
    release(cohort.path, save(scores), tmp_path / "bundle", config, key=key)
    return tmp_path / "bundle"


@contextmanager
def receiver(status=0x0000, classes=("1.2.840.10008.5.1.4.1.1.1",)):
    got = []

    def store(event):
        got.append(event.dataset.SOPInstanceUID)
        return status

    entity = pynetdicom.AE(ae_title="ARCHIVE")
    for kind in classes:
        entity.add_supported_context(kind, "1.2.840.10008.1.2.1")
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(pynetdicom.evt.EVT_C_STORE, store)])
    try:
        yield server.socket.getsockname()[1], got
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("pacs://ARCHIVE@10.0.0.1:104", Node("ARCHIVE", "10.0.0.1", 104)),
        ("https://pacs.example/dicom-web/", "https://pacs.example/dicom-web"),
        ("http://127.0.0.1:80/x", "http://127.0.0.1:80/x"),
    ],
)
def test_addresses(url, found):
    assert parse(url) == found


@pytest.mark.parametrize(
    "url",
    ["pacs://h:104", "pacs://A@h", "pacs://A:secret@h:104", "pacs://A@h:104/x", "ftp://h", "http://pacs.example/x",
     "https://u:secret@h/x", "https://h/x?token=secret", "", "pacs://A@h:999999"],
)  # fmt: skip
def test_bad_addresses_are_refused_without_their_secret(url):
    with pytest.raises(InputError) as error:
        parse(url)
    assert "secret" not in str(error.value)


def test_every_file_is_stored(bundle, cohort):
    with receiver() as (port, got):
        assert push(bundle, f"pacs://ARCHIVE@127.0.0.1:{port}") == {"sent": 6, "failed": 0, "statuses": {"stored": 6}}
    assert len(set(got)) == len(cohort)


def test_what_the_archive_refuses_is_counted(bundle):
    with receiver(status=0xA700) as (port, _):
        result = push(bundle, f"pacs://ARCHIVE@127.0.0.1:{port}")
    assert result == {"sent": 0, "failed": 6, "statuses": {"status 0xA700": 6}}


def test_a_class_that_is_not_taken_is_told(bundle):
    with receiver(classes=("1.2.840.10008.5.1.4.1.1.2",)) as (port, _), pytest.raises(InputError, match="ARCHIVE"):
        push(bundle, f"pacs://ARCHIVE@127.0.0.1:{port}")


def test_nobody_listens(bundle):
    with pytest.raises(InputError, match="cannot be reached"):
        push(bundle, "pacs://ARCHIVE@127.0.0.1:1", PushConfig(timeout=2))
    with pytest.raises(InputError, match="cannot be reached"):
        push(bundle, "http://127.0.0.1:1/dicom-web", PushConfig(timeout=2))


def test_a_changed_bundle_is_not_sent(bundle):
    (bundle / "README.txt").write_text("changed")
    with receiver() as (port, got), pytest.raises(Refused, match=r"README\.txt"):
        push(bundle, f"pacs://ARCHIVE@127.0.0.1:{port}")
    assert got == []


@contextmanager
def dicomweb(status, body):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, self.headers, data))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/dicom-web", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_stow_sends_parts_with_credentials_from_a_file(bundle, tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame\n")
    token.chmod(0o600)
    with dicomweb(200, b"{}") as (url, asked):
        result = push(bundle, url, PushConfig(token_file=token))
    assert result == {"sent": 6, "failed": 0, "statuses": {"stored": 6}}
    path, headers, data = asked[0]
    assert path == "/dicom-web/studies"
    assert headers["Authorization"] == "Bearer sesame"
    mark = headers["Content-Type"].rpartition("boundary=")[2].encode()
    assert data.count(b"--" + mark + b"\r\n") == 6
    assert data.endswith(b"--" + mark + b"--\r\n")


@pytest.mark.parametrize(
    ("status", "body", "statuses"),
    [
        (202, b'{"00081198": {"vr": "SQ", "Value": [{}, {}]}}', {"stored": 4, "refused": 2}),
        (409, b"", {"stored": 0, "refused": 6}),
        (500, b"", {"status 500": 6}),
    ],
)
def test_what_a_dicomweb_server_refuses_is_counted(bundle, status, body, statuses):
    with dicomweb(status, body) as (url, _):
        assert push(bundle, url)["statuses"] == dict(sorted(statuses.items()))


def test_secrets_that_others_can_read_are_refused(bundle, tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame")
    token.chmod(0o644)
    with dicomweb(200, b"{}") as (url, asked), pytest.raises(InputError, match="chmod 600") as error:
        push(bundle, url, PushConfig(token_file=token))
    assert asked == []
    assert "sesame" not in str(error.value)
    with dicomweb(401, b"") as (url, _), pytest.raises(InputError, match="credentials"):
        push(bundle, url)
