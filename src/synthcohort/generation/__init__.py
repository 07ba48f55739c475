"""Run -> synthetic cohort: which labels, which seeds, and a screen for copies before anything is written."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthcohort.generation.synthesize import generate

__all__ = ["generate"]


def __getattr__(name: str) -> Any:
    if name == "generate":
        from synthcohort.generation.synthesize import generate

        return generate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
