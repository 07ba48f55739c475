import re
import string
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.cohort import STANDARD_COLUMNS, LabelColumn
from synthcohort.core.errors import ConfigError
from synthcohort.ingest.caption import Captioner, choose
from synthcohort.ingest.caption_tables import FIELDS, FOLDER, compiled, load_tables, templates_of
from synthcohort.ingest.caption_template import TemplateError, article, flaw, parse

CAPTIONER = Captioner.load()
KINDS = CAPTIONER.tables.kinds
KL = LabelColumn("kl_grade", "ordinal", (0, 1, 2, 3, 4))


def nominal(name, *values):
    return LabelColumn(name, "nominal", values)


HAM = nominal("dx", "akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
# Records in which everything is known; labels with them.
FULL = {
    "knee": ({"modality": "DX", "body_part": "KNEE", "view": "AP", "laterality": "L", "kl_grade": 3}, [KL]),
    "chest": (
        {"modality": "CR", "body_part": "CHEST", "view": "PA", "finding": "pneumonia", "aetiology": "bacteria"},
        [nominal("finding", "normal", "pneumonia"), nominal("aetiology", "bacteria", "virus")],
    ),
    "ct": ({"modality": "CT", "body_part": "CHEST", "view": "AXIAL", "label": "malignant"},
           [nominal("label", "benign", "malignant", "normal")]),
    "mri": ({"modality": "MR", "body_part": "BRAIN", "view": "SAGITTAL", "label": "glioma_tumor"},
            [nominal("label", "glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")]),
    "ultrasound": ({"modality": "US", "body_part": "BREAST", "laterality": "R", "channels": 1, "label": "benign"},
                   [nominal("label", "benign", "malignant", "normal")]),
    "mammogram": ({"modality": "MG", "body_part": "BREAST", "laterality": "B", "view": "MLO", "birads": 4},
                  [LabelColumn("birads", "ordinal", (1, 2, 3, 4, 5))]),
    "fundus": ({"modality": "OP", "body_part": "RETINA", "laterality": "R", "channels": 3, "dr_grade": 2},
               [LabelColumn("dr_grade", "ordinal", (0, 1, 2, 3, 4))]),
    "skin": ({"modality": "DMS", "body_part": "SKIN", "dx": "mel", "dx_type": "histo", "localization": "back"},
             [HAM, nominal("dx_type", "histo", "consensus"), nominal("localization", "back", "face")]),
    "tile": ({"modality": "SM", "body_part": "LUNG", "label": "lung_aca"},
             [nominal("label", "lung_aca", "lung_n", "lung_scc")]),
    "smear": ({"modality": "SM", "body_part": "BLOOD", "label": "EOSINOPHIL"},
              [nominal("label", "EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL")]),
    "other": ({"modality": "OT", "severity": 3, "texture": "coarse_grained", "sign_seen": 1},
              [LabelColumn("severity", "ordinal", (0, 1, 2, 3, 4)), nominal("texture", "coarse_grained", "fine"),
               LabelColumn("sign_seen", "ordinal", (0, 1))]),
}  # fmt: skip
FULL = {name: (record | {"sex": "F", "age": 63.0}, labels) for name, (record, labels) in FULL.items()}


def everything(name):
    record, labels = FULL[name]
    return CAPTIONER.captions(record, labels)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("knee", "An anteroposterior radiograph of the left knee in a woman in her sixties, showing moderate "
                 "osteoarthritis (Kellgren-Lawrence grade 3)."),
        ("chest", "Bacterial pneumonia on a chest X-ray, posteroanterior view; woman aged 60 to 69."),
        ("ct", "An axial CT slice of the chest in a woman in her sixties, showing malignant findings."),
        ("mri", "A sagittal MRI slice of the brain in a woman in her sixties, showing a glioma."),
        ("ultrasound", "A B-mode breast ultrasound image of the right breast in a woman in her sixties, showing a "
                       "benign breast lesion."),
        ("mammogram", "Mammography of both breasts, mediolateral oblique projection: BI-RADS 4, suspicious. Patient: "
                      "woman aged 60 to 69."),
        ("fundus", "Moderate nonproliferative diabetic retinopathy (grade 2) on a color photograph of the ocular "
                   "fundus, right eye; woman aged 60 to 69."),
        ("skin", "A dermoscopic image of a melanoma on the back in a woman in her sixties."),
        ("tile", "Light microscopy of lung tissue, H&E stain: lung adenocarcinoma. Patient: woman aged 60 to 69."),
        ("smear", "A blood smear image showing an eosinophil, from a woman in her sixties."),
        ("other", "A medical image of a woman in her sixties, labeled severity 3 of 0 to 4, texture coarse grained, "
                  "sign seen."),
    ],
)  # fmt: skip
def test_captions_say_what_is_known(name, said):
    assert said in everything(name)


