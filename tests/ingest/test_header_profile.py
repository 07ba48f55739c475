import base64
import gzip
import io
import json
import logging
import re
import sys
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset

from synthcohort.ingest import header_clean, header_tables, header_values
from synthcohort.ingest.deidentify import Pseudonyms
from synthcohort.ingest.header_profile import HeaderOptions, deidentify, to_json
from synthcohort.ingest.vocabulary import MANUFACTURERS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from needles import Needles, forms, search_folder
from planted_headers import OPTIONS, header_of, plant, run_headers, run_ingest

PSEUDONYMS = Pseudonyms(bytes(range(32)))
ALL = HeaderOptions(shift_dates=True)
NONE = HeaderOptions(patient_characteristics=False, clean_descriptors=False)
CT = "1.2.840.10008.5.1.4.1.1.2"


def header(**elements):
    ds = Dataset()
    for keyword, value in {"SOPClassUID": CT, "PatientID": "PH-17", "Modality": "CT", **elements}.items():
        setattr(ds, keyword, value)
    return ds


def cleaned(options=ALL, **elements):
    return deidentify(header(**elements), PSEUDONYMS, options)[0]


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


# --- the tables


def test_the_table_is_whole_and_says_what_the_standard_says():
    table = header_tables.profile()
    assert len(table.rows) + len(table.patterns) + 1 == 657
    columns = set(header_tables.ACTIONS)
    for row in [*table.rows.values(), *(row for _, row in table.patterns), table.private]:
        assert row["basic"] in columns
        assert all(row[option] in ("", "K", "C", "U") for option in header_tables.OPTIONS)
    # Read in PS3.15 Table E.1-1 by eye.
    expected = {
        "PatientName": "Z", "PatientBirthDate": "Z", "PatientAge": "X", "SOPInstanceUID": "U", "AccessionNumber": "Z",
        "ContentSequence": "D", "StudyDate": "Z", "ContentDate": "Z/D", "AcquisitionDate": "X/Z",
        "StationName": "X/Z/D",
        "ReferencedImageSequence": "X/Z/U*", "InstitutionName": "X/Z/D", "StudyDescription": "X", "ProtocolName": "X/D",
    }  # fmt: skip
    assert {keyword: table.action(tag_for_keyword(keyword), ()) for keyword in expected} == expected
    assert table.action(tag_for_keyword("StudyDate"), ["retain_longitudinal_full_dates"]) == "K"
    assert table.action(tag_for_keyword("StudyDate"), ["retain_longitudinal_modified_dates"]) == "C"
    assert table.action(tag_for_keyword("PatientSex"), ["retain_patient_characteristics"]) == "K"
    assert table.action(tag_for_keyword("Allergies"), ["clean_descriptors"]) == "C"


@pytest.mark.parametrize(
    ("tag", "action"),
    [(0x50003000, "X"), (0x501E0010, "X"), (0x60003000, "X"), (0x60024000, "X"), (0x60000010, None), (0x00091001, "X"),
     (0x00280010, None), (0xFFFCFFFC, "X")],
)  # fmt: skip
def test_repeating_and_private_groups(tag, action):
    assert header_tables.profile().action(tag, ()) == action


def test_our_list_and_the_table_do_not_contradict_each_other():
    taken = ["retain_patient_characteristics", "retain_longitudinal_modified_dates", "clean_descriptors"]
    for rule in header_tables.rules().values():
        assert rule.kind in header_tables.RULES
        assert not rule.kind.endswith("terms") or all(len(term) <= 64 for term in rule.terms), rule.keyword
        action = header_tables.profile().action(rule.tag, taken)
        keeps = action in (None, "K", "C", "U", "X/Z/U*") or rule.kind == "patient"
        assert keeps, f"{rule.keyword} is on the list but no option lets it through"
        if "CS" in rule.vrs:
            assert all(re.fullmatch("[A-Z0-9 _]{1,16}", term) for term in rule.terms), rule.keyword
    assert {rule.kind for rule in header_tables.rules().values()} == set(header_tables.RULES)


