"""What the figures of the text encoder are computed on: captions of ten image types, and prompts written by hand.

Captions come from the built-in templates (ingest/captions) over drawn records, so everybody can make them again; the
templates' own `held_out` phrasings are never trained on. The prompts were written before anything was fitted; those of
`DEVELOPMENT` were looked at while the guess was made, those of `TEST` only counted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from synthcohort.core.cohort import LabelColumn
from synthcohort.core.seeds import rng
from synthcohort.ingest.caption import Captioner


@dataclass(frozen=True)
class Kind:
    """Facts that all images of a type share, its labels, and which facts vary."""

    facts: dict[str, Any]
    labels: tuple[LabelColumn, ...]
    sided: bool = False
    patient: bool = True
    views: tuple[str, ...] = ()


def _nominal(name: str, values: str) -> LabelColumn:
    return LabelColumn(name, "nominal", tuple(values.split()))


KINDS: dict[str, Kind] = {
    "knee radiograph": Kind(
        {"modality": "DX", "body_part": "KNEE"}, (LabelColumn("kl_grade", "ordinal", (0, 1, 2, 3, 4)),), True,
        views=("AP", "LATERAL", ""),
    ),
    "chest radiograph": Kind(
        {"modality": "DX", "body_part": "CHEST"},
        (_nominal("finding", "normal pneumonia"), _nominal("aetiology", "bacterial viral")), views=("PA", "AP", ""),
    ),
    "chest CT": Kind({"modality": "CT", "body_part": "CHEST"}, (_nominal("label", "normal benign malignant"),),
                     views=("AXIAL", "CORONAL", "")),
    "brain MRI": Kind({"modality": "MR", "body_part": "BRAIN"},
                      (_nominal("label", "glioma meningioma pituitary notumor"),), views=("AXIAL", "SAGITTAL", "")),
    "breast ultrasound": Kind({"modality": "US", "body_part": "BREAST", "channels": 1},
                              (_nominal("label", "benign malignant normal"),), True),
    "fundus photograph": Kind({"modality": "OP", "body_part": "RETINA", "channels": 3},
                              (LabelColumn("dr_grade", "ordinal", (0, 1, 2, 3, 4)),), True),
    "dermoscopy": Kind(
        {"modality": "DMS", "body_part": "SKIN", "channels": 3},
        (_nominal("dx", "nv mel bcc akiec bkl df vasc"), _nominal("localization", "back face trunk hand foot scalp")),
    ),
    "lung histology": Kind({"modality": "SM", "body_part": "LUNG", "channels": 3},
                           (_nominal("label", "lung_aca lung_scc lung_n"),)),
    "colon histology": Kind({"modality": "SM", "body_part": "COLON", "channels": 3},
                            (_nominal("label", "colon_aca colon_n"),)),
    "blood smear": Kind(
        {"modality": "SM", "body_part": "BLOOD", "channels": 3},
        (_nominal("label", "basophil eosinophil erythroblast ig lymphocyte monocyte neutrophil platelet"),),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Caption:
    """A text with the facts it was made of."""

    kind: str
    text: str
    form: str
    held_out: bool
    record: dict[str, Any]


def captions(count: int = 150, seed: int = 0) -> list[Caption]:
    """All phrasings of `count` drawn records of each kind, each text once."""
    captioner = Captioner.load()
    found: dict[str, Caption] = {}
    for name, kind in KINDS.items():
        for number in range(count):
            record = _record(kind, rng("text material", seed, name, number))
            for said in captioner.phrasings(record, kind.labels):
                found.setdefault(said.text, Caption(name, said.text, said.form, said.held_out, record))
    return list(found.values())


def _record(kind: Kind, draw: np.random.Generator) -> dict[str, Any]:
    record: dict[str, Any] = dict(kind.facts)
    for label in kind.labels:
        record[label.name] = label.values[int(draw.integers(len(label.values)))]
    if record.get("finding") == "normal":
        record["aetiology"] = None
    if kind.sided:
        record["laterality"] = str(draw.choice(["L", "R"]))
    if kind.views:
        record["view"] = str(draw.choice(kind.views)) or None
    if kind.patient and draw.random() < 0.7:
        record["sex"], record["age"] = str(draw.choice(["F", "M"])), int(draw.integers(20, 88))
    return record


# What people could ask for, by type, in words that are no template's.
DEVELOPMENT_ASKED: dict[str, tuple[str, ...]] = {
    "knee radiograph": ("knee x-ray KL 4", "xray of a left knee with bad arthritis",
                        "AP view of the right knee, joint space narrowing"),
    "chest radiograph": ("CXR with pneumonia", "normal frontal chest x-ray of a 45 year old man",
                         "chest film, bilateral infiltrates"),
    "chest CT": ("thoracic CT with a lung nodule", "axial CT through the lungs", "CT thorax, malignant lesion"),
    "brain MRI": ("MRI of the head with a glioma", "brain MR, pituitary adenoma", "cerebral MRI without tumor"),
    "breast ultrasound": ("ultrasound of a malignant breast mass", "breast sonography, benign cyst",
                          "US image of the left breast"),
    "fundus photograph": ("fundus image, proliferative retinopathy", "retina photo of the right eye",
                          "eye fundus with macular edema"),
    "dermoscopy": ("dermoscopy of a melanoma", "dermatoscope image of a mole on the back",
                   "pigmented skin lesion, basal cell carcinoma"),
    "lung histology": ("H&E slide of lung adenocarcinoma", "histopathology of benign lung tissue",
                       "microscopic image of squamous cell carcinoma of the lung"),
    "colon histology": ("H&E stained colon cancer", "benign colon mucosa under the microscope",
                        "colonic adenocarcinoma histology"),
    "blood smear": ("peripheral blood smear with a neutrophil", "a lymphocyte", "eosinophil in a stained blood film"),
}  # fmt: skip
TEST_ASKED: dict[str, tuple[str, ...]] = {
    "knee radiograph": (
        "radiograph of the knee of a 67-year-old woman with severe osteoarthritis",
        "plain film, left knee, no arthritis",
        "knee joint x-ray with osteophytes", "Kellgren-Lawrence 2 knee", "lateral knee radiograph",
        "x-ray right knee moderate OA", "weight-bearing knee film", "KL grade 3 gonarthrosis",
    ),
    "chest radiograph": (
        "chest x-ray showing bacterial pneumonia", "PA chest radiograph, clear lungs", "portable AP chest film",
        "thorax x-ray of a child with viral pneumonia", "a normal chest radiograph",
        "plain film of the thorax, consolidation in the right lower lobe", "CXR, no abnormality",
        "posteroanterior chest x-ray of an elderly man",
    ),
    "chest CT": (
        "chest CT, malignant", "computed tomography of the thorax with a benign nodule", "CT slice of the lungs",
        "coronal chest CT", "lung CT of a woman in her fifties", "CT scan of the chest without abnormal findings",
        "axial slice through the mediastinum, computed tomography", "thoracic computed tomogram, lung cancer",
    ),
    "brain MRI": (
        "MR image of the brain, meningioma", "sagittal brain MRI", "magnetic resonance scan of the head, no tumour",
        "T1 MRI of the brain with a pituitary tumor", "axial MR slice of a brain with glioma",
        "MRI brain of a 30-year-old man", "intracranial tumor on MRI", "a meningioma on MRI",
    ),
    "breast ultrasound": (
        "sonogram of a breast, benign lesion", "breast US, malignant lesion in the left breast",
        "echography of normal breast tissue", "ultrasound scan of the right breast of a 50-year-old woman",
        "B-mode image of a breast tumor", "breast sonogram with a hypoechoic mass", "benign breast lesion, ultrasound",
        "mammary ultrasound",
    ),
    "fundus photograph": (
        "color fundus photo with mild diabetic retinopathy", "photograph of the retina, left eye, no retinopathy",
        "ocular fundus, severe NPDR", "retinal image with cotton wool spots", "fundus of the right eye",
        "diabetic retinopathy grade 2", "fundus photography of a 60-year-old man with diabetes",
        "OD fundus photograph, optic disc centered",
    ),
    "dermoscopy": (
        "dermoscopic picture of a benign nevus on the trunk", "melanoma on the back of a man in his seventies",
        "dermatoscopy, seborrheic keratosis", "skin lesion on the face, actinic keratosis",
        "dermoscopic image of a vascular lesion", "close-up of a pigmented mole through a dermatoscope",
        "dermatofibroma of the lower leg", "dermoscopy of the scalp",
    ),
    "lung histology": (
        "lung adenocarcinoma, H&E", "histological section of lung with squamous cell carcinoma",
        "microscopy of normal lung parenchyma", "pulmonary adenocarcinoma under the light microscope",
        "H&E stained lung biopsy", "benign lung tissue slide", "photomicrograph of a lung tumor",
        "lung pathology image, squamous cell carcinoma",
    ),
    "colon histology": (
        "colon adenocarcinoma, hematoxylin and eosin", "histology of normal colon", "H&E colon tissue, benign",
        "large bowel biopsy with adenocarcinoma under the microscope", "colon tissue micrograph",
        "microscopic image of colorectal cancer", "section of benign colonic mucosa, H&E",
        "pathology slide of the colon",
    ),
    "blood smear": (
        "smear of blood with an eosinophil", "monocyte in peripheral blood", "basophil, Wright-Giemsa stain",
        "white blood cell under the microscope", "platelets on a blood smear", "immature granulocyte",
        "blood film with nucleated red cells", "hematology slide with a neutrophil",
    ),
}  # fmt: skip

# Image types that are not there.
DEVELOPMENT_ABSENT: tuple[str, ...] = (
    "mammogram of the left breast", "abdominal ultrasound", "hand radiograph", "a photo of a dog", "hip x-ray",
    "PET scan of the brain", "cardiac MRI", "OCT of the macula", "colonoscopy image of a polyp", "CT of the abdomen",
    "a landscape in autumn", "echocardiogram, four-chamber view", "dental x-ray", "liver biopsy, H&E",
    "bone marrow smear", "knee MRI with a torn meniscus", "chest ultrasound with pleural effusion",
    "ECG with atrial fibrillation", "urine sediment microscopy", "skull radiograph",
)  # fmt: skip
TEST_ABSENT: tuple[str, ...] = (
    # other modality, another part
    "screening mammogram, craniocaudal view", "mediolateral oblique mammography with calcifications",
    "abdominal CT with contrast", "CT of the pelvis", "head CT with hemorrhage", "CT angiography of the aorta",
    "MRI of the lumbar spine", "prostate MRI, PI-RADS 4", "MRI of the shoulder", "liver MRI with metastases",
    "fetal ultrasound at 20 weeks", "thyroid ultrasound with a nodule", "ultrasound of the kidney",
    "gallbladder sonography, gallstones", "carotid Doppler ultrasound", "ultrasound of the liver",
    "whole-body PET", "FDG PET-CT of lymphoma", "bone scintigraphy", "coronary angiogram",
    "optical coherence tomography of the retina", "fluorescein angiography of the eye",
    "slit lamp photograph of a cataract",
    "corneal topography", "gastroscopy with an ulcer", "bronchoscopy view of the trachea", "laparoscopic image",
    "cystoscopy of the bladder", "DXA scan of the hip", "panoramic dental radiograph",
    # a modality that is there, a part that is not
    "radiograph of the hand", "wrist x-ray with a fracture", "x-ray of the ankle", "foot radiograph, lateral view",
    "pelvis x-ray", "radiograph of the cervical spine", "shoulder x-ray, dislocation", "elbow radiograph",
    "plain film of the abdomen", "femur fracture on x-ray",
    "H&E section of the prostate", "breast carcinoma histology", "kidney biopsy under the microscope",
    "skin histology with melanoma", "liver tissue, H&E stain", "lymph node histology", "brain tumor histopathology",
    "cervical Pap smear", "sputum smear with acid-fast bacilli", "gastric mucosa histology",
    # a part that is there, a modality that is not
    "chest MRI", "brain CT", "knee ultrasound", "CT of the knee", "breast MRI", "MRI of the breast with contrast",
    "brain ultrasound of a newborn", "PET of the lung", "colon CT, colonography", "knee arthroscopy",
    # no medical image
    "a cat on a sofa", "portrait of a woman in her sixties", "a red sports car", "aerial view of a city",
    "handwritten digit seven", "a bowl of fruit", "Mona Lisa", "satellite image of a forest", "stock market chart",
    "a dermatologist at work", "hospital corridor", "electrocardiogram trace", "EEG recording", "please make an image",
    "SELECT * FROM images", "asdf qwer", "12345", "ein Hund auf der Wiese", "a knee-high boot", "chest of drawers",
)  # fmt: skip

# Prompts that fit two types or more of the ten: the type must be asked for.
AMBIGUOUS: tuple[str, ...] = (
    "radiograph", "an x-ray", "chest image", "H&E histology", "adenocarcinoma", "microscopy image", "normal findings",
    "a woman in her sixties", "benign tissue", "squamous cell carcinoma", "a malignant lesion", "lungs", "tumor",
    "x-ray of a man, 50s", "image of the thorax", "histology tile with adenocarcinoma", "medical image", "axial slice",
    "left side", "a stained section under the microscope",
)  # fmt: skip
