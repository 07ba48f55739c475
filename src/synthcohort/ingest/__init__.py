"""Files to a cohort: found, decoded, de-identified, labeled and split by patient."""

from synthcohort.ingest.config import IngestConfig
from synthcohort.ingest.stage import ingest

__all__ = ["IngestConfig", "ingest"]
