"""Release: evidence and policy to a decision, and only then to a bundle that anybody can verify."""

from synthcohort.release.bundle import Judged, assess, release
from synthcohort.release.decision import Decision, decide
from synthcohort.release.foreseen import Foreseen, foresee
from synthcohort.release.request import Request
from synthcohort.release.rules import Rule
from synthcohort.release.verify import verify

__all__ = [
    "Decision", "Foreseen", "Judged", "Request", "Rule", "assess", "decide", "foresee", "release", "verify",
]  # fmt: skip
