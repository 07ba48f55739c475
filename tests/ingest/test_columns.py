import pytest

from synthcohort.core.errors import ConfigError
from synthcohort.ingest.columns import find_labels, label_name, main_label, map_columns
from synthcohort.ingest.config import Columns, IngestConfig
from synthcohort.ingest.table import FileIndex, Table

INDEX = FileIndex(["images/a.png", "images/b.png"])


def table(*columns, values=()):
    rows = [dict(zip(columns, line, strict=True)) for line in values] or [
        {column: ("images/a.png" if i == 0 else "") for i, column in enumerate(columns)}
    ]
    return Table("metadata.csv", columns, tuple(rows))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("file", "patient_id", "laterality", "kl_grade"), {"file", "patient_id", "laterality"}),
        (("Image Path", "Patient ID", "Patient Gender", "Patient Age"), {"file", "patient_id", "sex", "age"}),
        (("filename", "lesion_id", "dx", "sex"), {"file", "group_id", "sex"}),
        (("image", "smear_id", "split"), {"file", "group_id", "split"}),
        (("path", "subject", "eye", "site", "race"), {"file", "patient_id", "laterality", "site", "ethnicity"}),
        (("file", "SOPInstanceUID", "case", "View Position"), {"file", "sop_instance_uid", "patient_id", "view"}),
    ],
)
def test_columns_are_known_by_their_names(columns, expected):
    assert set(map_columns(table(*columns), Columns(), INDEX).known) == expected


def test_the_file_column_is_the_one_whose_values_are_files():
    values = [("7", "a", "x"), ("8", "b", "y")]
    assert map_columns(table("image", "id", "label", values=values), Columns(), INDEX).known["file"] == "id"


def test_settings_override_and_switch_off():
    named = map_columns(table("file", "who", "sex"), Columns(patient_id="who", sex="-"), INDEX)
    assert named.known == {"file": "file", "patient_id": "who"}
    assert named.rest == ("sex",)


def test_a_missing_column_is_named_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        map_columns(table("file", "grade"), Columns(patient_id="pid", age="years"), INDEX)
    assert "no column 'pid' in metadata.csv; allowed: file, grade" in str(caught.value)
    assert "no column 'years'" in str(caught.value)


def judge(values, column="finding", groups=None, **config):
    rows = [{column: value} for value in values]
    labels, dropped, notes = find_labels([column], rows, groups or list(range(len(rows))), IngestConfig(**config))
    return labels[0] if labels else None, dropped.get(column), notes


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["0", "4", "2", "", "1"], "ordinal", (0, 1, 2, 4)),
        (["1.0", "2.0", "NA"], "ordinal", (1, 2)),
        (["nv", "mel", "nv", "mel", "bcc", "bcc"], "nominal", ("bcc", "mel", "nv")),
        (["none", "none", "glioma", "glioma"], "nominal", ("glioma", "none")),
    ],
)
def test_labels(values, kind, expected):
    label, reason, _ = judge(values)
    assert reason is None
    assert (label.label.kind, label.label.values) == (kind, expected)
    assert {label.parse(value) for value in values if value in ("", "NA")} <= {None}


@pytest.mark.parametrize(
    ("values", "column", "words"),
    [
        ([f"seen by doctor {i}" for i in range(30)], "text1", "few patients"),
        (["1.52", "3.1", "2.2"], "space_mm", "measurement"),
        (["9001695", "9001897", "9003126"], "knee", "number that may identify"),
        (["Phantom"] * 3 + ["Mockup"] * 3, "PatientName", "may identify"),
        (["a"] * 3 + ["b"] * 3, "referring physician", "may identify"),
        (["2021-03-01"] * 3 + ["2021-03-02"] * 3, "visit", "dates or identifiers"),
        (["x" * 120] * 3 + ["y" * 120] * 3, "finding", "free text"),
        (["a", "a", "a"], "finding", "same value everywhere"),
        (["", "", "NaN"], "finding", "empty"),
        (["a", "a", "b", "b"], "seed", "something else in a cohort"),
    ],
)
def test_what_is_no_label_stays_behind_with_the_reason(values, column, words):
    label, reason, _ = judge(values, column)
    assert label is None
    assert words in reason


