"""Numpy functions on pixels, each with a known inverse: intensity and geometry."""
