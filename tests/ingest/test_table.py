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
        "file;kl_grade\r\na.png;1\r\nb.png;2\r\n".encode("utf-16"),
        b"\xfe\xff" + "file\tkl_grade\na.png\t1\nb.png\t2\n".encode("utf-16-be"),
        b"sep=;\r\nfile;kl_grade\r\na.png;1\r\nb.png;2\r\n",
        b"file,kl_grade,\na.png,1,\nb.png,2,,,\n",
        b"file,kl_grade\ra.png,1\rb.png,2\r",
    ],
    ids=[
        "comma",
        "semicolon, BOM, CRLF",
        "tab",
        "quotes and spaces",
        "UTF-16",
        "UTF-16 tab",
        "Excel's sep line",
        "trailing commas",
        "CR alone",
    ],
)
def test_tables_of_all_kinds_read_the_same(tmp_path, data):
    (tmp_path / "t.csv").write_bytes(data)
    table = read_table(tmp_path, "t.csv")
    assert table.columns == ("file", "kl_grade")
    assert table.rows == ({"file": "a.png", "kl_grade": "1"}, {"file": "b.png", "kl_grade": "2"})


def test_cells_over_several_lines_and_strange_line_ends(tmp_path):
    data = 'file;"Finding;\nLabels";note\na.png;"one\r\ntwo";x\u2028y\n\nb.png;"he said ""no""";z\x0bz\n'
    (tmp_path / "t.csv").write_bytes(data.encode())
    table = read_table(tmp_path, "t.csv")
    assert table.columns == ("file", "Finding;\nLabels", "note")
    assert table.values(table.columns[1]) == ["one\r\ntwo", 'he said "no"']
    assert table.values("note") == ["x\u2028y", "z\x0bz"]


def test_latin_1_and_short_rows(tmp_path):
    (tmp_path / "t.csv").write_bytes("file,größe,note\na.png,1\n".encode("latin-1"))
    table = read_table(tmp_path, "t.csv")
    assert table.columns[1] == "größe"
    assert table.rows[0]["note"] == ""


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"file,x,x\na,1,2\n", "several columns have the same name: 2 and 3"),
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
    assert index.find("B.PNG") == index.find("old/b.dcm") == ["images/2/b.png"]
    assert FileIndex(["a.PNG", "a.png"]).find("a.png") == ["a.png"]


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
    hashed = IdentifierJoin(table_of(*rows), "uid", "pid", "side", lambda uid: f"u{uid}", lambda patient: f"h{patient}")
    assert [row["y"] for row in hashed.find({"sop_instance_uid": "u2.25.1", "patient_id": None}, None)] == ["1"]
    assert [row["y"] for row in hashed.find({"sop_instance_uid": None, "patient_id": "hP2"}, "L")] == ["2"]
    assert hashed.find({"patient_id": "P2"}, "L") == []


HEADERLESS = [
    "im0.png,Anna Beispiel,01.03.1961,krank\nim1.png,Bernd Muster,02.03.1961,normal\n",
    "im0,Anna Beispiel,krank\nim1,Bernd Muster,normal\n",
    "gone.png,Anna Beispiel,krank\nim1.png,Bernd Muster,normal\n",
    "Anna Beispiel;1961;krank\nBernd Muster;1962;normal\n",
    "Anna Beispiel;4;krank\nBernd Muster;7;normal\n",
    "Anna Beispiel;1234567;malignant\nBernd Muster;1234568;benign\n",
    "Anna Beispiel,krank\nBernd Muster,krank\n",
    "Export 01.03.2021 Dr. Nirgend\nfile,label\nim0.png,krank\n",
]


@pytest.mark.parametrize("text", HEADERLESS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_a_first_line_of_data_is_refused_and_not_quoted(tmp_path, text, encoding):
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match=r"first line seems to hold data|as many cells") as caught:
        read_table(tmp_path, "t.csv", FileIndex(["im0.png", "im1.png"]))
    assert not any(word in str(caught.value) for word in ("Anna", "Beispiel", "1961", "krank", "Nirgend", "1234567"))


@pytest.mark.parametrize(
    "text",
    ["image,0,1,2\nim0,1,0,0\nim1,0,1,0\n", "file,Read by,Dictated by\nim0,A,B\n", "im0,file\n1,im0.png\n2,im1.png\n",
     "Datei;Größe;Befund\nim0.png;3;krank\n", "file,normal\nim0.png,normal\nim1.png,\n", ",file,x\n0,im0,1\n"],
)  # fmt: skip
def test_real_headers_are_none(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert read_table(tmp_path, "t.csv", FileIndex(["im0.png", "im1.png"])).rows


def test_a_header_in_the_midst_is_no_row(tmp_path):
    (tmp_path / "t.csv").write_text("file,label\na.png,1\nfile,label\nb.png,2\n")
    assert len(read_table(tmp_path, "t.csv").rows) == 2


def test_a_placeholder_joins_no_patient():
    rows = [{"pid": "ANONYMOUS", "y": "1"}, {"pid": "P1", "y": "2"}]
    join = IdentifierJoin(table_of(*rows), None, "pid", None)
    assert join.find({"patient_id": "ANONYMOUS"}, None) == []
    assert [row["y"] for row in join.find({"patient_id": "P1"}, None)] == ["2"]