def test_a_value_repeated_by_one_patient_is_not_common():
    values = ["Ada says it hurts"] * 5 + ["Bo fell"] * 5 + ["Cleo is well"] * 5
    assert judge(values, "remarked", groups=[0] * 5 + [1] * 5 + [2] * 5)[0] is None
    assert judge(values, "remarked", groups=list(range(15)))[0] is None
    lower = [value.lower() for value in values]
    assert judge(lower, "finding", groups=list(range(15)))[0] is None  # images that may be anybody's
    assert judge(lower, "finding", groups=[f"patient {i}" for i in range(15)])[0] is not None


def test_rare_words_of_a_long_vocabulary_are_set_to_missing_and_counted():
    values = [f"finding {i % 24:02d}x" for i in range(24 * 6)] + ["unique words of Ada", "more words of Bo"]
    label, _, notes = judge(values)
    assert len(label.label.values) == 24
    assert label.parse("unique words of Ada") is None
    assert label.parse("finding 03x") == "finding 03x"
    assert notes == ["finding: 2 values that fewer than 5 patients share were set to missing"]


def test_a_value_of_one_patient_is_set_to_missing_among_few_values_too():
    label, _, notes = judge(
        ["glioma"] * 5 + ["normal"] * 5 + ["only Ada has this"] * 3, groups=[*range(10), 10, 10, 10]
    )
    assert label.label.values == ("glioma", "normal")
    assert label.parse("only Ada has this") is None
    assert notes == ["finding: 1 values that fewer than 2 patients share were set to missing"]


def test_uncertain_findings_are_missing():
    label, _, notes = judge(["1.0", "0.0", "-1.0", "", "1.0"])
    assert label.label.values == (0, 1)
    assert [label.parse(value) for value in ("1.0", "0.0", "-1.0", "")] == [1, 0, None, None]
    assert notes == ["finding: 1 images marked -1 (uncertain) were set to missing"]
    assert judge(["-2", "0", "1"])[0] is None


def test_lists_of_terms_become_labels_of_their_own():
    values = ["No Finding"] * 30 + ["Mass|Nodule"] * 25 + ["Mass|Edema"] * 25 + ["Ada|Mass"]
    rows = [{"Finding Labels": value, "mass": "01"[i % 2]} for i, value in enumerate(values)]
    labels, dropped, _ = find_labels(["mass", "Finding Labels"], rows, range(len(rows)), IngestConfig())
    names = [label.label.name for label in labels]
    assert names == ["mass", "finding_labels", "finding_labels_mass", "no_finding", "edema", "nodule"]
    assert dropped == {}
    assert labels[2].parse("Ada|Mass") == 1
    assert labels[2].parse("No Finding") == 0
    assert main_label(labels[2:], "").label.name == "finding_labels_mass"
    assert main_label(labels[1:], "").label.name == "finding_labels"
    chosen, _, _ = find_labels(["mass", "Finding Labels"], rows, range(len(rows)), IngestConfig(labels=("edema",)))
    assert [label.label.name for label in chosen] == ["edema"]


@pytest.mark.parametrize(
    ("column", "values", "role"),
    [
        ("group", ["control", "treated"], None), ("group", [f"g{i}" for i in range(9)], "group_id"),
        ("case", ["0", "1"], None), ("case", ["C17", "C18"], "patient_id"), ("subject", ["a", "b"], "patient_id"),
        ("lesion", ["yes", "no"], None), ("side", ["affected", "healthy"], None),
     ("side", ["R", "left"], "laterality"),
        ("age", ["young", "old"], None), ("age", ["063Y", "45"], "age"), ("report", ["positive", "negative"], None),
        ("report", ["there is a mass here", "nothing is seen here"], "caption"), ("PatientName", ["a"], "patient_id"),
        ("AccessionNumber", ["1", "2"], "group_id"), ("Patient_Sex", ["M", "f"], "sex"),
    ],
)  # fmt: skip
def test_a_name_counts_where_the_values_fit(column, values, role):
    rows = [("images/a.png", values[i % len(values)]) for i in range(40)]
    known = map_columns(table("file", column, values=rows), Columns(), INDEX).known
    assert known == {"file": "file"} | ({role: column} if role else {})