@pytest.mark.parametrize("name", FULL)
def test_every_subset_of_what_is_known_reads_well(name):
    record, labels = FULL[name]
    for size in range(len(record) + 1):
        for known in combinations(record, size):
            part = {key: record[key] for key in known}
            training = CAPTIONER.captions(part, labels)
            held_out = CAPTIONER.captions(part, labels, held_out=True)
            for text in (*training, *held_out):
                assert not flaw(text), (text, known)
                assert re.fullmatch(r"[A-Z].*\.|[^.]*[^. ]", text), text
            assert len({text.casefold().rstrip(".") for text in (*training, *held_out)}) == len(training + held_out)
            assert len(training) >= 4
            assert len(held_out) >= 2
    if name != "other":
        assert len(everything(name)) >= 6


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_templates_of_every_kind(kind):
    fields = set()
    for _, text in templates_of(kind):
        template = compiled(text)
        fields |= set(template.fields)
        for size in range(len(template.fields) + 1):
            for chosen in combinations(template.fields, size):
                assert not flaw(template.render({name: FIELDS[name] for name in chosen}))
    # Each kind of image can say the finding in several words, other labels, and the patient.
    assert fields >= {"finding", "finding_other", "finding_short", "labeled", "patient", "patient_other"}
    full = {compiled(text).render(FIELDS) for _, text in templates_of(kind)}
    assert len(full) == len(kind.phrasings) + len(kind.held_out) + 2
    openings = {compiled(text).render(FIELDS).split()[0].lower() for text in kind.phrasings}
    assert len(openings) >= 3, "phrasings differ in order and not in a word alone"


def test_kinds_are_chosen_by_modality_and_body_part_and_never_guessed():
    def bare(**record):
        return next(p.text for p in CAPTIONER.phrasings(record | {"sex": "F"}, []) if p.form == "bare")

    assert bare(modality="DX", body_part="KNEE") == "knee radiograph"
    assert bare(modality="x-ray") == "radiograph"
    assert bare(body_part="KNEE") == "medical image"
    assert bare() == "medical image"
    assert bare(modality="US", body_part="LIVER") == "liver ultrasound"
    assert bare(modality="OP", body_part="EYE", channels=3) == "color ophthalmic photograph"
    assert bare(modality="OP", body_part="RETINA", channels=3) == "color fundus photograph"
    assert bare(modality="OP", body_part="RETINA") == "fundus photograph"  # the number of channels was not told
    assert bare(modality="SM", body_part="COLON") == "colon tissue microscopy image"
    assert "B-mode" not in " ".join(CAPTIONER.captions({"modality": "US", "body_part": "BREAST", "channels": 3}, []))
    assert "H&E" not in " ".join(CAPTIONER.captions({"modality": "SM", "body_part": "LUNG"}, []))


@pytest.mark.parametrize(
    ("grade", "words"), list(enumerate(["no radiographic", "doubtful", "minimal", "moderate", "severe"]))
)
def test_severity_is_said_in_words_and_as_grade(grade, words):
    texts = CAPTIONER.phrasings({"modality": "DX", "body_part": "KNEE", "kl_grade": grade}, [KL])
    assert any(f"{words} osteoarthritis (Kellgren-Lawrence grade {grade})" in item.text for item in texts)
    for item in texts:
        if item.form != "bare":
            assert re.search(rf"(grade|KL) {grade}\b", item.text)
            assert "osteoarthrit" in item.text


