import io
import os
import pickle
import struct
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthcohort.formats.image import Unreadable
from synthcohort.ingest.archive import Archive, Limits, open_archive, open_source
from synthcohort.ingest.scan import SourceFile


def pack(path, members, method=zipfile.ZIP_DEFLATED):
    """Writes a zip file; `members` are pairs of a name (or ZipInfo) and bytes."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def entry(name, mode=None, flags=0):
    info = zipfile.ZipInfo(name)
    if mode is not None:
        info.create_system, info.external_attr = 3, mode << 16
    info.flag_bits = flags
    return info


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
def test_members_are_read_as_they_were_packed(tmp_path, method):
    data = {"a/1.png": os.urandom(3000), "./b.dcm": b"x" * 5000, "c//d.csv": b""}
    archive = Archive(pack(tmp_path / "x.zip", [("a/", b""), *data.items()], method))
    assert list(archive.members) == ["a/1.png", "b.dcm", "c/d.csv"]
    assert [archive.read(name) for name in archive.members] == [data["a/1.png"], data["./b.dcm"], b""]
    assert archive.read("a/1.png", 132) == data["a/1.png"][:132]
    assert archive.size("b.dcm") == 5000
    assert archive.refused == ()
    archive.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.png", "leads out"), ("a/../../evil.png", "leads out"), ("/etc/evil.png", "leads out"),
        ("C:/evil.png", "leads out"), ("c:evil.png", "leads out"), ("a\\..\\evil.png", "backslash"),
        ("a\nb.png", "control characters"), ("inner.zip", "archive inside an archive"),
        ("inner.tar.gz", "archive inside an archive"), (entry("link.png", 0o120777), "a link"),
        (entry("pipe.png", 0o010644), "no regular file"),
    ],
    ids=str,
)  # fmt: skip
def test_members_that_cannot_be_trusted_are_refused_alone(tmp_path, name, words):
    archive = Archive(pack(tmp_path / "x.zip", [("good.png", b"good"), (name, b"evil")]))
    assert list(archive.members) == ["good.png"]
    [(shown, reason)] = archive.refused
    assert words in reason
    assert shown.isprintable()
    assert shown.endswith("(member 1)")
    archive.close()


def test_nul_in_a_name_and_encryption_are_seen(tmp_path):
    path = pack(tmp_path / "x.zip", [("goodXevil.png", b"a"), ("secret.png", b"b")])
    data = bytearray(path.read_bytes().replace(b"goodXevil", b"good\0evil"))
    directory = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1)
    data[directory + 8] |= 1  # the second entry says that it is encrypted
    path.write_bytes(data)
    archive = Archive(path)
    assert archive.members == {}
    assert [reason.split(",")[0].split(";")[0] for _, reason in archive.refused] == [
        "its name holds control characters", "encrypted",
    ]  # fmt: skip
    archive.close()


def test_names_that_members_share_are_all_refused(tmp_path):
    names = ["a/X.png", "a/x.PNG", "b.png", "./b.png", "caf\u00e9.png", "cafe\u0301.png", "c.png"]
    archive = Archive(pack(tmp_path / "x.zip", [(name, b"1") for name in names]))
    assert list(archive.members) == ["c.png"]
    assert {reason for _, reason in archive.refused} == {
        "several members have this name, upper and lower case being the same"
    }
    assert len(archive.refused) == 6
    archive.close()


def test_bombs(tmp_path):
    limits = Limits(members=3, member_bytes=2**20, total_bytes=2**21, ratio=200, ratio_from_bytes=2**16)
    bomb = pack(tmp_path / "bomb.zip", [("zeros.dcm", bytes(2**19)), ("fine.dcm", os.urandom(2**17))])
    archive = Archive(bomb, limits)
    assert list(archive.members) == ["fine.dcm"]
    assert "out of proportion" in archive.refused[0][1]
    archive.close()
    large = Archive(pack(tmp_path / "large.zip", [("a.dcm", os.urandom(2**20 + 1))]), limits)
    assert "larger than" in large.refused[0][1]
    large.close()
    many = pack(tmp_path / "many.zip", [(f"{i}.dcm", b"") for i in range(4)])
    with pytest.raises(Unreadable, match="more than 3 members"):
        Archive(many, limits)
    total = pack(tmp_path / "total.zip", [(f"{i}.dcm", os.urandom(2**20)) for i in range(3)])
    with pytest.raises(Unreadable, match="GiB unpacked"):
        Archive(total, limits)


def test_a_header_that_lies_about_its_size_gives_no_more_than_it_says(tmp_path):
    path = pack(tmp_path / "x.zip", [("a.dcm", bytes(2**22))])
    data = bytearray(path.read_bytes())
    for place in (data.index(b"PK\3\4") + 22, data.index(b"PK\1\2") + 24):
        data[place : place + 4] = struct.pack("<I", 1000)  # uncompressed size
    path.write_bytes(data)
    archive = Archive(path)
    with pytest.raises(Unreadable, match="cannot be unpacked"):
        archive.read("a.dcm")
    archive.close()


def test_what_comes_out_is_measured_whatever_the_header_says(tmp_path):
    path = pack(tmp_path / "x.zip", [("a.dcm", bytes(2**22))])
    archive = Archive(path, Limits(member_bytes=2**23, ratio_from_bytes=2**23))
    archive._limits = Limits(ratio_from_bytes=2**20)
    with pytest.raises(Unreadable, match="out of proportion"):
        archive.read("a.dcm")
    archive._limits = Limits(member_bytes=2**21)
    with pytest.raises(Unreadable, match="larger than"):
        archive.read("a.dcm")
    archive.close()


def quoted_bomb(count=20):
    """A zip bomb whose members are all the same bytes, as D. Fifield's overlap."""
    body = zlib.compressobj(wbits=-15)
    data = body.compress(bytes(10000)) + body.flush()
    crc = zlib.crc32(bytes(10000))
    sizes = struct.pack("<III", crc, len(data), 10000)
    out = b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 0) + sizes + struct.pack("<HH", 5, 0) + b"0.dcm" + data
    directory = b""
    for _ in range(count):
        directory += b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0) + sizes
        directory += struct.pack("<HHHHHII", 5, 0, 0, 0, 0, 0, 0) + b"0.dcm"
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(directory), len(out), 0)
    return out + directory + end