def test_no_attribute_of_a_free_vr_is_on_the_list_without_a_closed_check():
    for rule in header_tables.rules().values():
        vr = DicomDictionary[rule.tag][0]
        if vr in ("LO", "SH", "LT", "ST", "UT", "UC", "PN", "AE", "UR", "UN"):
            assert rule.kind in ("terms", "some terms", "words", "maker", "patient"), rule.keyword


# --- single values


def rule(keyword):
    return header_tables.rules()[tag_for_keyword(keyword)]


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("KVP", 120.0, [120.0]), ("KVP", 5550142.0, None), ("KVP", float("nan"), None), ("KVP", "120", None),
        ("PixelSpacing", [0.5, 0.25], [0.5, 0.25]), ("PixelSpacing", [0.5], None),
        ("PixelSpacing", [0.5, 0.5, 1.0], None),
        ("SliceThickness", 1.2345678901, [1.23457]), ("SliceLocation", -0.0, [0.0]),
        ("PatientWeight", 71.44, [71.0]), ("PatientSize", 1.7149, [1.71]), ("PatientSize", 171, None),
        ("SeriesNumber", 3, [3]), ("SeriesNumber", 48213, None), ("Rows", 512, [512]), ("Rows", 0, None),
        ("Modality", "CT", ["CT"]), ("Modality", "ct", None), ("Modality", "ZAVOX", None), ("Modality", "CT\0", ["CT"]),
        ("ImageType", ["ORIGINAL", "ZAVOX", "AXIAL"], ["ORIGINAL", "AXIAL"]), ("ImageType", ["ZAVOX", "ADA"], None),
        ("ScanningSequence", ["SE", "ZAVOX"], None), ("EthnicGroup", "asian", ["ASIAN"]),
        ("EthnicGroup", "Zavoxian", None),
        ("PatientAge", "063Y", ["063Y"]), ("PatientAge", "097Y", ["090Y"]), ("PatientAge", "063Y ZAVOX", None),
        ("PatientAge", "018M", ["018M"]), ("PatientAge", "63", None),
        ("Manufacturer", "SIEMENS of Dr Zavox", ["SIEMENS"]), ("Manufacturer", "Zavox", None),
        ("StudyDescription", "CT Knee left of Zavox, 2004", ["CT KNEE LEFT"]), ("StudyDescription", "Zavox", None),
        ("StudyDescription", "T2_TSE-SAG 3mm", ["T2 TSE SAG"]), ("SequenceName", "*tse2d1_9 TSE", ["TSE"]),
        ("SOPClassUID", CT, [CT]), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2.48213", None),
        ("SOPClassUID", "1.2.840.10008.1.2.1", None), ("WindowCenter", [40.0] * 5, None),
        ("SliceThickness", b"ZAVOX", None), ("SliceThickness", None, None), ("SliceThickness", True, None),
    ],
)  # fmt: skip
def test_values(keyword, value, expected):
    found = header_values.clean(rule(keyword), value)
    assert found == expected
    assert found is None or all(str(item) != "-0.0" for item in found)


@given(
    st.text(max_size=80),
    st.sampled_from(["StudyDescription", "SequenceName", "Manufacturer", "EthnicGroup", "Modality"]),
)
def test_text_comes_out_in_words_of_the_lists_alone(text, keyword):
    found = header_values.clean(rule(keyword), text)
    for item in found or ():
        known = {"Manufacturer": set(MANUFACTURERS)}.get(keyword, rule(keyword).terms)
        assert item in known or set(item.split()) <= header_tables.words()
        assert len(item) <= 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20040307", date(2004, 3, 7)), ("20040307173942.481+0100", date(2004, 3, 7)), ("2004.03.07", None),
     ("20040307 ZAVOX", None), ("20041307", None), ("00010101", None), ("", None), ("20040101-20041231", None)],
)  # fmt: skip
def test_dates(text, expected):
    assert header_values.parse_date(text) == expected


