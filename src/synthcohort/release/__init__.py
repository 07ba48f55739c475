"""Release: evidence and policy to a decision, and only then to a bundle that anybody can verify."""

from synthcohort.release.bundle import Judged, Request, assess, release
from synthcohort.release.decision import Decision, decide
from synthcohort.release.rules import Rule
from synthcohort.release.verify import verify

__all__ = ["Decision", "Judged", "Request", "Rule", "assess", "decide", "release", "verify"]
