"""What only a GAN's latent space gives: moves along a direction found from labels, steps between grades, projection."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthcohort.core.errors import InputError, Problem
from synthcohort.generation.edit import Edit, EditConfig, Subject
from synthcohort.generation.gan_directions import Direction, apart, find_direction
from synthcohort.generation.gan_edit import GanSubject, check_options, gan_sweep, moved
from synthcohort.generation.gan_readings import numbers_of, reading
from synthcohort.imaging.geometry import Fit

LEAST = 512  # images that a direction is found from
TIMES = 4  # and as many times the latent numbers
FAINT = 0.05  # of the readings' variance: a direction that explains less hardly says anything


@dataclass(frozen=True)
class LatentRequest:
    """What to do in the latent space, in the user's words. Raises InputError with all that does not go together.

    along     a column (kl_grade, age), or column=value (sex=M), along whose direction to move
    by        how far, in what the reading counts in: grades, years, or probability
    keep      columns whose readings are to stay as they are
    cohort    real images with these columns, which the readers are fitted on
    between   pictures between two values of a sweep
    project   the drawn image that comes nearest to a real one
    """

    along: str | None = None
    by: tuple[float, ...] = ()
    keep: tuple[str, ...] = ()
    cohort: Path | None = None
    between: int = 0
    project: bool = False

    def __post_init__(self) -> None:
        problems: list[Problem | str] = []
        if self.along is None:
            given = {"--by": self.by, "--keep": self.keep, "--cohort": self.cohort}
            problems += [Problem(name, "given without --along") for name, value in given.items() if value]
        else:
            if not self.by:
                problems.append(Problem("--along", "given without --by", remedy="say how far, for example --by 1"))
            if self.cohort is None:
                problems.append(
                    Problem("--along", "given without --cohort", remedy="name the real cohort that has this column")
                )
            if self.project:
                problems.append(Problem("--along and --project", "given together", "one of them"))
        if self.between < 0 or self.between > 20:
            problems.append(Problem("--between", str(self.between), "0 to 20"))
        if problems:
            raise InputError(*problems)

    @property
    def changes(self) -> bool:
        """Whether it says by itself what is to change."""
        return self.along is not None or self.project


def latent_edits(
    run: Path,
    subject: Subject,
    request: LatentRequest,
    sweep: str | None = None,
    mask: np.ndarray | None = None,
    fit: Fit = "pad",
    config: EditConfig | None = None,
) -> tuple[list[Edit], dict[str, Any]]:
    """The edits, and what is to be known of them: how well a direction holds, how near a projection comes.

    Raises InputError for unknown columns, moves that would be too long to be true, and --project of a drawn image.
    """
    check_options(config)
    if request.project:
        return _projected(subject)
    own = GanSubject(subject)
    if request.along is None:
        return gan_sweep(own, sweep or "", request.between, mask), own.nearness
    return _moved(run, own, request, mask, fit)


def _projected(subject: Subject) -> tuple[list[Edit], dict[str, Any]]:
    if subject.drawn:
        raise InputError(Problem("--project", "given for a drawn image, which is its own", "with --image"))
    own = GanSubject(subject)
    pixels = own.generator.from_unit(own.before[0], subject.spec)
    return [Edit(subject.pixels, pixels, dict(subject.said))], own.nearness


def _moved(
    run: Path, own: GanSubject, request: LatentRequest, mask: np.ndarray | None, fit: Fit
) -> tuple[list[Edit], dict[str, Any]]:
    assert request.along is not None
    assert request.cohort is not None
    subject, spec = own.subject, own.subject.spec
    said = {name: value for name, value in subject.said.items() if name != request.along.partition("=")[0]}
    readers = {name: reading(run, request.cohort, name, spec, fit) for name in (request.along, *request.keep)}
    count = max(LEAST, TIMES * own.generator.network.config.latent)
    found = {name: find_direction(own.generator, subject.said, read, count) for name, read in readers.items()}
    direction = found[request.along]
    if request.keep:
        try:
            direction = apart(direction, [found[name] for name in request.keep])
        except ValueError as error:
            raise InputError(Problem("--keep", str(error), remedy="keep fewer columns")) from error
    steps = _steps(direction, request.by)
    # the reading changes, so what the image was said to show of this column holds no more
    edits = [own.edited(said if by else subject.said, moved(own.code, step), mask) for by, step in steps.items()]
    read = readers[request.along]
    facts = {
        "along": request.along, "by": list(steps), "kept": list(request.keep),
        "explained": round(direction.explained, 3), "faint": direction.explained < FAINT,
        "read_before": numbers_of(read([subject.pixels]))[0],
        "read_after": numbers_of(read([edit.image for edit in edits])),
    }  # fmt: skip
    return edits, {"direction": facts} | own.nearness


def _steps(direction: Direction, amounts: tuple[float, ...]) -> Mapping[float, np.ndarray]:
    """The moves of all amounts; what is too far of any is raised at once."""
    steps: dict[float, np.ndarray] = {}
    problems: list[Problem | str] = []
    for amount in amounts:
        try:
            steps[amount] = direction.step(amount)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return steps