# --- whole headers


def test_what_identifies_goes_and_what_describes_stays():
    ds = cleaned(
        PatientName="Zavox^Ada", PatientBirthDate="19310104", StudyDate="20040307", StudyTime="173942", PatientSex="F",
        InstitutionName="Zavox Hospital", StudyDescription="CT Knee left Zavox", Rows=512, AccessionNumber="A1",
        KVP="120",
        PatientComments="Zavox", OperatorsName="Zavox", BodyPartExamined="KNEE", SliceThickness="1.25",
    )  # fmt: skip
    for keyword in ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyTime"):
        assert ds[keyword].is_empty
    assert ds.PatientID == PSEUDONYMS.patient("PH-17")
    for keyword in ("InstitutionName", "PatientComments", "OperatorsName"):
        assert keyword not in ds
    assert (ds.PatientSex, ds.PatientAge, ds.Rows, ds.KVP, ds.SliceThickness) == ("F", "073Y", 512, 120, 1.25)
    assert ds.StudyDescription == "CT KNEE LEFT"
    moved = datetime.strptime(ds.StudyDate, "%Y%m%d").date()
    assert moved - date(2004, 3, 7) == timedelta(PSEUDONYMS.days("PH-17"))
    assert ds.PatientIdentityRemoved == "YES"
    assert ds.LongitudinalTemporalInformationModified == "MODIFIED"
    assert (ds.Modality, ds.BodyPartExamined) == ("CT", "KNEE")


def test_without_options_nothing_of_the_patient_stays():
    ds = cleaned(
        NONE, PatientSex="F", PatientAge="073Y", StudyDate="20040307", AcquisitionDateTime="20040307120000",
        PatientSize="1.7",
        StudyDescription="CT KNEE", ProtocolName="KNEE", PatientWeight="70", PatientBirthDate="19310104",
    )  # fmt: skip
    assert ds["PatientSex"].is_empty
    assert ds["StudyDate"].is_empty
    for keyword in (
        "PatientAge", "PatientSize", "PatientWeight", "AcquisitionDateTime", "StudyDescription", "ProtocolName",
    ):  # fmt: skip
        assert keyword not in ds
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert ds.Modality == "CT"


def test_method_codes_are_those_of_what_was_applied():
    def values(ds):
        return [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]

    assert values(cleaned(NONE)) == ["113100"]
    assert values(cleaned(replace(ALL, clean_pixel_data=True))) == ["113100", "113101", "113105", "113107", "113108"]
    assert cleaned(replace(ALL, clean_pixel_data=True), BurnedInAnnotation="YES").BurnedInAnnotation == "NO"
    # Without a patient there is nothing to move dates by, so they go, and the header says so.
    nobody = cleaned(ALL, PatientID="", StudyDate="20040307")
    assert "113107" not in values(nobody)
    assert nobody["StudyDate"].is_empty
    assert nobody.LongitudinalTemporalInformationModified == "REMOVED"
    # Given from elsewhere, the patient counts.
    known, _ = deidentify(header(PatientID="", StudyDate="20040307"), PSEUDONYMS, ALL, patient="PH-17")
    assert known.StudyDate
    assert known.PatientID == PSEUDONYMS.patient("PH-17")


