"""The exception tree: every error a user can cause says which thing, what was found, what is allowed and what to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in words a user can act on."""

    thing: str
    found: str
    allowed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.thing}: {self.found}"
        if self.allowed:
            text += f"; allowed: {self.allowed}"
        if self.remedy:
            text += f"; {self.remedy}"
        return text


class SynthCohortError(Exception):
    """The root of all errors that are shown to a user without a traceback."""

    exit_code = 2

    def __init__(self, *problems: Problem | str):
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class InputError(SynthCohortError):
    """A user's file, folder or request is wrong."""


class ConfigError(SynthCohortError):
    """A setting is wrong."""


class ArtifactError(SynthCohortError):
    """An artefact of ours is missing, damaged, or of another format or version."""


class TrainingError(SynthCohortError):
    """Training cannot go on: the loss is not finite, or memory ran out."""


class Refused(SynthCohortError):
    """A policy refused; nothing was released."""

    exit_code = 1
