"""Procedural images with exact ground truth: the offline demo's hospital and the known answers of the tests."""
