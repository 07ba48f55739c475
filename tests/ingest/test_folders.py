from collections import Counter

import pytest

from synthcohort.ingest.columns import find_labels
from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.folders import meaning_of, patient_folders, read_folders


def level(*names, images=30):
    return Counter(dict.fromkeys(names, images))


@pytest.mark.parametrize(
    "names",
    [
        ("benign", "malignant", "normal"), ("NORMAL", "PNEUMONIA"), ("0", "1", "2", "3", "4"), ("grade_1", "grade_2"),
        ("EOSINOPHIL", "LYMPHOCYTE", "MONOCYTE", "NEUTROPHIL"), ("colon_aca", "colon_n"), ("I", "II", "III", "IV"),
        ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"), ("nv", "mel", "bcc", "bkl", "df", "vasc"),
        ("No_DR", "Mild", "Moderate", "Severe", "Proliferate_DR"), ("COVID", "Opacity", "Normal", "Viral Pneumonia"),
        ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"), ("CNV", "DME", "DRUSEN", "NORMAL"),
        ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"), ("MildDemented", "NonDemented"),
    ],
    ids=lambda names: names[0],
)  # fmt: skip
def test_folders_of_classes(names):
    assert meaning_of(level(*names)) == "label"


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (("patient1", "patient2"), 50), (("sub-01", "sub-ctl02"), 3), (("case_12", "case_13", "case_14"), 3),
        (tuple(f"A{i * 977:06d}" for i in range(10)), 2), (tuple(f"LIDC-IDRI-{i:04d}" for i in range(3)), 200),
        (tuple(str(i) for i in range(1, 13)), 3), (tuple(f"Muster{chr(65 + i)}" for i in range(26)), 5),
        (("P01", "P02", "P07"), 9), (("20131", "20441"), 4),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_folders_of_patients(names, images):
    assert meaning_of(level(*names, images=images)) == "patient"


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (("Muster_Anna", "Beispiel_Bert"), 200), (("MUSTER^ANNA", "BEISPIEL^BERT", "normal", "benign"), 50),
        (("Dr_Mockup", "Dr_Muster"), 90), (("Mr. Mockup", "Mrs. Muster"), 90), (("Muster", "Mockup", "normal"), 90),
        (("normal", "glaucoma", "MÜLLER_JÜRGEN"), 4), (("normal", "glaucoma", "müller"), 40),
        (("normal", "abnormal", "Мария Иванова"), 40), (("benign", "malignant", "山田花子"), 40),
        (("NORMAL", "ERIKA", "PNEUMONIA", "COVID", "TB", "EFFUSION", "EDEMA", "MASS", "NODULE", "HERNIA"), 40),
        (("normal", "Zimmer 4"), 40), (("normal Muster", "glaucoma Mockup"), 40), (("Muster", "Müller"), 40),
        (("AB", "CD", "XY"), 20), (("benign", "malignant"), 1), (("Muster Anna", "other", "normal"), 9),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_folders_that_may_be_persons_are_no_labels(names, images):
    assert meaning_of(level(*names, images=images)) in ("unclear", "patient")


@pytest.mark.parametrize(
    ("names", "meaning"),
    [
        (("train", "val", "test"), "split"), (("Training", "Testing"), "split"), (("left", "right"), "laterality"),
        (("axial", "coronal"), "view"), (("CT", "MR"), "modality"), (("images_001", "images_002"), "nothing"),
        (("anat", "func"), "nothing"), (("normal",), "nothing"), (("1.2.840.1", "1.2.840.2"), "nothing"),
        (("fold1", "fold2"), "nothing"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_other_folders(names, meaning):
    assert meaning_of(level(*names)) == meaning


def test_levels_together():
    names = [
        f"set.zip/{split}/{label}/images/patient{p}/{i}.png"
        for split in ("train", "test") for label in ("benign", "malignant") for p in range(4) for i in range(3)
    ]  # fmt: skip
    found = read_folders(names)
    assert found.columns == ("split", "label", "patient_id")
    assert found.rows["set.zip/test/benign/images/patient3/0.png"] == {
        "split": "test", "label": "benign", "patient_id": "patient3",
    }  # fmt: skip
    assert len(found.warnings) == 3
    assert not any("benign" in text or "patient3" in text for text in found.warnings)
    outer = read_folders(
        [f"{o}/{i}/{n}.png" for o in ("lung", "colon") for i in ("normal", "cancer") for n in range(3)]
    )
    assert outer.columns == ("label_above", "label")
    archives = read_folders([f"{label}.zip/{i}.png" for label in ("benign", "normal") for i in range(3)])
    assert {row["label"] for row in archives.rows.values()} == {"benign", "normal"}
    beside = read_folders([*names, "set.zip/extra.png"])
    assert "set.zip/extra.png" not in beside.rows


def test_settings_decide():
    names = [f"{name}/{i}.png" for name in ("cats", "dogs") for i in range(5)]
    unclear = read_folders(names)
    assert unclear.rows == {}
    assert "ingest.folders" not in " ".join(read_folders(names, "label").warnings)
    assert read_folders(names, "label").rows["cats/0.png"] == {"label": "cats"}
    assert read_folders(names, "patient").rows["cats/0.png"] == {"patient_id": "cats"}
    assert read_folders(names, "ignore").rows == {}
    classes = [f"{label}/p{p}/{i}.png" for label in ("benign", "normal") for p in range(9) for i in range(3)]
    assert read_folders(classes).columns == ("label", "patient_id")
    assert read_folders(classes, "label").columns == ("label",)
    assert read_folders(classes, "patient").columns == ("patient_id",)


def test_labels_from_folders_are_checked_like_any():
    rows = [{"label": value} for value in ["Dr Muster"] * 5 + ["normal"] * 5]
    labels, dropped, _ = find_labels(["label"], rows, range(10), IngestConfig())
    assert not labels
    assert "free text, dates or identifiers" in dropped["label"]


def test_patients_beside_a_table():
    found = patient_folders([f"v1/train/patient{i:05d}/study1/view1.jpg" for i in range(3)])
    assert found["v1/train/patient00002/study1/view1.jpg"] == "patient00002"
    assert patient_folders([f"images/{label}/{i}.png" for label in "01" for i in range(3)]) == {}
    assert patient_folders([]) == {}
