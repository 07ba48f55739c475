"""Words that tell what kind of image a text speaks of: how it was made, and which part of the body it shows.

They are only looked for to find contradictions: a prompt about a mammogram is none of a generator whose captions never
speak of one. Groups are wide on purpose (a lung is in the chest), and words of findings are not among them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# A word that ends with `-` is how words start; one with capital letters is taken as it is written. None counts before
# "spine": the thoracic spine is no thorax.
METHODS: Mapping[str, str] = {
    "radiograph": "radiogra-, x-ray, x-rays, xray, xrays, roentgen-, röntgen-, plain film, plain films, CXR, cxr, KUB",
    "CT": "ct, hrct, computed tomogra-, cat scan",
    "MRI": "mri, MR, fmri, magnetic resonance, FLAIR",
    "ultrasound": "ultraso-, sonogra-, echogra-, echocardiogra-, doppler, b-mode, US",
    "mammogram": "mammogra-, tomosynthesis",
    "PET": "PET, pet scan, pet-ct, FDG, positron emission",
    "nuclear medicine": "scintigra-, SPECT, spect, bone scan, radionuclide, nuclear medicine",
    "angiogram": "angiogra-, arteriogra-, venogra-",
    "fluoroscopy": "fluorosc-, barium",
    "OCT": "oct, optical coherence, coherence tomogra-",
    "fundus photograph": "fundus, funduscop-, ophthalmoscop-, retinal photo-, retinal image-",
    "slit lamp": "slit lamp, slit-lamp",
    "dermoscopy": "dermoscop-, dermatoscop-, surface microscopy",
    "histology": "histolog-, histopatholog-, h&e, hematoxylin, haematoxylin, biops-, immunohistochem-",
    "smear": "smear, smears, blood film, blood films, cytolog-, aspirate",
    "endoscopy": "endoscop-, colonoscop-, gastroscop-, bronchoscop-, cystoscop-, laparoscop-, arthroscop-, colposcop-, "
    "laryngoscop-, hysteroscop-, otoscop-",
    "densitometry": "dxa, dexa, densitometr-",
    "electric recording": "ecg, ekg, eeg, emg, electrocardiogra-, electroencephalogra-",
}
PARTS: Mapping[str, str] = {
    "head": "head, brain, cerebr-, cerebell-, cranial, cranium, intracranial, skull, pituitary",
    "face": "face, facial, cheek, zygoma-, jaw, mandib-, maxill-, temporomandibular, TMJ, sinus, sinuses, nose, nasal, "
    "mouth, tongue",
    "teeth": "dental, tooth, teeth, orthopantomogram-, panoramic",
    "ear": "ear, ears, tympanic, otoscop-, internal auditory, IAC",
    "eye": "eye, eyes, eyelid, orbit-, retina, retinal, fundus, ocular, macula, macular, optic, cornea-, sclera, "
    "ophthalm-, OD, OS, OU",
    "neck": "neck, thyroid, parathyroid, larynx, laryng-, pharyn-, parotid, submandibular, salivary",
    "spine": "spine, spinal, lumbar, lumbosacral, vertebra-, sacrum, sacral, sacroiliac, coccyx",
    "chest": "chest, thorax, thoracic, lung, lungs, pulmonary, mediastin-, pleura-, rib, ribs, sternum, sternal, "
    "thym-, bronch-, trachea-, CXR, cxr",
    "heart": "heart, cardiac, coronary, echocardiogra-",
    "vessel": "aorta, aortic, carotid, artery, arteries, vein, veins",
    "breast": "breast, breasts, mammary, mammogra-",
    "abdomen": "abdom-, liver, hepatic, kidney, kidneys, renal, gallbladder, biliary, spleen, splenic, pancrea-, "
    "stomach, gastric, duoden-, jejun-, ileum, ileal, esophag-, oesophag-, adrenal, ureter-, gastroscop-",
    "colon": "colon, colonic, colorectal, bowel, rectum, rectal, colonoscop-, colonogra-, intestin-",
    "pelvis": "pelvi-, ilium, iliac, bladder, prostat-, uterus, uterine, ovar-, cervix, cervical, pap, vagin-, vulva-, "
    "penis, penile, scrot-, testis, testicular, urethra-, cystoscop-",
    "fetus": "fetal, fetus, foetal, obstetric",
    "hip": "hip, hips, femur, femoral, thigh, buttock, buttocks, gluteal",
    "knee": "knee, knees, patell-, gonarthrosis, arthroscop-",
    "lower leg and foot": "ankle, ankles, foot, feet, toe, toes, calcane-, tibia, fibula, calf, lower leg, leg, legs",
    "shoulder and arm": "shoulder, shoulders, axilla, axillary, arm, arms, elbow, elbows, forearm, humerus, radius, "
    "ulna, clavicle, scapula",
    "hand": "hand, hands, wrist, wrists, finger, fingers, thumb",
    "trunk": "trunk, torso, back",
    "skin": "skin, cutaneous, dermoscop-, dermatoscop-, scalp",
    "blood": "blood, hematolog-, haematolog-",
    "bone marrow": "bone marrow",
    "lymph node": "lymph node, lymph nodes",
    "other fluids": "urine, sputum, cerebrospinal",
    "whole body": "whole body, whole-body",
}


@dataclass(frozen=True)
class Cues:
    """Which methods and parts a text names; none that it doesn't speak of."""

    methods: frozenset[str]
    parts: frozenset[str]


def cues(text: str) -> Cues:
    """The methods and parts that a text names."""
    return Cues(*(frozenset(name for name, words in table.items() if words.search(text)) for table in _TABLES))


def _compiled(words: str) -> re.Pattern[str]:
    patterns = []
    for word in words.split(", "):
        start = word.endswith("-")
        pattern = re.escape(word.removesuffix("-")).replace(r"\ ", r"\s+")
        patterns.append((pattern if word != word.lower() else f"(?i:{pattern})") + (r"\w*" if start else ""))
    return re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)(?!\s+spine\b)")


_TABLES = tuple({name: _compiled(words) for name, words in table.items()} for table in (METHODS, PARTS))
