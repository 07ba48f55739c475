"""Files to a cohort: found, decoded, de-identified, labeled and split by patient.

Loaded on first use: the processes that only decode need little of it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synthcohort.ingest.config import IngestConfig
    from synthcohort.ingest.stage import ingest

__all__ = ["IngestConfig", "ingest"]

_WHERE = {"IngestConfig": "synthcohort.ingest.config", "ingest": "synthcohort.ingest.stage"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'synthcohort.ingest' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
