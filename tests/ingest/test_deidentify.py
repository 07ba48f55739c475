import hashlib
import hmac
import os
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.errors import InputError
from synthcohort.ingest.deidentify import (
    Pseudonyms,
    clean_facts,
    manufacturer,
    new_key,
    parse_age,
    parse_laterality,
    parse_sex,
    read_key,
    seed_key,
    write_key,
)
from synthcohort.ingest.vocabulary import BODY_PARTS, MANUFACTURERS, MODALITIES, VIEWS

KEY = bytes(range(32))


def test_pseudonyms_are_hmac_sha256():
    expected = hmac.new(KEY, b"patient\0ph1", hashlib.sha256).hexdigest()[:16]
    assert Pseudonyms(KEY).patient("PH1") == f"p-{expected}"


@given(st.text(min_size=1), st.text(min_size=1))
def test_pseudonyms_are_consistent_distinct_and_say_nothing(first, second):
    pseudonyms = Pseudonyms(KEY)
    assert pseudonyms.patient(first) == pseudonyms.patient(f" {first} ")
    assert (pseudonyms.image(first) == pseudonyms.image(second)) == (first == second)
    assert pseudonyms.series(first)[2:] != pseudonyms.patient(first)[2:]  # kinds cannot be matched
    assert pseudonyms.patient(first) != Pseudonyms(KEY[::-1]).patient(first)  # nor cohorts of different keys
    assert re.fullmatch("p-[0-9a-f]{16}", pseudonyms.patient(first))


def test_uids_are_uuids_that_say_nothing():
    uid = Pseudonyms(KEY).uid("1.2.840.48213")
    number = int(uid.removeprefix("2.25."))
    assert number < 2**128
    assert uuid.UUID(int=number).variant == uuid.RFC_4122
    assert uuid.UUID(int=number).version == 8
    assert len({Pseudonyms(KEY).uid(f"1.2.{n}") for n in range(1000)}) == 1000
    assert Pseudonyms(KEY).uid("1.2.840.48213\0 ") == uid  # padding is no part of a UID
    assert Pseudonyms(KEY[::-1]).uid("1.2.840.48213") != uid


def test_seals_and_instances_have_domains_of_their_own():
    pseudonyms = Pseudonyms(KEY)
    hashes = [pseudonyms.seal("1.2.3"), pseudonyms.instance("1.2.3")[2:], pseudonyms.series("1.2.3")[2:]]
    assert len({text[:16] for text in hashes}) == 3
    assert re.fullmatch("o-[0-9a-f]{16}", pseudonyms.instance("1.2.3"))


def test_the_key_stays_with_its_owner(tmp_path):
    path = tmp_path / "sub" / "cohort.key"
    key = new_key()
    write_key(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == key
    assert [p.name for p in path.parent.iterdir()] == ["cohort.key"]
    with pytest.raises(FileExistsError):
        write_key(path, new_key())
    assert read_key(path) == key
    os.chmod(path, 0o644)
    with pytest.raises(InputError, match="others may read it"):
        read_key(path)


@pytest.mark.parametrize("text", ["", "hello", "00" * 31])
def test_a_bad_key_file_is_refused_without_quoting_it(tmp_path, text):
    path = tmp_path / "k"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(InputError, match="key file") as caught:
        read_key(path)
    assert not text or text not in str(caught.value).replace(str(path), "")
    with pytest.raises(InputError, match="no such file"):
        read_key(tmp_path / "none")


def test_seed_keys_are_repeatable_and_differ():
    assert seed_key(1) == seed_key(1) != seed_key(2)
    assert Pseudonyms(seed_key(1)).key_id == Pseudonyms(seed_key(1)).key_id
    with pytest.raises(ValueError, match="allowed: 32"):
        Pseudonyms(b"short")


fact_names = [
    "modality", "body_part", "view", "manufacturer", "sex", "age", "laterality", "patient_name", "institution",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(fact_names), st.text()))
def test_only_listed_words_and_checked_values_pass(facts):
    kept, dropped = clean_facts(facts)
    vocabulary = {
        "modality": MODALITIES, "body_part": BODY_PARTS, "view": VIEWS, "manufacturer": {*MANUFACTURERS, "other"},
        "sex": {"F", "M", "O"}, "laterality": {"L", "R", "B"},
    }  # fmt: skip
    for name, value in kept.items():
        assert value in vocabulary[name] if name != "age" else 0 <= value <= 90
    assert set(kept) | set(dropped) == set(facts) - {"patient_name", "institution"}


def test_a_name_in_the_wrong_element_stays_behind():
    kept, dropped = clean_facts(
        {"body_part": "PHANTOM ADA", "view": "ADA", "manufacturer": "Ada Phantom Inc", "modality": "CT", "sex": "A"}
    )
    assert kept == {"manufacturer": "other", "modality": "CT"}
    assert sorted(dropped) == ["body_part", "sex", "view"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("GE MEDICAL SYSTEMS", "GE"), ("Siemens Healthineers", "SIEMENS"), ("FUJIFILM Corporation", "FUJIFILM"),
     ("Orange", "other"), ("Philips Medical Systems, Inc.", "PHILIPS")],
)  # fmt: skip
def test_manufacturer(text, expected):
    assert manufacturer(text) == expected


@pytest.mark.parametrize(
    ("value", "years"),
    [("063Y", 63.0), ("63", 63.0), ("63.5", 63.5), (47.0, 47.0), ("018M", 1.5), ("000Y", 0.0), ("026W", 0.5),
     ("89", 89.0), ("90", 90.0), ("104Y", 90.0), ("200", None), ("-3", None), ("", None), ("old", None), ("63Q", None),
     ("nan", None)],
)  # fmt: skip
def test_age(value, years):
    assert parse_age(value) == (years if years is None else pytest.approx(years, abs=0.01))


def test_sex_and_side_are_not_guessed():
    assert [parse_sex(v) for v in ("F", "female", "Male ", "O")] == ["F", "F", "M", "O"]
    assert [parse_laterality(v) for v in ("l", "Right", "OD", "bilateral")] == ["L", "R", "R", "B"]
    assert {parse(v) for parse in (parse_sex, parse_laterality) for v in ("unknown", "", "X", "U")} == {None}
