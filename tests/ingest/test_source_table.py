"""Tables, folders and the images' own rows, shaped as they occur in the world: mapped by names and values alone."""

import csv
import io
import zipfile
from pathlib import Path

import pytest

from synthcohort.core.errors import ConfigError, InputError
from synthcohort.ingest.columns import find_labels, main_label
from synthcohort.ingest.config import Columns, IngestConfig
from synthcohort.ingest.deidentify import Pseudonyms
from synthcohort.ingest.scan import scan
from synthcohort.ingest.source_table import SourceTable, find_table, with_carried
from synthcohort.ingest.terms import own_words

DATA = Path(__file__).parents[3] / "shared" / "data"


def text_of(rows, delimiter=","):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write(folder, files):
    """Writes tables (lists of rows), texts and empty files (None)."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(content) if isinstance(content, list) else content or "")
    return folder


def source(folder, rows, column="file", table="metadata.csv"):
    """A folder with a table and the empty files that it names."""
    return write(folder, {table: rows, **{row[column]: None for row in rows}})


def understood(folder, config=IngestConfig()):  # noqa: B008
    """Roles, labels, main label, own words and rows, as ingest would have them without decoding anything."""
    listing = scan(folder)
    table = find_table(listing, config)
    rows = [table.row(file.name, {}, None)[0] for file in listing.images]
    patient, group = (table.mapped.known.get(role) for role in ("patient_id", "group_id"))
    persons = [
        row[patient] if row and patient else ("group", row[group] if row and group else i) for i, row in enumerate(rows)
    ]
    labels, dropped, _ = find_labels(table.mapped.rest, rows, persons, config)
    words = own_words(table.mapped.known.get("caption"), table.mapped.rest, rows, persons)
    main = main_label(labels, "")
    return table, {x.label.name: x for x in labels}, main and main.label.name, words, rows, dropped


def knee(i):
    return {"file": f"images/{i % 5}/{9000000 + i // 2}{'LR'[i % 2]}.jpg", "patient_id": 9000000 + i // 2,
            "laterality": "LR"[i % 2], "kl_grade": i % 5}  # fmt: skip


def chest(i):
    sick = i % 3 > 0
    return {"file": f"images/{'PNEUMONIA' if sick else 'NORMAL'}/p{i}.jpg", "patient_id": f"person{i // 4}",
            "finding": "pneumonia" if sick else "normal", "aetiology": ["", "virus", "bacteria"][i % 3]}  # fmt: skip


def labeled(*classes):
    return lambda i: {"file": f"images/{classes[i % len(classes)]}/{i}.jpg", "label": classes[i % len(classes)]}


def ultrasound(i):
    row = labeled("benign", "malignant", "normal")(i)
    texts = ("An ultrasound image of breast with {} findings.", "A B-mode ultrasound of breast, consistent with {}.")
    return row | {"caption": texts[i // 3 % 2].format(row["label"])}


def fundus(i):
    words = ["normal fundus", "moderate non proliferative retinopathy", "glaucoma，cataract", "cataract, lens dust"]
    return {"file": f"images/{i // 2}_{('left', 'right')[i % 2]}.jpg", "patient_id": i // 2,
            "eye": ("left", "right")[i % 2], "age": 40 + i % 40, "sex": ("Male", "Female")[i // 2 % 2],
            "diagnostic_keywords": words[i // 2 % 4] if i else "drusen of one patient"}  # fmt: skip


def dermoscopy(i):
    return {"file": f"images/ISIC_{i:07d}.jpg", "lesion_id": f"HAM_{i:07d}", "dx": ("nv", "mel", "bcc")[i % 3],
            "dx_type": ("histo", "follow_up")[i % 2], "age": "" if i % 9 == 0 else f"{20 + i % 60}.0",
            "sex": ("male", "female", "unknown")[i % 7 % 3],
            "localization": ("back", "unknown", "trunk")[i % 3]}  # fmt: skip


def smear(i):
    return {"file": f"images/{i}.jpg", "smear_id": i % 30, "label": ("EOSINOPHIL", "LYMPHOCYTE")[i % 7 % 2]}


SHAPES = {
    "knee-xray": (knee, {"patient_id", "laterality"}, "kl_grade", {"kl_grade"}),
    "chest-xray": (chest, {"patient_id"}, "finding", {"finding", "aetiology"}),
    "chest-ct": (labeled("benign", "malignant", "normal"), set(), "label", {"label"}),
    "brain-mri": (labeled("glioma_tumor", "no_tumor", "pituitary_tumor"), set(), "label", {"label"}),
    "breast-ultrasound": (ultrasound, {"caption"}, "label", {"label"}),
    "fundus-photo": (fundus, {"patient_id", "laterality", "age", "sex"}, "diagnostic_keywords",
                     {"diagnostic_keywords", "normal_fundus", "glaucoma", "cataract", "lens_dust",
                      "moderate_non_proliferative_retinopathy"}),
    "dermoscopy": (dermoscopy, {"group_id", "age", "sex"}, "dx", {"dx", "dx_type", "localization"}),
    "lung-histology": (labeled("lung_aca", "lung_n", "lung_scc"), set(), "label", {"label"}),
    "colon-histology": (labeled("colon_aca", "colon_n"), set(), "label", {"label"}),
    "blood-smear": (smear, {"group_id"}, "label", {"label"}),
}  # fmt: skip
ELEVENTH = "chest-ct-dicom"  # has no table


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_the_data_sets(tmp_path, name):
    make, roles, main, labels = SHAPES[name]
    table, found, likeliest, words, rows, dropped = understood(source(tmp_path, [make(i) for i in range(180)]))
    assert set(table.mapped.known) == roles | {"file"}
    assert likeliest == main
    assert set(found) == labels
    assert dropped == {}
    assert all(rows)
    assert table.absent == ()
    assert (words is not None) == (name in ("breast-ultrasound", "fundus-photo"))


def test_clinicians_words_become_labels_and_captions(tmp_path):
    _, labels, _, words, rows, _ = understood(source(tmp_path, [fundus(i) for i in range(180)]))
    both = next(row for row in rows if row["diagnostic_keywords"] == "glaucoma，cataract")
    assert [labels[name].parse(both["diagnostic_keywords"]) for name in ("glaucoma", "cataract", "lens_dust")] == [
        1,
        1,
        0,
    ]
    assert labels["glaucoma"].parse("") is None
    assert words.text(both["diagnostic_keywords"]) == "glaucoma, cataract"
    assert words.text("drusen of one patient") is None
    assert labels["diagnostic_keywords"].parse("drusen of one patient") is None


@pytest.mark.shared_data
@pytest.mark.parametrize("name", [*SHAPES, ELEVENTH])
def test_the_real_tables(name):
    table, labels, main, words, rows, dropped = understood(DATA / name)
    assert all(rows)
    assert dropped == {}
    if name == ELEVENTH:
        assert table.mapped.known == {"patient_id": "patient_id", "view": "view"}
        assert len({row["patient_id"] for row in rows}) == 10
        return
    _, roles, expected, own = SHAPES[name]
    assert set(table.mapped.known) == roles | {"file"}
    assert main == expected
    assert set(labels) == own if name != "fundus-photo" else set(labels) > {main, "glaucoma", "cataract", "drusen"}
    assert len(rows) == len(table.table.rows)
    assert table.absent == ()
    if words:
        assert sum(words.text(row[words.column]) is None for row in rows) < 0.001 * len(rows)


WORLD = {
    "NIH": ("Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
            "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n",
            lambda i: f"{i:08d}_000.png,{['No Finding', 'Mass|Nodule', 'Mass'][i % 3]},{i},{i // 2},"
                      f"{40 + i % 9}Y,MF,PA,9,9,1,1,\n",
            {"file", "patient_id", "age", "view"}, {"mass", "no_finding", "nodule", "finding_labels"}),
    "CheXpert": ("Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema\n",
                 lambda i: f"v1/train/patient{i // 2:05d}/study1/view{i % 2}.jpg,Female,{i % 80},Frontal,"
                           f"{['AP', 'PA'][i % 2]},{['1.0', ''][i % 2]},{['-1.0', '0.0', '1.0'][i % 3]}\n",
                 {"file", "sex", "age", "view", "patient_id"}, {"edema"}),
    "ISIC": ("image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n",
             lambda i: f"ISIC_{i:07d},IP_{i // 3},male,{i % 80},{['torso', 'head/neck'][i % 2]},nevus,"
                       f"{['benign', 'malignant'][i % 2]},{i % 2}\n",
             {"file", "patient_id", "sex", "age"}, {"anatom_site_general_challenge", "benign_malignant", "target"}),
    "HAM10000": ("lesion_id,image_id,dx,dx_type,age,sex,localization\n",
                 lambda i: f"HAM_{i // 2},ISIC_{i},{['nv', 'mel'][i % 2]},histo,{i % 80}.0,male,"
                           f"{['back', 'ear'][i % 2]}\n",
                 {"file", "group_id", "age", "sex"}, {"dx", "localization"}),
    "Excel": ("Patient Name;Patient ID;Image;Date of Birth;Side;Group;Grade\n",
              lambda i: f"Muster {i};P{i // 2};{i}.png;01.02.1950;{['links', 'krank'][i % 2]};"
                        f"{['A', 'B'][i % 2]};{i % 3}\n",
              {"file", "patient_id"}, {"side", "group", "grade"}),
    "studies": ("StudyInstanceUID,SOPInstanceUID,filename,class\n",
                lambda i: f"2.25.{i // 3},2.25.9{i},{i}.png,{['a', 'b'][i % 2]}\n",
                {"file", "group_id", "sop_instance_uid"}, {"class"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLD)
def test_shapes_of_the_world(tmp_path, name):
    header, line, roles, labels = WORLD[name]
    lines = [line(i) for i in range(120)]
    index = {"NIH": 0, "CheXpert": 0, "ISIC": 0, "HAM10000": 1, "Excel": 2, "studies": 2}[name]
    files = [text.split(";" if name == "Excel" else ",")[index] for text in lines]
    write(tmp_path, {"list.csv": header + "".join(lines), **{f if "." in f else f"{f}.jpg": None for f in files}})
    table, found, _, _, rows, dropped = understood(tmp_path)
    assert set(table.mapped.known) == roles
    assert set(found) == labels
    assert all(rows)
    assert not {"Patient Name", "Date of Birth"} & {x.column for x in found.values()}
    if name == "CheXpert":
        assert rows[0]["patient_id"] == "patient00000"
        assert found["edema"].parse("-1.0") is None
        assert found["edema"].label.values == (0, 1)
        assert dropped["No Finding"] == "it has the same value everywhere"


def test_a_table_in_an_archive_describes_it(tmp_path):
    rows = [knee(i) for i in range(40)]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("set/metadata.csv", text_of(rows))
        for row in rows:
            archive.writestr("set/" + row["file"], b"x")
    for place in (tmp_path, tmp_path / "x.zip"):
        table, labels, *_, found, _ = understood(place)
        assert set(table.mapped.known) == {"file", "patient_id", "laterality"}
        assert set(labels) == {"kl_grade"}
        assert all(found)


def test_lists_of_different_files_are_put_together(tmp_path):
    parts = {"train.csv": range(30), "valid.csv": range(30, 40)}
    for name, numbers in parts.items():
        source(tmp_path, [{"file": f"{i}.png", "label": "ab"[i % 2]} for i in numbers], table=name)
    table, labels, _, _, rows, _ = understood(tmp_path)
    assert table.mapped.known == {"file": "file", "split": "split"}
    assert sorted({row["split"] for row in rows}) == ["train", "validation"]
    assert set(labels) == {"label"}
    assert len([row for row in rows if row]) == 40


def test_a_list_of_patients_is_joined_to_one_of_files(tmp_path):
    images = [{"filename": f"{i}.png", "participant_id": f"sub-{i // 2:02d}", "grade": i % 3} for i in range(40)]
    people = [
        {"participant_id": f"sub-{p:02d}", "age": 50 + p, "sex": "MF"[p % 2], "arm": "AB"[p % 2]} for p in range(20)
    ]
    source(tmp_path, images, "filename", "images.csv")
    write(tmp_path, {"participants.tsv": text_of(people, "\t")})
    table, labels, _, _, rows, _ = understood(tmp_path)
    assert set(table.mapped.known) == {"file", "patient_id", "age", "sex"}
    assert set(labels) == {"grade", "arm"}
    assert all(row["age"] == str(50 + int(row["participant_id"][-2:])) for row in rows)
    assert table.warnings == ("table participants.tsv: its rows were joined by patient",)


def test_a_list_of_patients_is_joined_to_folders_of_patients(tmp_path):
    people = [{"participant_id": f"sub-{p:02d}", "sex": "MF"[p % 2]} for p in range(9)]
    files = {f"sub-{p:02d}/anat/{i}.png": None for p in range(9) for i in range(2)}
    write(tmp_path, {"participants.tsv": text_of(people, "\t"), **files})
    table, *_, rows, _ = understood(tmp_path)
    assert set(table.mapped.known) == {"patient_id", "sex"}
    assert rows[-1] == {"patient_id": "sub-08", "sex": "M"}


def test_the_larger_of_two_lists_of_the_same_files(tmp_path):
    source(tmp_path, [{"file": f"{i}.png", "label": "ab"[i % 2]} for i in range(40)], table="Data_Entry.csv")
    boxes = [{"file": f"{i}.png", "x": i} for i in range(10)]
    write(tmp_path, {"boxes.csv": boxes})
    assert understood(tmp_path)[0].table.name == "Data_Entry.csv"
    write(tmp_path, {"boxes.csv": [{"file": f"{i}.png", "x": i} for i in range(30)]})
    with pytest.raises(InputError, match="several describe the images"):
        understood(tmp_path)
    assert understood(tmp_path, IngestConfig(table="boxes.csv"))[0].table.name == "boxes.csv"


def test_folders_where_no_table_is(tmp_path):
    write(tmp_path, {f"{split}/{c}/{i}.png": None for split in ("train", "test") for c in "01" for i in range(5)})
    write(tmp_path, {"about.csv": [{"who": "nobody"}], "list.xlsx": None})
    table, labels, main, _, rows, _ = understood(tmp_path)
    assert table.mapped.known == {"split": "split"}
    assert main == "label"
    assert labels["label"].label.kind == "ordinal"
    assert rows[0] == {"split": "test", "label": "0"}
    assert [text for text in table.warnings if "1 tables" in text or "1 spreadsheets" in text] == list(
        table.warnings[:2]
    )
    assert find_table(scan(tmp_path), IngestConfig(), folders="ignore").table is None


def test_a_header_goes_before_the_folder(tmp_path):
    write(
        tmp_path, {f"patient{p}/{side}/{i}.dcm": None for p in range(3) for side in ("left", "right") for i in range(2)}
    )
    table = find_table(scan(tmp_path), IngestConfig())
    assert table.row("patient1/left/0.dcm", {"patient_id": None}, None)[0]["patient_id"] == "patient1"
    assert table.row("patient1/left/0.dcm", {"patient_id": "p-00"}, None)[0] == {"patient_id": "", "laterality": "left"}


def test_rows_by_pseudonyms(tmp_path):
    rows = [{"PatientID": f"P{i}", "grade": i % 3} for i in range(6)]
    write(tmp_path, {"grades.csv": rows, **{f"{i}.dcm": None for i in range(6)}})
    pseudonyms = Pseudonyms(b"k" * 32)
    table = find_table(scan(tmp_path), IngestConfig(), pseudonyms)
    assert (
        table.row("4.dcm", {"patient_id": pseudonyms.patient("P4"), "sop_instance_uid": None}, None)[0]["grade"] == "1"
    )
    assert table.row("4.dcm", {"patient_id": "P4"}, None) == (None, "the table does not name it")


def test_rows_that_images_bring():
    rows = [{"label": str(i % 3), "split": "train"} for i in range(9)] + [{"label": "1"}, None]
    table, filled = SourceTable.from_rows(rows, IngestConfig())
    assert table.mapped.known == {"split": "split"}
    assert table.mapped.rest == ("label",)
    assert filled[9:] == [{"label": "1", "split": ""}, None]
    with pytest.raises(ConfigError, match="no column 'age' in the images' own; allowed: label, split"):
        SourceTable.from_rows(rows, IngestConfig(columns=Columns(age="age")))


def test_rows_that_images_bring_complete_the_table(tmp_path):
    source(tmp_path, [{"file": f"{i}.npz", "hospital": "A", "label": "x"} for i in range(3)])
    table = find_table(scan(tmp_path), IngestConfig())
    own = [table.row(f"{i}.npz", {}, None)[0] for i in range(3)]
    same, unchanged = with_carried(table, own, [None, {}, None], IngestConfig())
    assert (same, unchanged) == (table, own)
    joined, rows = with_carried(table, own, [{"label": "y", "dx": "1"}, {"dx": "2"}, None], IngestConfig())
    assert [row["dx"] for row in rows] == ["1", "2", ""]
    assert [row["label"] for row in rows] == ["x"] * 3
    assert joined.mapped.known == {"file": "file", "site": "hospital"}
    assert joined.mapped.rest == ("label", "dx")
    assert joined.by_file is table.by_file


def test_rows_that_images_bring_go_before_folders_and_meet_patients(tmp_path):
    files = {f"{c}/{i}.npz": None for c in ("benign", "normal") for i in range(3)}
    write(
        tmp_path,
        {**files, "participants.tsv": text_of([{"participant_id": f"sub-{p}", "age": 50 + p} for p in range(6)])},
    )
    table = find_table(scan(tmp_path), IngestConfig())
    own = [table.row(name, {}, None)[0] for name in files]
    carried = [{"label": "own", "participant_id": f"sub-{i}"} for i in range(5)] + [None]
    joined, rows = with_carried(table, own, carried, IngestConfig())
    assert [row["label"] for row in rows] == ["own"] * 5 + ["normal"]
    assert [row["age"] for row in rows] == ["50", "51", "52", "53", "54", ""]
    assert joined.mapped.known == {"patient_id": "participant_id", "age": "age"}


def test_settings_that_nothing_can_meet(tmp_path):
    write(tmp_path, {"a.png": None, "b.png": None})
    with pytest.raises(ConfigError, match="no table describes the images"):
        find_table(scan(tmp_path), IngestConfig(label="dx"))
    write(tmp_path, {"c.npz": None})
    assert find_table(scan(tmp_path), IngestConfig(label="dx")).table is None


EXCEL = "Datei;Patientenname;Geburtstag;Untersucher;Befund;Zimmer;View\n"
NAMES = ["Anna Beispiel", "Bernd Müster", "Clara Erfunden", "Dora Probe", "Emil Testmann", "Gerda Fiktiv"]


def test_a_german_export_brings_its_finding_and_no_person(tmp_path):
    lines = [
        f"Bild {i} ä.png;{NAMES[i // 3]};0{i // 3 + 1}.02.1950;{('Nirgend', 'Erfundus')[i % 2]};"
        f"{('unauffällig', 'Arthrose')[i // 3 % 2]};{i % 4};AP\n" for i in range(18)
    ]  # fmt: skip
    write(tmp_path, {f"Bild {i} ä.png": None for i in range(18)})
    (tmp_path / "Übersicht.csv").write_bytes((EXCEL + "".join(lines)).encode("cp1252"))
    table, labels, main, words, rows, dropped = understood(tmp_path)
    assert table.mapped.known == {"file": "Datei", "patient_id": "Patientenname", "view": "View"}
    assert (set(labels), main, words) == ({"befund"}, "befund", None)
    assert set(dropped) == {"Geburtstag", "Untersucher", "Zimmer"}
    assert all(rows)
    said = find_labels(["Patientenname", *table.mapped.rest], rows, range(18), IngestConfig())
    assert [label.label.name for label in said[0]] == ["befund"]
    assert said[2] == []


@pytest.mark.parametrize("first", ["im0.png", "im0", "gone"])
def test_a_table_without_a_header_is_refused_and_not_quoted(tmp_path, first):
    lines = [f"{first if i == 0 else f'im{i}'},{NAMES[i % 6]},{('krank', 'normal')[i % 2]}" for i in range(8)]
    write(tmp_path, {"liste.csv": "\n".join(lines), **{f"im{i}.png": None for i in range(8)}})
    for config in (IngestConfig(), IngestConfig(table="liste.csv"), IngestConfig(columns=Columns(patient_id="pid"))):
        with pytest.raises((InputError, ConfigError)) as caught:
            find_table(scan(tmp_path), config)
        assert not any(word in str(caught.value) for word in ("Anna", "Beispiel", "krank"))
    rows = [{"file": f"im{i}.png", "label": "01"[i % 2]} for i in range(8)]
    write(tmp_path, {"metadata.csv": rows})
    table, *_ = understood(tmp_path)
    assert table.table.name == "metadata.csv"
    assert table.warnings == ("table liste.csv was not used: its first line seems to hold data",)


def test_columns_of_no_known_name_are_used_when_the_settings_name_them(tmp_path):
    lines = ["aa,bb"] + [f"im{i}.png,{('normal', 'krank')[i % 2]}" for i in range(8)]
    write(tmp_path, {"liste.csv": "\n".join(lines), **{f"im{i}.png": None for i in range(8)}})
    with pytest.raises(InputError, match=r"ingest\.columns\.file=NAME"):
        find_table(scan(tmp_path), IngestConfig())
    table, labels, *_ = understood(tmp_path, IngestConfig(columns=Columns(file="aa")))
    assert (table.mapped.known, set(labels)) == ({"file": "aa"}, {"bb"})


def test_a_person_beside_classes_stays_out_until_the_settings_say_so(tmp_path):
    write(tmp_path, {f"{c}/{i}.png": None for c in ("normal", "glaucoma", "MÜLLER_JÜRGEN") for i in range(4)})
    table = find_table(scan(tmp_path), IngestConfig())
    assert table.table is None
    assert "ingest.folders=label or patient" in table.warnings[0]
    chosen = find_table(scan(tmp_path), IngestConfig(folders="label"), folders="label")
    assert (chosen.mapped.rest, chosen.decided) == (("label",), ("label",))
