import contextlib
import copy
import io
import json
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.formats import dicom
from synthcohort.ingest import inbox
from synthcohort.ingest.receive import ReceiveConfig, contexts, receive
from synthcohort.phantoms import write_hospital

CLASSES = (ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation)
SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip
COMMAND = (
    "import argparse, resource, sys; from synthcohort.cli import receive; "
    "from synthcohort.core.files import json_text; "
    "parser = argparse.ArgumentParser(); receive.arguments(parser); parser.add_argument('--most-bytes', type=int); "
    "args = parser.parse_args(); "
    "args.most_bytes and resource.setrlimit(resource.RLIMIT_FSIZE, (args.most_bytes, args.most_bytes)); "
    "result, code = receive.call(args); sys.stdout.write(json_text(result)); sys.exit(code)"
)


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Twelve images in several transfer syntaxes, by SOP Instance UID."""
    folder = write_hospital(tmp_path_factory.mktemp("sender") / "h", patients=6, seed=5, size=32, images_per_patient=2)
    found = [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    return {str(ds.SOPInstanceUID): ds for ds in found}


class Receiver:
    """A receiver in a thread of this process."""

    def __init__(self, out, **settings):
        self.out, self.stop, self.port, self.result = out, threading.Event(), 0, None
        self._ready = threading.Event()
        config = ReceiveConfig(**{"port": 0, "reserve_mb": 1, **settings})
        self._thread = threading.Thread(target=self._run, args=(config,))

    def _run(self, config):
        def ready(port):
            self.port = port
            self._ready.set()

        self.result = receive(self.out, config, self.stop, ready)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def sending(port, aet="SENDER", called="SYNTHCOHORT", syntaxes=SYNTAXES, classes=CLASSES):
    entity = AE(ae_title=aet)
    entity.add_requested_context(Verification)
    for abstract in classes:
        for syntax in syntaxes:
            entity.add_requested_context(abstract, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    connection = getattr(association.dul.socket, "socket", None)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        if connection is not None:  # pynetdicom leaves it open when the other side breaks off
            connection.close()


def store(association, ds):
    status = association.send_c_store(ds)
    return status.get("Status")


def raw_store(association, data, uid="1.2.3", sop_class=CLASSES[0], parts=None):
    """Sends bytes as they are, in the first context of a class; with `parts`, that many pieces and no end."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = io.BytesIO(data) if data is not None else None
    context = next(c.context_id for c in association.accepted_contexts if c.abstract_syntax == sop_class)
    if parts is None:
        association._reactor_checkpoint.clear()  # as send_c_store does, so that the answer is ours
        association.dimse.send_msg(request, context)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return None if answer is None else answer.Status
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.context_id = context
    for _, piece in zip(range(parts), message.encode_msg(context, 16382), strict=False):
        association.dul.send_pdu(piece)
    return None