def test_codes_keep_the_meaning_of_the_standard_not_of_the_file():
    knee = code("72696002", "SCT", "Knee of Ada Zavox")
    knee.AnatomicRegionModifierSequence = [code("24028007", "SCT", "Zavox"), code("ZAVOX", "SCT", "Right")]
    old = code("T-D9200", "SNM3", "Zavox")
    ds = cleaned(
        AnatomicRegionSequence=[knee, code("Zavox", "99ZAVOX", "Zavox")], PrimaryAnatomicStructureSequence=[old],
        ViewCodeSequence=[code("48213", "SCT", "Zavox")], ProcedureCodeSequence=[code("72696002", "SCT", "Zavox")],
    )  # fmt: skip
    (item,) = ds.AnatomicRegionSequence
    assert (item.CodeValue, item.CodeMeaning) == ("72696002", "Knee")
    assert [modifier.CodeMeaning for modifier in item.AnatomicRegionModifierSequence] == ["Right"]
    assert "ViewCodeSequence" not in ds
    assert "ProcedureCodeSequence" not in ds  # what was done to a patient is on no list
    assert ds.PrimaryAnatomicStructureSequence[0].CodingSchemeDesignator == "SRT"


def test_sequences_are_cleaned_inside_and_end_somewhere():
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, "1.2.3"
    reference.add_new(0x00091010, "LO", "Zavox")
    reference.ReferencedSeriesSequence = [header(PatientName="Zavox")]
    ds = cleaned(ReferencedImageSequence=[reference], SOPInstanceUID="1.2.3")
    (item,) = ds.ReferencedImageSequence
    assert item.ReferencedSOPInstanceUID == ds.SOPInstanceUID == PSEUDONYMS.uid("1.2.3")
    assert len(item) == 2
    deep = Dataset()
    for _ in range(40):
        outer = Dataset()
        outer.SharedFunctionalGroupsSequence = [deep]
        outer.SliceThickness = "1"
        deep = outer
    assert to_json(deidentify(deep, PSEUDONYMS, ALL)[0]).count("00180050") == header_clean.DEEPEST + 1


def test_file_meta_is_made_anew():
    ds = header(SOPInstanceUID="1.2.3")
    ds.preamble = b"Zavox".ljust(128)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.file_meta.SourceApplicationEntityTitle = "ZAVOX"
    ds.file_meta.PrivateInformationCreatorUID = "1.2.3.48213"
    ds.file_meta.PrivateInformation = b"Zavox"
    clean, _ = deidentify(ds, PSEUDONYMS, ALL)
    assert [element.keyword for element in clean.file_meta] == [
        "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID",
    ]  # fmt: skip
    assert clean.file_meta.MediaStorageSOPInstanceUID == clean.SOPInstanceUID
    assert not getattr(clean, "preamble", None)
    ds.file_meta.TransferSyntaxUID = "1.2.3.48213"
    assert "TransferSyntaxUID" not in deidentify(ds, PSEUDONYMS, ALL)[0].file_meta


def test_wrong_vrs_unknown_tags_and_damage_stay_behind():
    ds = header()
    ds.add_new(0x00280010, "LO", "48213")  # Rows as text
    ds.add_new(0x00080007, "LO", "Zavox")  # no such attribute
    ds.add_new(0x50003000, "OW", b"Zavox!")
    ds.add_new(0x60003000, "OW", b"Zavox!")
    ds.add_new(0x60000010, "US", 16)
    ds[0x00180060] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00180060), "DS", 12, b"120 Zavox   ", 0, False, True
    )
    clean, report = deidentify(ds, PSEUDONYMS, ALL)
    assert not {0x00280010, 0x00080007, 0x50003000, 0x60003000, 0x60000010, 0x00180060} & {int(e.tag) for e in clean}
    assert report.keywords["removed"] == {
        "Rows": 1, "unknown attribute": 1, "KVP": 1, "CurveData": 1, "OverlayData": 1, "OverlayRows": 1
    }  # fmt: skip


def test_the_report_counts_by_action_and_holds_no_value():
    ds = header(PatientName="Zavox", StudyDate="20040307", SOPInstanceUID="1.2.3", ImageType=["ORIGINAL", "ZAVOX"])
    ds.add_new(0x00091010, "LO", "Zavox")
    _, report = deidentify(ds, PSEUDONYMS, ALL)
    assert report.counts == {"cleaned": 1, "emptied": 1, "kept": 2, "moved": 1, "removed": 1, "replaced": 2}
    assert report.keywords["removed"] == {"private attribute": 1}
    assert "ZAVOX" not in repr(report).upper()


