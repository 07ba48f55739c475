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
    assert judge(values, "remarked", groups=list(range(15)))[0] is not None


def test_rare_words_of_a_long_vocabulary_are_set_to_missing_and_counted():
    values = [f"finding {i % 24:02d}x" for i in range(24 * 6)] + ["unique words of Ada", "more words of Bo"]
    label, _, notes = judge(values)
    assert len(label.label.values) == 24
    assert label.parse("unique words of Ada") is None
    assert label.parse("finding 03x") == "finding 03x"
    assert notes == ["finding: 2 values that fewer than 5 patients share were set to missing"]


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
