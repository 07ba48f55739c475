"""Pure functions from arrays to numbers; real and synthetic are keyword-only, so they can't be swapped."""

from synthcohort.metrics.intervals import Score
from synthcohort.metrics.scored import METRICS

__all__ = ["METRICS", "Score"]