def test_a_header_that_was_not_cleaned_is_not_written():
    with pytest.raises(ValueError, match="was not de-identified"):
        to_json(header())


def test_the_old_header_is_left_alone():
    data = plant(1).data
    before, ds = header_of(data), header_of(data)
    deidentify(ds, PSEUDONYMS, ALL)
    assert list(ds.keys()) == list(before.keys())
    assert ds.PatientID == before.PatientID


# --- properties


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(OPTIONS))
def test_cleaning_twice_is_cleaning_once(number, options):
    once, _ = deidentify(header_of(plant(number).data), PSEUDONYMS, options)
    twice, _ = deidentify(once, PSEUDONYMS, options)
    assert to_json(twice) == to_json(once)
    assert twice.file_meta == once.file_meta


def test_a_seal_of_another_key_or_a_changed_header_does_not_count():
    once = cleaned(StudyDate="20040307")
    once.PatientName = "Zavox"
    assert "Zavox" not in to_json(deidentify(once, PSEUDONYMS, ALL)[0])
    stranger = cleaned(StudyDate="20040307", SOPInstanceUID="1.2.3")
    again, _ = deidentify(stranger, Pseudonyms(bytes(32)), ALL)
    assert again.SOPInstanceUID != stranger.SOPInstanceUID
    stricter, _ = deidentify(stranger, PSEUDONYMS, NONE)
    assert stricter["StudyDate"].is_empty


uids = st.from_regex(r"[12](\.(0|[1-9][0-9]{0,8})){3,6}", fullmatch=True)


@given(st.lists(uids, min_size=2, max_size=2))
def test_uids_stay_consistent_across_files(pair):
    first, second = pair
    one = cleaned(StudyInstanceUID=first, SOPInstanceUID=second)
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = second
    two = cleaned(StudyInstanceUID=first, SOPInstanceUID="1.2.3", SourceImageSequence=[reference])
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert two.SourceImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert (one.StudyInstanceUID == one.SOPInstanceUID) == (first == second)
    assert pydicom.uid.UID(one.StudyInstanceUID).is_valid
    assert len(one.StudyInstanceUID) <= 44
    other, _ = deidentify(header(StudyInstanceUID=first), Pseudonyms(bytes(32)), ALL)
    assert other.StudyInstanceUID != one.StudyInstanceUID


days_of_study = st.dates(date(1970, 1, 1), date(2030, 12, 31))


@given(
    st.text(st.characters(min_codepoint=48, max_codepoint=122, exclude_characters="\\"), min_size=1),
    st.lists(days_of_study, min_size=2, max_size=4),
)
def test_days_between_the_studies_of_a_patient_are_kept(patient, dates):
    moved = [
        datetime.strptime(cleaned(PatientID=patient, StudyDate=day.strftime("%Y%m%d")).StudyDate, "%Y%m%d").date()
        for day in dates
    ]
    (days,) = {(new - old).days for new, old in zip(moved, dates, strict=True)}
    assert 30 <= abs(days) <= 3650
    assert days == PSEUDONYMS.days(patient)


def test_days_differ_between_patients_and_keys_and_reach_both_ends():
    days = [PSEUDONYMS.days(str(number)) for number in range(20000)]
    assert len(set(days)) > 6000  # of 7242
    assert min(map(abs, days)) == 30
    assert max(map(abs, days)) == 3650
    assert 0.48 < np.mean(np.array(days) > 0) < 0.52
    other = Pseudonyms(bytes(32))
    assert sum(other.days(str(n)) == days[n] for n in range(1000)) < 10


# --- planted strings


