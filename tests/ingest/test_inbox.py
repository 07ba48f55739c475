import io
import stat

import pydicom
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from synthcohort.formats import Unreadable
from synthcohort.ingest import inbox


@pytest.fixture(scope="module")
def samples(hospital):
    """Files in plain and compressed encodings, implicit, big endian and deflated ones among them."""
    found = {}
    for path in sorted(hospital.rglob("*.dcm")):
        found.setdefault(str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID), path)
    files = [path.read_bytes() for path in found.values()]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        ds = pydicom.dcmread(sorted(hospital.rglob("*.dcm"))[0])
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = ds.pixel_array.astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        file = io.BytesIO()
        pydicom.dcmwrite(file, ds, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
        files.append(file.getvalue())
    assert len(files) >= 6
    return files


def test_whole_files_are_known_by_their_uids(samples, tmp_path):
    for number, data in enumerate(samples):
        (tmp_path / "x").write_bytes(data)
        found = inbox.inspect(tmp_path / "x")
        ds = pydicom.dcmread(io.BytesIO(data))
        assert (found.sop_instance_uid, found.sop_class_uid) == (ds.SOPInstanceUID, ds.SOPClassUID), number
        assert found.transfer_syntax_uid == ds.file_meta.TransferSyntaxUID


@given(st.data())
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_image_that_was_cut_off_is_taken_for_whole(samples, tmp_path, draw):
    data = draw.draw(st.sampled_from(samples))
    at = draw.draw(st.one_of(st.integers(0, len(data) - 2), st.integers(0, min(2500, len(data) - 2))))
    (tmp_path / "x").write_bytes(data[:at])
    try:
        inbox.inspect(tmp_path / "x")
    except Unreadable:
        return
    # Cut between two elements, before anything says that there should be pixels: reading refuses it as no image.
    ds = pydicom.dcmread(io.BytesIO(data[:at]))
    assert "Rows" not in ds
    assert "PixelData" not in ds


def test_an_object_without_pixels_is_fine(samples, tmp_path):
    ds = pydicom.dcmread(io.BytesIO(samples[0]))
    for name in ("PixelData", "Rows", "Columns"):
        del ds[name]
    ds.save_as(tmp_path / "x", enforce_file_format=True)
    assert inbox.inspect(tmp_path / "x").sop_instance_uid == ds.SOPInstanceUID


def test_names_say_nothing_and_existing_files_are_never_replaced(samples, tmp_path):
    folder = tmp_path / "in"
    inbox.prepare(folder)
    uid = "1.2.3.4"
    assert uid not in inbox.name_of(uid)
    assert inbox.name_of(uid) == inbox.name_of("1.2.3.4") != inbox.name_of("1.2.3.5")
    with inbox.arriving(folder) as (path, file):
        file.write(b"one")
        file.close()
        kept = inbox.keep(folder, path, uid)
    with inbox.arriving(folder) as (path, file):
        file.write(b"two")
        file.close()
        with pytest.raises(FileExistsError):
            inbox.keep(folder, path, uid)
    assert kept.read_bytes() == b"one"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (folder / inbox.ARRIVING / "left.part").touch()
    inbox.prepare(folder)
    assert list((folder / inbox.ARRIVING).iterdir()) == []
    inbox.close(folder)
    assert [path.name for path in folder.iterdir()] == [kept.parent.name]


@pytest.mark.parametrize("text", ["", "1.2/3", "../1", "1" * 65, "1.2.a", None, "1.2 "])
def test_what_is_no_uid(text):
    assert not inbox.is_uid(text)
    assert inbox.is_uid("1.2.840.10008.1.2")