def test_a_scale_of_another_length_is_not_taken_for_a_known_one():
    label = LabelColumn("kl_grade", "ordinal", (0, 1, 2, 3, 4, 5))
    (text, *_) = CAPTIONER.captions({"kl_grade": 3}, [label])
    assert text == "A medical image, labeled kl grade 3 of 0 to 5."


@pytest.mark.parametrize("grade", [0, 1])
def test_a_known_scale_with_two_grades_left_is_no_flag(grade):
    texts = CAPTIONER.captions({"kl_grade": grade}, [LabelColumn("kl_grade", "ordinal", (0, 1))])
    assert f"Kellgren-Lawrence grade {grade}" in texts[0]
    texts = CAPTIONER.captions({"tumor_stage": grade}, [LabelColumn("tumor_stage", "ordinal", (0, 1))])
    assert texts[0] == f"A medical image, labeled tumor stage {grade} of 0 to 1."


def test_codes_of_the_known_data_sets_are_spelled_out():
    for values, name in [
        (HAM.values, "dx"), (("lung_aca", "lung_n", "lung_scc"), "label"), (("colon_aca", "colon_n"), "label"),
        (("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"), "label"),
        (("BASOPHIL", "EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"), "label"), (("benign", "malignant"), "dx"),
    ]:  # fmt: skip
        for value in values:
            (text, *_) = CAPTIONER.captions({name: value}, [nominal(name, *values)])
            assert "labeled" not in text
            assert "showing" in text
            assert "_" not in text


def test_flags_say_what_is_there_and_not_what_is_not():
    labels = [LabelColumn(name, "ordinal", (0, 1)) for name in ("cardiomegaly", "effusion", "mass", "rare_thing")]
    record = {"modality": "DX", "body_part": "CHEST", "cardiomegaly": 1, "effusion": 1, "mass": 0, "rare_thing": 0}
    assert CAPTIONER.captions(record, labels)[0] == "A radiograph of the chest, showing cardiomegaly and an effusion."
    one_more = CAPTIONER.captions(record | {"mass": 1, "rare_thing": 1}, labels)[0]
    assert one_more.endswith("showing cardiomegaly, an effusion and a mass, labeled rare thing.")


def test_a_cause_without_its_disease_is_a_plain_label():
    labels = [nominal("finding", "normal", "pneumonia"), nominal("aetiology", "bacteria", "virus")]
    assert CAPTIONER.captions({"aetiology": "virus"}, labels)[0] == "A medical image, labeled aetiology virus."
    viral = CAPTIONER.captions({"finding": "pneumonia", "aetiology": "virus"}, labels)
    assert viral[0] == "A medical image, showing viral pneumonia."
    assert CAPTIONER.captions({"finding": "pneumonia"}, labels)[0] == "A medical image, showing pneumonia."


@pytest.mark.parametrize(
    ("sex", "age", "said"),
    [
        ("F", 63.7, "woman in her sixties"), ("M", 60.0, "man in his sixties"), ("M", 59.99, "man in his fifties"),
        (None, 45.0, "person in their forties"), ("O", 45.0, "person in their forties"), ("F", None, "female patient"),
        ("M", 0.1, "boy under 10 years of age"), (None, 9.0, "child under 10 years of age"),
        ("F", 15.0, "female patient in her teens"), ("F", 90.0, "woman aged 90 or older"), ("O", None, ""),
        (None, None, ""), ("F", float("nan"), "female patient"),
    ],
)  # fmt: skip
def test_age_is_a_decade_and_neither_age_nor_sex_is_guessed(sex, age, said):
    (text, *_) = CAPTIONER.captions({"modality": "CT", "sex": sex, "age": age}, [])
    assert text == (f"A CT slice of a {said}." if said else "A CT slice.")


