"""The people of the procedural hospital. Nobody here exists, and every name says so."""

import datetime
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synthcohort.phantoms.anatomy import NUM_GRADES

FAMILY_NAMES = (
    "Phantom", "Placeholder", "Mockup", "Fictitious", "Specimen", "Invented", "Testcase", "Nobody",
    "Makebelieve", "Dummy", "Imaginary", "Simulacrum", "Pretend", "Syntheticus", "Unperson", "Procedural",
)  # fmt: skip
GIVEN_NAMES_F = (
    "Ada", "Bitty", "Cosina", "Delta", "Epsilona", "Fourieria", "Gamma", "Heuna", "Iota", "Lambda", "Voxella",
)  # fmt: skip
GIVEN_NAMES_M = (
    "Arctan", "Byteus", "Cosinus", "Dirac", "Euler", "Faxman", "Gausso", "Heun", "Kappa", "Pixello", "Radon",
)  # fmt: skip
INSTITUTION = "Procedural Hospital of Nowhere"
ADDRESS = "1 Imaginary Lane, 00000 Nowhere"
PHYSICIANS = ("Nobody^Doctor", "Placeholder^Consultant", "Mockup^Registrar")
GRADE_SHARES = (0.34, 0.20, 0.22, 0.15, 0.09)  # roughly an osteoarthritis cohort's
FIRST_STUDY_DAY = datetime.date(2021, 3, 1)


@dataclass(frozen=True)
class Person:
    """An invented patient; `severity` is the worse knee's."""

    number: int
    name: str
    patient_id: str
    sex: Literal["F", "M"]
    birth_date: datetime.date
    study_date: datetime.date
    severity: dict[str, int]  # by laterality
    says_age: bool  # whether the header has Patient's Age beside the birth date

    @property
    def age(self) -> int:
        """Whole years at the study date."""
        before_birthday = (self.study_date.month, self.study_date.day) < (self.birth_date.month, self.birth_date.day)
        return self.study_date.year - self.birth_date.year - before_birthday


def draw_person(number: int, rng: np.random.Generator) -> Person:
    """Someone whose age and sex fit the worse knee: older, and more often a woman, as the grade rises."""
    worse = int(rng.choice(NUM_GRADES, p=GRADE_SHARES))
    other = int(np.clip(worse - rng.choice(3, p=(0.5, 0.35, 0.15)), 0, NUM_GRADES - 1))
    sides = ("L", "R") if rng.random() < 0.5 else ("R", "L")
    sex: Literal["F", "M"] = "F" if rng.random() < 0.48 + 0.06 * worse else "M"
    years = float(np.clip(47.0 + 6.5 * worse + 9.5 * rng.standard_normal(), 24.0, 96.0))
    study_date = FIRST_STUDY_DAY + datetime.timedelta(days=int(rng.integers(900)))
    birth_date = study_date - datetime.timedelta(days=int(years * 365.25) + int(rng.integers(365)))
    given = str(rng.choice(GIVEN_NAMES_F if sex == "F" else GIVEN_NAMES_M))
    return Person(
        number=number,
        name=f"{rng.choice(FAMILY_NAMES)}^{given}",
        patient_id=f"PH{number:05d}{int(rng.integers(10**4)):04d}",
        sex=sex,
        birth_date=birth_date,
        study_date=study_date,
        severity={sides[0]: worse, sides[1]: other},
        says_age=bool(rng.random() < 0.85),
    )
