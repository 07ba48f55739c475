"""Release: evidence and policy to a decision, and only then to a bundle that anybody can verify."""

from synthcohort.release.bundle import release
from synthcohort.release.decision import Decision, Rule, decide
from synthcohort.release.verify import verify

__all__ = ["Decision", "Rule", "decide", "release", "verify"]