@pytest.mark.parametrize(
    ("part", "side", "said"),
    [
        ("KNEE", "L", "the left knee"),
        ("KNEE", "B", "both knees"),
        ("FOOT", "B", "both feet"),
        ("KNEE", None, "the knee"),
        ("RETINA", "R", "the right eye"),
        ("LSPINE", None, "the lumbar spine"),
        ("chest", "R", "the right side of the chest"),
        ("CHEST", "B", "the chest"),
        ("ABDOMEN", "L", "the left side of the abdomen"),
        ("OVARY", "B", "both ovaries"),
    ],
)
def test_body_parts_and_sides(part, side, said):
    (text, *_) = CAPTIONER.captions({"modality": "DX", "body_part": part, "laterality": side}, [])
    assert text == f"A radiograph of {said}."


def test_a_part_without_a_side_of_its_own_is_not_called_bilateral_or_left():
    texts = CAPTIONER.captions({"modality": "DX", "body_part": "CHEST", "laterality": "B"}, [])
    assert "bilateral" not in " ".join(texts)
    texts = CAPTIONER.captions({"modality": "DX", "body_part": "CHEST", "laterality": "L"}, [])
    assert "left chest" not in " ".join(texts)


def test_own_words_are_kept_as_they_are_and_marked():
    record, labels = FULL["ultrasound"]
    own = "Hypoechoic mass  at 3 o'clock,\nspiculated."
    marked = [item for item in CAPTIONER.phrasings(record, labels, own) if item.form == "own words"]
    assert [item.text for item in marked] == ["Hypoechoic mass at 3 o'clock, spiculated."]
    assert marked[0].text in CAPTIONER.captions(record, labels, own)
    assert marked[0].text not in CAPTIONER.captions(record, labels, own, held_out=True)
    assert CAPTIONER.captions(record, labels, " ") == CAPTIONER.captions(record, labels)
    # Text of a clinician is text: braces and brackets are no template.
    assert "{patient} [x|" in CAPTIONER.captions({}, [], "{patient} [x|")


def test_order_is_fixed_and_a_choice_is_stable_and_even():
    texts = everything("knee")
    assert texts == Captioner.load().captions(*FULL["knee"])
    chosen = [choose(f"image {i}", texts) for i in range(3000)]
    assert chosen[:50] == [choose(f"image {i}", texts) for i in range(50)]
    shares = [chosen.count(text) / 3000 for text in texts]
    assert min(shares) > 0.7 / len(texts)
    assert choose("x", texts[:1]) == texts[0]
    with pytest.raises(ValueError, match="no phrasings"):
        choose("x", [])


PLANTED = st.text(string.ascii_letters + string.digits, min_size=12, max_size=20).map(lambda text: f"Zq{text}")


@given(PLANTED, st.floats(0, 89).filter(lambda age: age % 10))
def test_nothing_but_words_of_the_tables_is_said(planted, age):
    record, labels = FULL["knee"]
    texts = [name for name, kind in STANDARD_COLUMNS.items() if str(kind) == "string" and name != "modality"]
    record = {**record, **dict.fromkeys(texts, planted), "age": age, "seed": 771177, "rows": 881188}
    labels = [*labels, LabelColumn("volume_ml", "continuous"), nominal("who", "somebody else"), nominal("note", "A")]
    record |= {"volume_ml": 771177.25, "who": planted, "note": "A"}
    said = " ".join(item.text for item in CAPTIONER.phrasings(record, labels))
    assert planted.lower() not in said.lower()
    assert "771177" not in said
    assert "881188" not in said
    assert f"{age:g}" not in said.split()
    assert {"body_part", "view", "volume_ml", "who"} <= set(CAPTIONER.unspoken(record, labels))
    assert "note" not in CAPTIONER.unspoken(record, labels)


@pytest.mark.parametrize("value", ["case 20231105", "2023-11-05", "a@b.example", "x" * 61, "Dr. Invented"])
def test_a_label_that_looks_like_a_person_is_not_said(value):
    labels = [nominal("remark", value, "other")]
    assert value not in " ".join(CAPTIONER.captions({"remark": value}, labels))
    assert CAPTIONER.unspoken({"remark": value}, labels) == ("remark",)


