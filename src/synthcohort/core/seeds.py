"""Seeds by name: every random draw has its own seed, derived from what it is for and never from what came before it."""

import hashlib

import numpy as np


def seed_from(*parts: str | int) -> int:
    """A 63-bit seed from words and numbers; the same parts give the same seed on every machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    data = text.encode("utf-8", "surrogateescape")  # names of files may be no UTF-8
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def rng(*parts: str | int) -> np.random.Generator:
    """A numpy generator of its own for one purpose."""
    return np.random.Generator(np.random.PCG64(seed_from(*parts)))