def test_members_that_overlap_refuse_the_archive(tmp_path):
    (tmp_path / "x.zip").write_bytes(quoted_bomb(1))
    Archive(tmp_path / "x.zip").close()
    (tmp_path / "y.zip").write_bytes(quoted_bomb(2))
    with pytest.raises(Unreadable, match="overlap"):
        Archive(tmp_path / "y.zip")


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"not a zip" * 100, b"PK\5\6" + bytes(5), b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_archive(tmp_path, data):
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(Unreadable):
        Archive(tmp_path / "x.zip")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6), st.floats(0, 1))
def test_damage_is_refused_and_nothing_else_happens(tmp_path, changes, cut):
    buffer = io.BytesIO()
    pack(buffer, [("a.png", b"a" * 300), ("b/c.dcm", b"b" * 300)])
    data = bytearray(buffer.getvalue())
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    (tmp_path / "x.zip").write_bytes(data[: int(cut * len(data) * 2)])
    try:
        archive = Archive(tmp_path / "x.zip")
    except Unreadable:
        return
    for name in archive.members:
        try:
            archive.read(name)
        except Unreadable:
            continue
    archive.close()


def test_sources_are_opened_by_name_in_any_process(tmp_path):
    pack(tmp_path / "x.zip", [("b/c.dcm", b"inside")])
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "folder.zip" / "d.png").write_bytes(b"beside")
    assert open_source(tmp_path, "x.zip/b/c.dcm").data == b"inside"
    assert open_source(tmp_path, "folder.zip/d.png").path == tmp_path / "folder.zip" / "d.png"
    file = pickle.loads(pickle.dumps(SourceFile("x.zip/b/c.dcm", 6, "dicom")))
    assert open_source(tmp_path, file).name == "x.zip/b/c.dcm"
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(open_source, tmp_path, file).result().data == b"inside"


def test_an_archive_is_opened_once_and_again_when_it_changes(tmp_path):
    path = pack(tmp_path / "x.zip", [("a.png", b"1")])
    first = open_archive(path)
    assert open_archive(path) is first
    pack(path, [("a.png", b"22"), ("b.png", b"3")])
    assert list(open_archive(path).members) == ["a.png", "b.png"]
    with pytest.raises(Unreadable, match="no longer"):
        open_source(tmp_path, "x.zip/gone.png")


def test_a_member_without_a_name_is_refused_alone(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", b"x" * 40)
        archive.writestr("Q", b"y" * 40)
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02")  # the directory's entry of the second member: its name becomes a comment
    data[place + 28 : place + 30], data[place + 32 : place + 34] = b"\0\0", b"\1\0"
    path.write_bytes(data)
    archive = Archive(path)
    assert list(archive.members) == ["good.png"]
    assert [reason for _, reason in archive.refused] == ["its name leads out of the archive"]
