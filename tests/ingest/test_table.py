import pytest

from synthcohort.core.errors import InputError
from synthcohort.ingest.table import FileIndex, IdentifierJoin, Table, join_files, read_table


@pytest.mark.parametrize(
    "data",
    [
        b"file,kl_grade\na.png,1\n\nb.png,2\n",
        b"\xef\xbb\xbffile;kl_grade\r\na.png;1\r\nb.png;2\r\n",
        b"file\tkl_grade\na.png\t1\nb.png\t2",
        b'file,kl_grade\n"a.png", 1 \nb.png,2\n',
    ],
    ids=["comma", "semicolon, BOM, CRLF", "tab", "quotes and spaces"],
)
def test_tables_of_all_kinds_read_the_same(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    table = read_table(tmp_path, "t.csv")
    assert table.columns == ("file", "kl_grade")
    assert table.rows == ({"file": "a.png", "kl_grade": "1"}, {"file": "b.png", "kl_grade": "2"})


def test_latin_1_and_short_rows(tmp_path):
    (tmp_path / "t.csv").write_bytes("file,größe,note\na.png,1\n".encode("latin-1"))
    table = read_table(tmp_path, "t.csv")
    assert table.columns[1] == "größe"
    assert table.rows[0]["note"] == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"file,x,x\na,1,2\n", "several columns called 'x'"),
        (b"file,x\na.png,1,Phantom^Ada\n", "line 2 has 3 cells, the header 2"),
        (b"\0\1\2", "is not text"),
    ],
)
def test_improper_tables_are_refused_without_quoting_them(tmp_path, data, words):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        read_table(tmp_path, "t.csv")
    assert "Ada" not in str(caught.value)


def test_files_are_found_by_path_name_or_stem():
    index = FileIndex(["images/1/a.png", "images/2/a.png", "images/2/b.png"])
    assert index.find("images/1/a.png") == ["images/1/a.png"]
    assert index.find("./images/2/b.png") == ["images/2/b.png"]
    assert index.find("1/a.png") == ["images/1/a.png"]
    assert index.find("b") == index.find("b.png") == index.find(r"C:\data\b.png") == ["images/2/b.png"]
    assert index.find("a") == ["images/1/a.png", "images/2/a.png"]
    assert index.find("a.png", folder="images/1") == ["images/1/a.png"]
    assert index.find("c") == index.find("") == []


def table_of(*rows, name="metadata.csv"):
    return Table(name, tuple(rows[0]), tuple(rows))


def test_disagreeing_rows_leave_a_file_without():
    index = FileIndex(["a.png", "b.png", "c.png", "1/d.png", "2/d.png"])
    rows = [
        {"file": "a.png", "y": "1"}, {"file": "b.png", "y": "1"}, {"file": "b.png", "y": "2"},
        {"file": "c.png", "y": "3"}, {"file": "c.png", "y": "3"}, {"file": "d.png", "y": "4"},
        {"file": "gone.png", "y": "5"},
    ]  # fmt: skip
    join = join_files(table_of(*rows), "file", index)
    assert set(join.rows) - join.ambiguous == {"a.png", "c.png"}
    assert join.ambiguous == {"b.png", "1/d.png", "2/d.png"}
    assert join.absent == ("gone.png",)


def test_rows_by_dicom_identifiers():
    rows = [
        {"uid": "2.25.1", "pid": "P1", "side": "left", "y": "1"}, {"uid": "", "pid": "P2", "side": "left", "y": "2"},
        {"uid": "", "pid": "P2", "side": "right", "y": "3"}, {"uid": "", "pid": "P3", "side": "", "y": "4"},
    ]  # fmt: skip
    join = IdentifierJoin(table_of(*rows), "uid", "pid", "side")
    assert [row["y"] for row in join.find({"sop_instance_uid": "2.25.1", "patient_id": "P3"}, "R")] == ["1"]
    assert [row["y"] for row in join.find({"patient_id": "P2"}, "R")] == ["3"]
    assert len(join.find({"patient_id": "P2"}, None)) == 2
    assert [row["y"] for row in join.find({"patient_id": "P3"}, "L")] == ["4"]
    assert join.find({"patient_id": "P9"}, "L") == join.find({}, None) == []