def test_unknown_is_missing():
    labels = [nominal("localization", "back", "unknown")]
    assert CAPTIONER.captions({"localization": "unknown"}, labels) == CAPTIONER.captions({}, [])


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        ("MRI slice", "an"),
        ("CT slice", "a"),
        ("X-ray", "an"),
        ("H&E stain", "an"),
        ("ultrasound", "an"),
        ("US image", "a"),
        ("AP view", "an"),
        ("uterine sample", "a"),
        ("unilateral cyst", "a"),
        ("uninfected cell", "an"),
        ("axial slice", "an"),
        ("B-mode", "a"),
        ("OCT scan", "an"),
        ("eosinophil", "an"),
        ("European", "a"),
        ("PET scan", "a"),
    ],
)
def test_articles_go_by_sound(following, expected):
    assert article(following) == expected


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("x [of {part}", "not closed"),
        ("x ] y", "outside"),
        ("x | y", "outside"),
        ("x {part} y", "may be unknown"),
        ("x[ {patient_id}]", "unknown field"),
        ("x[ {age}]", "unknown field"),
        ("x {", "no partner"),
        ("x[ {}]", "unknown"),
    ],
)
def test_malformed_templates_are_refused(text, wrong):
    with pytest.raises(TemplateError, match=wrong):
        parse(text, FIELDS.keys())


def test_alternatives_take_the_first_that_is_known():
    template = parse("[{a} {side} {part}|{part}|thing] seen[ by {view}].", FIELDS.keys())
    assert template.render({"side": "left", "part": "eye"}) == "A left eye seen."
    assert template.render({"part": "eye"}) == "Eye seen."
    assert template.render({"side": "left", "view": ""}) == "Thing seen."


@pytest.mark.parametrize(
    "text",
    [
        "a  radiograph of the ,", "A radiograph of the.", "A radiograph, .", "Radiograph ,left", "A radiograph showing",
        "", ".", "A radiograph ( labeled x)", "A radiograph ()", ", left knee", "Knee,", "A knee in a.", "An an X-ray",
        "Chest: .", "Chest. , man", "Chest;; man", "Slice of the; man",
    ],
)  # fmt: skip
def test_flaws_are_seen(text):
    assert flaw(text)


@given(st.text("{}[]|ab {part}", max_size=30))
def test_any_text_is_a_template_or_an_error(text):
    try:
        template = parse(text, FIELDS.keys())
    except TemplateError:
        return
    template.render({})
    template.render(FIELDS)


OWN = """
[[kinds]]
name = "colposcopy"
modalities = ["ES"]
body_parts = ["CERVIX"]
phrasings = ["{a} colposcopic image[, {finding}].", "Colposcopy[ of {the_part}].",
  "View by colposcope[: {finding_short}].",  "[{patient}; ]colposcopy image."]
held_out = ["Colposcope picture[ of {the_part}].", "Cervical view."]
short = "colposcopy[, {finding_short}]"
bare = "colposcopic image"

[[vocabularies]]
name = "cervix"
columns = ["swede_class"]
kinds = ["colposcopy"]
[vocabularies.codes]
low = { finding = "a low-grade lesion" }
high = { finding = "a high-grade lesion" }

[body_parts]
CERVIX = { name = "cervical", whole = "the uterine cervix in view" }
"""


