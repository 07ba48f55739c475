"""When adversarial training has gone wrong, and what is done about it: decisions alone, from what was measured.

Words: a *look* compares drawn images with images of validation patients, in fixed features that nothing learns; its
*distance* is a Fréchet distance there, its *floor* that of as many training images. An *alarm* sends training back to
its last good look with other settings, or ends it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from synthcohort.training.gan_config import MOST_AUGMENT
from synthcohort.training.gan_state import Course
from synthcohort.training.watch import Control, WatchPoint, copying

ALIVE = 0.7  # drawn images this diverse, relative to real ones, show that training works
COLLAPSED = 0.5  # less diverse than this, after that, is a collapse
DEAD = 0.25  # and less than this wherever training should have come further
PATIENCE, EARLY = 0.5, 20_000  # share of the budget, and images, by which images must have become diverse
FAR = 2.0  # a distance this many times the lowest is a divergence
WORSE = 1.25  # and this many times, twice in a row, where the discriminator overfits
HEART = 0.5  # of the way from drawn to training images: where validation images lie when it knows those by heart
NEAR = 0.03  # distances nearer than this (relative) are taken to be equal
PACE, FIRM, MORE = 0.5, 2.0, 0.2  # what going back does: half the rate, twice the penalty, more augmentation


@dataclass(frozen=True)
class Look:
    """What was seen at a step. Ratios are of drawn to real images, as many of each; None: too few images to say.

    diversity    the smaller of two: effective number of different images (Vendi), and total variance
    of_classes   the same inside classes, mean over those with enough images
    coverage     share of the real images with a drawn one near; its floor is that of training images
    overfitting  how far the discriminator's score falls from training to validation images, 1: as far as to drawn ones
    """

    step: int
    images_seen: int
    distance: float | None = None
    floor: float | None = None
    diversity: float | None = None
    of_classes: float | None = None
    coverage: float | None = None
    coverage_floor: float | None = None
    overfitting: float | None = None
    drawn: int = 0
    copies: int = 0
    largest: float | None = None

    @property
    def least_diversity(self) -> float | None:
        known = [value for value in (self.diversity, self.of_classes) if value is not None]
        return min(known) if known else None

    def copying(self, control: Control) -> bool:
        """Whether the drawn images are copies more often than strangers' images are."""
        return copying(WatchPoint(self.step, self.images_seen, drawn=self.drawn, copies=self.copies), control)


@dataclass(frozen=True)
class Alarm:
    """What went wrong: divergence, collapse, overfitting or copies, and how it was seen, in words."""

    kind: str
    reason: str


def judge(looks: Sequence[Look], share: float, control: Control) -> Alarm | None:
    """The alarm that the last of the looks gives, at this share of the budget; None when all is well."""
    last, before = looks[-1], looks[:-1]
    if len(looks) > 1 and all(look.copying(control) for look in looks[-2:]):
        return Alarm(
            "copies",
            f"at two looks in a row drawn images were copies of training images ({last.copies} of {last.drawn}), "
            "more often than strangers' images look like copies",
        )
    diverse = last.least_diversity
    if diverse is not None:
        alive = any((look.least_diversity or 0.0) >= ALIVE for look in before)
        late = share >= PATIENCE and last.images_seen >= EARLY
        if (alive and diverse < COLLAPSED) or (late and diverse < DEAD):
            return Alarm("collapse", f"drawn images have {diverse:.0%} of the diversity of real ones")
    known = [look.distance for look in before if look.distance is not None]
    if last.distance is None or not known:
        return None
    times = last.distance / max(min(known), last.floor or 0.0, 1e-12)
    if times > FAR:
        return Alarm("divergence", f"the distance to real images is {times:.1f} times its lowest so far")
    sure = (last.overfitting or 0.0) > HEART
    if sure and times > WORSE and len(known) > 1 and known[-1] > WORSE * min(known):
        return Alarm(
            "overfitting",
            f"the discriminator knows its training images by heart (validation images lie {last.overfitting:.0%} of "
            f"the way to drawn ones), and the distance to real images is {times:.2f} times its lowest so far",
        )
    return None


def gentler(course: Course, alarm: Alarm) -> tuple[Course, str]:
    """The course with the settings that training goes on with after an alarm, and what was changed in words."""
    course = replace(course, setbacks=course.setbacks + 1, pace=course.pace * PACE, firm=course.firm * FIRM)
    said = f"learning rate x {PACE:g}, gradient penalty x {FIRM:g}"
    if alarm.kind == "overfitting":
        course = replace(course, probability=min(MOST_AUGMENT, course.probability + MORE))
        said += f", augmentation raised to {course.probability:.2f}"
    return course, said


def may_go_back(alarm: Alarm, setbacks: int, allowed: int) -> bool:
    """Whether training goes back; copies come from what it trains on, and going back would bring them again."""
    return alarm.kind != "copies" and setbacks < allowed


def chosen_look(looks: Sequence[Look], control: Control, alarmed: bool = False) -> Look | None:
    """The look to make the model from: the last of those nearest to real images that neither copy nor have collapsed.

    Where none is left: None after an alarm; else the last, since a short training has only not come far yet.
    """
    most = max((look.least_diversity or 0.0 for look in looks), default=0.0)
    least = max(DEAD, COLLAPSED * min(1.0, most))
    good = [look for look in looks if not look.copying(control) and _alive(look, least)]
    known = [look for look in good if look.distance is not None]
    if not known:
        return good[-1] if good else None if alarmed or not looks else looks[-1]
    nearest = min(look.distance for look in known if look.distance is not None)
    return [look for look in known if (look.distance or 0.0) <= nearest * (1 + NEAR)][-1]


def _alive(look: Look, least: float) -> bool:
    return look.least_diversity is None or look.least_diversity >= least


def warnings_of(looks: Sequence[Look], control: Control) -> list[str]:
    """What the last look says, in plain words; empty when nothing is wrong."""
    if not looks:
        return []
    last, said = looks[-1], []
    if last.copying(control):
        said.append(
            f"{last.copies} of {last.drawn} drawn images look like copies of training images ({control.above} of "
            f"{control.images} images of validation patients do): the model has begun to memorize"
        )
    if (last.overfitting or 0.0) > HEART:
        said.append(
            f"the discriminator knows its training images by heart: validation images lie {last.overfitting:.0%} of "
            "the way to drawn ones"
        )
    diverse = last.least_diversity
    if diverse is not None and diverse < COLLAPSED:
        said.append(f"drawn images have {diverse:.0%} of the diversity of real ones")
    return said


def as_fields(look: Look) -> dict[str, Any]:
    """A look as fields of a log line."""
    return asdict(look)
