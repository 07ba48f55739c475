"""Networks, what they are conditioned on, and how they are stored: safetensors and JSON, never pickles."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthcohort.models.generator import Generator, load_generator

__all__ = ["Generator", "load_generator"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from synthcohort.models import generator

        return getattr(generator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