def test_nothing_planted_comes_out(caplog):
    planted = [plant(number) for number in range(96)]
    caplog.set_level(logging.DEBUG)
    for i, options in enumerate(OPTIONS):  # every combination, six headers each, those of two character sets
        result = run_headers(planted[i::16], [options])
        assert result["hits"] == 0, result["examples"]
        assert result["unreadable"] == 0
        assert min(result["sources_that_hold"].values()) > 0  # they really were in there
        assert result["elements_kept"] > 35  # and the headers were not just thrown away
    log = caplog.text.encode()
    assert not Needles(needle for item in planted for needle in item.who.needles()).found(log)


def test_nothing_planted_comes_out_of_ingest(tmp_path):
    result = run_ingest([plant(number) for number in range(1000, 1048)], tmp_path)
    assert result["hits"] == {}
    assert result["taken"] > 30
    assert (tmp_path / "made" / "cohort" / "headers.jsonl").stat().st_size > 30 * 1000


@pytest.mark.filterwarnings("ignore")  # of values that no checked header would hold
@pytest.mark.parametrize("break_it", ["words", "terms", "name"])
def test_the_search_finds_what_a_broken_check_lets_through(monkeypatch, break_it):
    if break_it == "name":
        tag = tag_for_keyword("PatientName")
        name = header_tables.Rule("PatientName", tag, "words", ("PN",), 1, 16)
        monkeypatch.setattr(header_clean, "rules", lambda: {**header_tables.rules(), tag: name})
        monkeypatch.setattr(header_tables.Profile, "action", lambda self, tag, options: None)
        monkeypatch.setitem(header_values._KINDS, "words", lambda rule, value: str(value))
    else:
        monkeypatch.setitem(header_values._KINDS, break_it, lambda rule, value: str(value))
    assert run_headers([plant(number) for number in range(12)], [ALL])["hits"] > 0


@pytest.mark.parametrize(
    "hide",
    [
        lambda s: s.encode(), lambda s: s.upper().encode(), lambda s: s.encode("utf-16-le"),
        lambda s: s.encode("utf-16-be"), lambda s: s.encode().hex().encode(), lambda s: json.dumps([s]).encode(),
        lambda s: base64.b64encode(b"x" + s.encode() + b"yz"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "text", ["Zavoxuqe^Adagijo", "山田花子太郎木", "アイウエオカキク", "Zavoxußäöé", "20040307", "482913574"]
)
def test_the_search_finds_one_string_in_any_form(text, hide):
    needles = Needles(forms(text))
    noise = np.random.default_rng(0).integers(0, 256, 2**20 + 999, np.uint8).tobytes()
    assert needles.found(noise) == set()
    for at in (17, 2**20 - 5):  # inside, and across the border of two pieces
        assert needles.found(noise[:at] + hide(text) + noise[at:])


def test_the_search_looks_into_files(tmp_path):
    text = "Zavoxuqe^Adagijo"
    pq.write_table(pa.table({"a": [text] * 50 + ["b"] * 50}), tmp_path / "records.parquet", compression="zstd")
    pq.write_table(pa.table({"a": ["b"] * 100}), tmp_path / "clean.parquet", compression="zstd")
    np.save(tmp_path / "pixels.npy", np.frombuffer(text.encode(), np.uint8))
    (tmp_path / f"{text}.json").write_text("{}")
    (tmp_path / "refused.csv").write_text(text)
    (tmp_path / "header.json.gz").write_bytes(gzip.compress(text.encode() * 3))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.frombuffer(text.encode(), np.uint8))
    (tmp_path / "features.npz").write_bytes(buffer.getvalue())
    hits, size = search_folder(tmp_path, Needles(forms(text)), set(), skip=["refused.csv"])
    assert set(hits) == {"records.parquet", "pixels.npy", f"{text}.json", "features.npz", "header.json.gz"}
    assert size > 1000