def test_a_file_of_the_users_own_goes_first(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(OWN)
    own = Captioner.load(path)
    texts = own.captions(
        {"modality": "ES", "body_part": "cervix", "swede_class": "high"}, [nominal("swede_class", "high", "low")]
    )
    assert texts[:2] == ("A colposcopic image, a high-grade lesion.", "Colposcopy of the uterine cervix in view.")
    assert own.captions(*FULL["knee"]) == everything("knee")


@pytest.mark.parametrize(
    ("old", "new", "thing", "found"),
    [
        ("bare =", "bear =", "kinds[0].bear", "is unknown"),
        (
            '"Cervical view."',
            '"Cervical view[ of {patient_id}]."',
            "'colposcopy', held_out[1]",
            "unknown field {patient_id}",
        ),
        (
            '"{a} colposcopic image[, {finding}]."',
            '"{a} colposcopic image of {finding}."',
            "phrasings[0]",
            "may be unknown",
        ),
        (
            '"{a} colposcopic image[, {finding}]."',
            '"{a} colposcopic image of[ {finding}]."',
            "phrasings[0]",
            "leads nowhere",
        ),
        (
            '"Colposcopy[ of {the_part}]."',
            '"Colposcopy of the [{part}], lit."',
            "phrasings[1]",
            "blank before punctuation",
        ),
        ('"Cervical view."', '"colposcopic image"', "'colposcopy', held_out", "training phrasings too"),
        (', "Cervical view."', "", "held_out", "1 different templates"),
        ('kinds = ["colposcopy"]', 'kinds = ["colposcop"]', "vocabulary 'cervix', kinds", "no kind 'colposcop'"),
        ('"a low-grade lesion"', '"a lesion of {patient}"', "codes.low", "unknown place {patient}"),
        ('"a low-grade lesion"', '"a lesion of"', "codes.low", "leads nowhere"),
        ('finding = "a low', 'fnding = "a low', "codes.low.fnding", "is unknown"),
        ('columns = ["swede_class"]', 'columns = "swede_class"', "columns", "'swede_class'"),
        ("[body_parts]", "[body_prts]", "body_prts", "is unknown"),
        ("[body_parts]", "[body_parts", "my.toml", "not valid TOML"),
        ('modalities = ["ES"]', 'modalities = ["ES"]\nchannels = 2', "channels", "2"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_key(tmp_path, old, new, thing, found):
    path = tmp_path / "my.toml"
    assert old in OWN
    path.write_text(OWN.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        Captioner.load(path)
    lines = str(caught.value).splitlines()
    assert all("my.toml" in line for line in lines)
    assert any(thing in line and found in line for line in lines), lines


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(OWN.replace('"Cervical view."', '"Cervical[ {who}] view."').replace('"a low-grade lesion"', '"of"'))
    with pytest.raises(ConfigError) as caught:
        load_tables(path)
    assert len(caught.value.problems) == 2


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        Captioner.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["knee-xray"], {"modality": "DX", "body_part": "KNEE"}),
        (["Brain MRI 2"], {"modality": "MR", "body_part": "BRAIN"}),
        (["chest x-ray", "metadata.csv"], {"modality": "DX", "body_part": "CHEST"}),
        (["blood-smear"], {"modality": "SM", "body_part": "BLOOD"}),
        (["fundus_photo"], {"modality": "OP", "body_part": "RETINA"}),
        (["dermoscopy"], {"modality": "DMS", "body_part": "SKIN"}),
        (["brain-ct-mri"], {"body_part": "BRAIN"}),
        (["export", "actress"], {}),
        ([], {}),
    ],
)
def test_a_proposal_from_names_is_made_when_they_agree(names, expected):
    assert CAPTIONER.suggest(names, []) == expected


def test_a_proposal_from_codes():
    label = nominal("label", "colon_aca", "colon_n")
    assert CAPTIONER.suggest([], [label]) == {"modality": "SM", "body_part": "COLON"}
    assert CAPTIONER.suggest(["lung-histology"], [label]) == {"modality": "SM"}


def test_every_dicom_body_part_and_view_has_words():
    from synthcohort.ingest.vocabulary import BODY_PARTS, MODALITIES, VIEWS

    assert not BODY_PARTS - set(CAPTIONER.tables.body_parts)
    assert not VIEWS - set(CAPTIONER.tables.views)
    hinted = [*CAPTIONER.tables.hints.values(), *(v.suggests for v in CAPTIONER.tables.vocabularies)]
    assert {hint.modality for hint in hinted} - {""} <= MODALITIES
    assert {hint.body_part for hint in hinted} - {""} <= set(CAPTIONER.tables.body_parts)
    for part, words in CAPTIONER.tables.body_parts.items():
        for side in (None, "L", "B"):
            (text, *_) = CAPTIONER.captions({"modality": "DX", "body_part": part, "laterality": side}, [])
            assert not flaw(text), words


def test_the_tables_are_packaged_beside_the_code():
    assert {path.name for path in FOLDER.glob("*.toml")} >= {
        "words.toml",
        "labels.toml",
        "other.toml",
        "radiograph.toml",
    }