def test_grades_are_no_file_names():
    index = FileIndex([f"{i}.png" for i in range(40)])
    values = [(str(i), str(i % 4)) for i in range(40)]
    assert map_columns(table("number", "grade", values=values), Columns(), index).known == {"file": "number"}


def test_named_labels_are_taken_whatever_they_look_like():
    label, _, _ = judge(["1.52", "3.1", ""], "space_mm", labels=("space_mm",))
    assert label.label.kind == "continuous"
    assert label.parse("3.1") == 3.1
    rows = [{"a": "x", "b": "y"}, {"a": "z", "b": "w"}]
    labels, dropped, _ = find_labels(["a", "b"], rows, [0, 1], IngestConfig(labels=("a",)))
    assert [x.label.name for x in labels] == ["a"]
    assert dropped == {"b": "not among ingest.labels"}
    with pytest.raises(ConfigError, match="no usable column 'c'; allowed: a, b"):
        find_labels(["a", "b"], rows, [0, 1], IngestConfig(labels=("c",)))


def test_main_label():
    def labels(*names):
        found, _, _ = find_labels(names, [dict.fromkeys(names, v) for v in "0101"], range(4), IngestConfig())
        return found

    assert main_label(labels("dx_type", "localization", "dx"), "").column == "dx"
    assert main_label(labels("aetiology", "finding"), "").column == "finding"
    assert main_label(labels("aetiology", "finding"), "aetiology").column == "aetiology"
    assert main_label(labels("alpha", "beta"), "").column == "alpha"
    assert main_label([], "") is None
    with pytest.raises(ConfigError, match="no label 'grade'; allowed: alpha"):
        main_label(labels("alpha"), "grade")
    assert label_name("KL Grade") == "kl_grade"


NAMES = ["Anna Beispiel", "Bernd Muster", "Clara Erfunden", "Dora Probe", "Emil Testmann", "Gerda Fiktiv"]


@pytest.mark.parametrize(
    "column",
    ["Patientenname", "Patient (Last, First)", "Pat.", "Pat-Nr", "GP", "Arzt", "Hausärztin", "Zuweiser", "Familienname",
     "Paciente", "Wohnort", "Requested by", "Dictated by", "Untersucher", "Geburtstag", "GebDatum", "Name",
     "KlinikName",     "Nom de naissance", "Médecin traitant", "Apellidos", "Cognome", "Zimmer", "Raum Nr",
     "Station", "Bett", "Month",
     "fecha_estudio", "Überweiser", "Case No", "Einsender", "Patient's address", "Dossier"],
)  # fmt: skip
def test_columns_about_people_never_enter_by_themselves(column):
    for values in (["normal", "krank"] * 15, ["1", "2", "3"] * 10, [name for name in NAMES for _ in range(5)]):
        assert judge(values, column)[:2] == (None, "its name says that it may identify somebody")
    assert judge(["normal", "krank"] * 15, column)[2] == []  # nor are they proposed


@pytest.mark.parametrize(
    "column", ["Class name", "finding_name", "classname", "Patient group", "disease", "Befund", "dx_type"]
)
def test_columns_about_classes_are_none_about_people(column):
    assert judge(["normal", "krank"] * 15, column)[0] is not None


@pytest.mark.parametrize("column", ["label", "Befund", "diagnosis", "Bereich", "x1"])
@pytest.mark.parametrize("write", [str, str.upper, str.lower, lambda name: name.split()[0], lambda name: name[:2]])
@pytest.mark.parametrize("known", [True, False], ids=["with ids", "without ids"])
def test_names_of_people_are_no_labels(column, write, known):
    """Three images of each of six people: without ids each image passes for a person of its own."""
    values = [write(name) for name in NAMES for _ in range(3)]
    groups = [f"id {i // 3}" for i in range(18)] if known else list(range(18))
    label, reason, notes = judge(values, column, groups)
    assert label is None
    assert not any(value in note for value in values if len(value) > 2 for note in [reason, *notes])


