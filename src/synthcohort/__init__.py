"""SynthCohort turns a medical imaging data set into a synthetic cohort that can be shared, with measured evidence.

The public Python face, loaded on first use so that the import takes milliseconds:

    import synthcohort
    cohort = synthcohort.Cohort.open("out/cohort")
    images = cohort.torch_dataset(split="train")
    generator = synthcohort.load_generator("out/run")
    result = synthcohort.evaluate(real="out/cohort", synthetic="out/synthetic", out="out/evidence")
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Cohort", "SynthCohortError", "__version__", "evaluate", "load_generator"]

if TYPE_CHECKING:
    from synthcohort.core.cohort import Cohort
    from synthcohort.core.errors import SynthCohortError
    from synthcohort.models import load_generator
    from synthcohort.pipeline.sources import evaluate

_WHERE = {
    "Cohort": "synthcohort.core.cohort",
    "SynthCohortError": "synthcohort.core.errors",
    "evaluate": "synthcohort.pipeline.sources",
    "load_generator": "synthcohort.models",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'synthcohort' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
