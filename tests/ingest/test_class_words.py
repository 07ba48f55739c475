import pytest

from synthcohort.ingest.class_words import all_known, folded, is_class_value, is_lower_case

CLASSES = """normal|Kein Befund|unauffällig|unauffaellig|Gonarthrose|gutartig|bösartig|bénin|sospechoso|maligno|Sí|nein
 oui| Viral Pneumonia|No_DR|Proliferate_DR|MildDemented|lung_aca|EOSINOPHIL|Grade 2|KL grade 3|BI-RADS 4a|Lung-RADS 4B
 Gleason 3+4|ASA III
 adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib|Pleuraerguss links|head/neck|follow_up|Bronchialkarzinom|positive|None"""
CODES = "3+4|T2N0M0|pT1c N0|IIIb|G2|4|A|IV"
PERSONS = """Müller|MÜLLER_JÜRGEN|Anna Beispiel|Beispiel, Anna
 BEISPIEL^ANNA|Dr Mockup|Dr. med. Muster|normal Muster|Klein
 Stark| Иванова|正常太郎|محمد|Γεωργίου|Ambrosis Politis|Adomaitis
 Eufemia Paloma|Theophil|Ambrose|Zimmer 4|Station 3B|Raum A12
 P01| 01.03.1961|März 2021|2021|Mo|AB|im0.png"""


def parts(text):
    return [part.strip() for part in text.split("|") for part in part.split("\n") if part.strip()]


@pytest.mark.parametrize("value", parts(CLASSES))
def test_classes_in_five_languages(value):
    assert is_class_value(value)


@pytest.mark.parametrize("value", parts(CODES))
def test_grades_need_a_column_that_is_called_like_a_label(value):
    assert is_class_value(value, codes=True)
    assert not is_class_value(value)


@pytest.mark.parametrize("value", parts(PERSONS))
def test_persons_rooms_and_dates_are_no_classes(value):
    assert not is_class_value(value, codes=True)


def test_accents_and_cases():
    assert folded("MÜLLER") == folded("mu\u0308ller") == "muller"
    assert is_lower_case("cats and Pneumonia")
    assert not any(map(is_lower_case, ["Muster", "of Anna", "正常", "MUSTER", "иванова"]))
    assert all_known("An ultrasound image of breast with benign findings.")
    assert not all_known("An ultrasound image of Ms Muster with benign findings.")