@pytest.mark.parametrize(
    "values",
    [["Müller", "Schmidt"], ["Dr Mockup", "Prof Nirgend"], ["Zimmer 4", "Zimmer 5"], ["Station A", "Station B"],
     ["Иванова", "Петров"], ["山田", "鈴木"], ["März", "April"], ["2021-03-01", "2021-03-02"], ["normal", "Müller"]],
    ids=lambda values: values[0],
)  # fmt: skip
@pytest.mark.parametrize("column", ["label", "Bereich", "Befund"])
def test_doctors_rooms_and_dates_that_many_patients_share_are_no_labels(values, column):
    label, _, notes = judge(values * 30, column, [f"patient {i}" for i in range(60)])
    assert label is None
    assert not any(value in note for value in values if value != "normal" for note in notes)


@pytest.mark.parametrize(
    ("column", "values"),
    [("Befund", ["unauffällig", "Arthrose"]), ("Diagnose", ["Fraktur", "kein Befund"]), ("BI-RADS", ["4a", "2"]),
     ("BIRADS", ["BI-RADS 4", "BI-RADS 2"]), ("Gleason", ["3+4", "4+3"]), ("TNM", ["T1N0M0", "T2N1M0"]),
     ("Lung-RADS", ["4B", "2"]), ("KL", ["0", "3"]), ("Stadium", ["IIIa", "IIb"]),
     ("Dignität", ["gutartig", "bösartig"]),     ("diagnostic", ["bénigne", "maligne"]),
     ("hallazgo", ["normal", "fractura"]), ("esito", ["positivo", "negativo"]),
     ("fractured", ["yes", "no"]), ("Raucher", ["ja", "nein"]), ("target", ["A", "B"]),
     ("arm", ["treated", "placebo"])],    ids=lambda value: str(value),
)  # fmt: skip
def test_labels_of_hospitals_enter_by_themselves(column, values):
    label, reason, notes = judge(values * 15, column)
    assert (reason, notes) == (None, [])
    assert {str(label.parse(value)) for value in values} == set(values)


def test_what_may_be_a_label_is_proposed_in_one_line():
    rows = [{"dx": "01"[i % 2], "Typ A": ("Foo", "Bar")[i % 2], "it's": ("Baz", "Qux")[i // 2 % 2]} for i in range(24)]
    labels, dropped, notes = find_labels(list(rows[0]), rows, range(24), IngestConfig())
    assert [x.label.name for x in labels] == ["dx"]
    assert set(dropped) == {"Typ A", "it's"}
    assert notes == [
        "columns Typ A, it's look like labels; to take them: "
        """--set ingest.labels='["dx", "Typ A", "it'"'"'s"]'"""
    ]
    asked, _, notes = find_labels(list(rows[0]), rows, range(24), IngestConfig(labels=("dx", "Typ A", "it's")))
    assert [x.label.name for x in asked] == ["dx", "typ_a", "it_s"]
    assert notes == []
    alone = find_labels(["Typ A"], rows, range(24), IngestConfig())[2]
    assert alone == ["""column Typ A looks like a label; to take it: --set ingest.labels='["Typ A"]'"""]
    decided, *_ = find_labels(["Typ A"], rows, range(24), IngestConfig(), decided=["Typ A"])
    assert decided[0].label.values == ("Bar", "Foo")


def test_numbers_of_records_are_no_grades():
    assert judge([str(i // 3) for i in range(18)], "lfd", [f"p{i // 3}" for i in range(18)])[0] is None
    assert "number of its own" in judge([str(i // 3) for i in range(18)], "x", [f"p{i // 3}" for i in range(18)])[1]
    assert judge([str(i % 3) for i in range(18)], "x", [f"p{i // 3}" for i in range(18)])[0] is not None
