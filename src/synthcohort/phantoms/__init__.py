"""Procedural images with exact ground truth: the offline demo's hospital and the known answers of the tests."""

from synthcohort.phantoms.hospital import write_hospital

__all__ = ["write_hospital"]