def encoded(ds):
    """A data set's bytes without file meta information, as C-STORE carries them."""
    file = io.BytesIO()
    syntax = ds.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(file, ds, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    file.seek(0)
    pydicom.filereader.read_preamble(file, False)
    pydicom.filereader._read_file_meta_info(file)
    return file.read()


def dcm(folder):
    return {path.relative_to(folder).as_posix() for path in folder.glob("??/*.dcm")}


def test_images_arrive_as_they_were_sent_and_nobodys_name_is_on_disk(images, tmp_path, capfd):
    out = tmp_path / "in"
    with Receiver(out) as receiver, sending(receiver.port) as association:
        assert association.send_c_echo().Status == 0
        assert {store(association, ds) for ds in images.values()} == {0}
    assert receiver.result == {
        "folder": out.as_posix(), "received": 12, "duplicates": 0, "refused": 0, "refused_because": {},
        "rejected_associations": 0, "broken_associations": 0,
    }  # fmt: skip
    assert dcm(out) == {inbox.name_of(uid) for uid in images}
    assert [path for path in out.iterdir() if path.name.startswith(".")] == []
    kinds = set()
    for uid, ds in images.items():
        path = out / inbox.name_of(uid)
        arrived = pydicom.dcmread(path)
        kinds.add(arrived.file_meta.TransferSyntaxUID)
        assert arrived.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
        assert arrived == ds
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (image,) = dicom.read(path)
        top = 2**ds.BitsStored - 1
        shown = top - ds.pixel_array if ds.PhotometricInterpretation == "MONOCHROME1" else ds.pixel_array
        assert np.array_equal(image.pixels, shown)
    assert len(kinds) > 1
    printed = "".join(capfd.readouterr()) + "".join(map(str, tmp_path.rglob("*")))
    assert "listening as SYNTHCOHORT on 127.0.0.1 port" in printed
    assert "this machine alone" in printed
    for ds in images.values():
        for value in (ds.PatientID, str(ds.PatientName).split("^")[0], ds.SOPInstanceUID, ds.AccessionNumber):
            assert str(value) not in printed


@pytest.mark.parametrize("syntax", SYNTAXES[:4])
def test_every_plain_encoding_is_kept(images, tmp_path, syntax):
    ds = copy.deepcopy(next(ds for ds in images.values() if not ds.file_meta.TransferSyntaxUID.is_compressed))
    before = ds.pixel_array.copy()
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = before.astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    pydicom.dcmwrite(file, ds, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    ds = pydicom.dcmread(io.BytesIO(file.getvalue()))
    with Receiver(tmp_path / "in") as receiver, sending(receiver.port, syntaxes=[syntax]) as association:
        assert store(association, ds) == 0
    arrived = pydicom.dcmread(tmp_path / "in" / inbox.name_of(ds.SOPInstanceUID))
    assert arrived.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(arrived.pixel_array, before)


def test_images_sent_twice_are_recognized_also_after_a_restart(images, tmp_path):
    ds = next(ds for ds in images.values() if not ds.file_meta.TransferSyntaxUID.is_compressed)
    path = tmp_path / "in" / inbox.name_of(ds.SOPInstanceUID)
    with Receiver(tmp_path / "in") as receiver, sending(receiver.port) as association:
        assert [store(association, ds), store(association, ds)] == [0, 0]
    assert (receiver.result["received"], receiver.result["duplicates"]) == (1, 1)
    first = path.read_bytes()
    packed = copy.deepcopy(ds)
    packed.compress(RLELossless, generate_instance_uid=False)
    changed = copy.deepcopy(ds)
    changed.PixelData = bytes(len(ds.PixelData))
    with Receiver(tmp_path / "in") as receiver, sending(receiver.port) as association:
        assert [store(association, ds), store(association, packed)] == [0, 0]
        status = association.send_c_store(changed)
        assert status.Status == 0xC000
        assert status.ErrorComment == "another image with this SOP Instance UID is here already"
    assert (receiver.result["received"], receiver.result["duplicates"], receiver.result["refused"]) == (0, 2, 1)
    assert path.read_bytes() == first


def test_bad_data_is_answered_with_its_status_and_the_connection_goes_on(images, tmp_path):
    ds = next(ds for ds in images.values() if not ds.file_meta.TransferSyntaxUID.is_compressed)
    sop_class, uid, data = ds.SOPClassUID, str(ds.SOPInstanceUID), encoded(ds)
    other = next(x for x in CLASSES if x != sop_class)
    with (
        Receiver(tmp_path / "in") as receiver,
        sending(receiver.port, syntaxes=[ExplicitVRLittleEndian]) as association,
    ):
        answers = [
            raw_store(association, b"no data set at all", "1.2.3", sop_class),
            raw_store(association, data[:-10], uid, sop_class),
            raw_store(association, data[: len(data) // 4], uid, sop_class),
            raw_store(association, data, "1.2.3", sop_class),
            raw_store(association, data, uid, other),
            raw_store(association, None, uid, sop_class),
            raw_store(association, data, uid, sop_class),
        ]
    assert answers == [0xC000] * 4 + [0xA900, 0xC000, 0]
    assert receiver.result["refused_because"] == {
        "damaged: SOP Class UID or SOP Instance UID is missing or malformed": 1,
        "damaged: cut off": 2,
        "its SOP Instance UID is not the announced one": 1,
        "its SOP Class is not the announced one": 1,
        "a request without data": 1,
    }
    assert dcm(tmp_path / "in") == {inbox.name_of(uid)}


def test_a_full_disk_and_images_too_large_are_answered_and_leave_nothing(images, tmp_path):
    ds = next(iter(images.values()))
    with Receiver(tmp_path / "in", reserve_mb=10**9) as receiver, sending(receiver.port) as association:
        status = association.send_c_store(ds)
        assert (status.Status, status.ErrorComment) == (0xA700, "no space left on the disk")
    assert receiver.result["refused_because"] == {"no space left on the disk": 1}
    large = copy.deepcopy(ds)
    large.add_new(0x00111010, "OB", bytes(2**20))
    with Receiver(tmp_path / "in", largest_mb=1) as receiver, sending(receiver.port) as association:
        assert [store(association, large), store(association, ds)] == [0xA700, 0]
    assert receiver.result["refused_because"] == {"larger than 1 MB": 1}
    assert dcm(tmp_path / "in") == {inbox.name_of(ds.SOPInstanceUID)}


def test_only_who_is_meant_to_is_let_in(images, tmp_path, capfd):
    with Receiver(tmp_path / "in", allow=("PACS1", "CT3"), associations=1) as receiver:
        for aet, called in (("SENDER", "SYNTHCOHORT"), ("PACS1", "ANOTHER")):
            with sending(receiver.port, aet, called) as association:
                assert association.is_rejected
        with sending(receiver.port, "CT3") as association:
            assert association.is_established
            with sending(receiver.port, "PACS1") as second:
                assert second.is_rejected
            assert store(association, next(iter(images.values()))) == 0
    assert receiver.result["rejected_associations"] == 3
    assert receiver.result["received"] == 1
    assert "not let in: SENDER" in capfd.readouterr().err


def test_connections_that_break_leave_nothing_and_others_go_on(images, tmp_path, capfd):
    out, ds = tmp_path / "in", next(iter(images.values()))
    with Receiver(out) as receiver:
        with sending(receiver.port) as association:
            raw_store(association, bytes(200000), parts=5)
            until = time.monotonic() + 20
            while not list(out.glob(".arriving/*")) and time.monotonic() < until:
                time.sleep(0.01)
            assert list(out.glob(".arriving/*"))
            association.abort()
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\0\xff\xff\xff\xff" + bytes(100), b"\x04\0\0\0\0\4\1\2\3\4"):
            with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
                connection.sendall(garbage)
        with sending(receiver.port) as association:
            raw_store(association, bytes(100), uid=None, parts=9)
            time.sleep(0.3)
            association.abort()
        until = time.monotonic() + 20
        while list(out.glob(".arriving/*")) and time.monotonic() < until:
            time.sleep(0.01)
        assert list(out.glob(".arriving/*")) == []
        with sending(receiver.port) as association:
            assert store(association, ds) == 0
    assert receiver.result["received"] == 1
    assert receiver.result["broken_associations"] >= 1
    assert "Traceback" not in capfd.readouterr().err


def test_it_stops_when_nothing_comes_any_more(images, tmp_path, capfd):
    with Receiver(tmp_path / "in", idle_seconds=0.6) as receiver:
        with sending(receiver.port) as association:
            for ds in list(images.values())[:3]:
                assert store(association, ds) == 0
                time.sleep(0.3)
        until = time.monotonic() + 20
        while receiver.result is None and time.monotonic() < until:
            time.sleep(0.02)
        assert receiver.result["received"] == 3
    assert "nothing came for 0.6 s" in capfd.readouterr().err


def command(out, *more):
    """The command in a process of its own; returns it and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "--out", str(out), "--port", "0", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stderr.readline()
    return process, int(re.search(r" port (\d+), ", line)[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(images, tmp_path, number):
    process, port = command(tmp_path / "in")
    with sending(port) as association:
        assert store(association, next(iter(images.values()))) == 0
        process.send_signal(number)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out)["received"] == 1
    assert [path.name for path in (tmp_path / "in").iterdir() if path.name.startswith(".")] == []


def test_a_killed_receiver_left_whole_files_and_starts_again_and_real_write_errors_are_answered(images, tmp_path):
    out, ds = tmp_path / "in", next(iter(images.values()))
    process, port = command(out, "--most-bytes", "50000")
    with sending(port, syntaxes=[ds.file_meta.TransferSyntaxUID]) as association:
        assert store(association, ds) == 0
        assert raw_store(association, bytes(200000)) == 0xA700  # the system refuses to write more
        raw_store(association, bytes(40000), parts=2)
        until = time.monotonic() + 20
        while not list(out.glob(".arriving/*")) and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
        process.communicate(timeout=30)
    assert list(out.glob(".arriving/*"))
    assert dcm(out) == {inbox.name_of(ds.SOPInstanceUID)}
    with Receiver(out) as receiver, sending(receiver.port) as association:
        assert list(out.glob(".arriving/*")) == []
        assert store(association, ds) == 0
    assert receiver.result["duplicates"] == 1


def test_a_port_in_use_and_a_folder_in_use_are_one_clear_line(tmp_path):
    with Receiver(tmp_path / "in") as receiver:
        with pytest.raises(InputError, match=r"cannot be opened \(Address already in use\)"):
            receive(tmp_path / "other", ReceiveConfig(port=receiver.port), threading.Event())
        with pytest.raises(InputError, match="another process is working on it"):
            receive(tmp_path / "in", ReceiveConfig(port=0), threading.Event())


def test_settings_that_are_refused():
    with pytest.raises(ConfigError) as caught:
        ReceiveConfig(port=70000, aet="A TITLE THAT IS TOO LONG", bind="nowhere", allow=("A\\B",), idle_seconds=-1.0)
    assert len(caught.value.problems) == 5
    with pytest.raises(ConfigError, match="any machine of the network could send"):
        ReceiveConfig(bind="0.0.0.0")
    assert ReceiveConfig(bind="0.0.0.0", allow=("PACS1",)).bind == "0.0.0.0"
    assert ReceiveConfig(bind="::1").bind == "::1"


def test_it_takes_every_storage_class_in_what_can_be_decoded():
    offered = dict(contexts())
    for uid in ("1.1", "2", "2.1", "4", "6", "6.1", "3", "12.1", "1.2", "77.1.5.1", "88.67"):
        assert set(SYNTAXES) <= set(offered["1.2.840.10008.5.1.4.1.1." + uid])
    assert not any("mpeg" in pydicom.uid.UID(uid).name.lower() for uid in offered[CLASSES[0]])
