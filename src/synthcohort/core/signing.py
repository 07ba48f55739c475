"""Ed25519 signatures: who wrote a file, and that not a byte of it was changed since.

A signature is 64 raw bytes over the raw bytes of one file, so that anybody can check it without this program:
`openssl pkeyutl -verify -pubin -inkey owner.key.pub -rawin -in manifest.json -sigfile manifest.sig`. Files that are
signed name their own format, so a signature of one kind of file can't be passed off as one of another.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from synthcohort.core.errors import ArtifactError, InputError, Problem
from synthcohort.core.files import atomic_path, remove, write_atomic

SUFFIX = ".sig"
LARGEST = 16384  # bytes of a key file


def make_key(path: Path) -> str:
    """Writes a new private key to `path`, for the owner's eyes (0600), and the public one to `path`.pub.

    Returns the fingerprint. Raises InputError where one of the two is there: a key is never overwritten.
    """
    public = public_path(path)
    taken = [name for name in (path, public) if name.exists() or name.is_symlink()]
    if taken:
        raise InputError(
            *(Problem(f"key {name}", "is there already", remedy="choose another --out; keep it") for name in taken)
        )
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with atomic_path(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(private)
    write_atomic(public, public_text(key.public_key()))
    return fingerprint(key.public_key())


def public_path(path: Path) -> Path:
    """Where the public half of a private key lies."""
    return path.with_name(path.name + ".pub")


def public_text(key: Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: Ed25519PublicKey) -> str:
    """`ed25519:` and the SHA-256 of the raw public key: what people compare by telephone."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "ed25519:" + hashlib.sha256(raw).hexdigest()


def load_private(path: Path) -> Ed25519PrivateKey:
    """The owner's key. Raises InputError when it is no Ed25519 key, or when others may read the file."""
    data = _read(path, "private key", "make one with synthcohort keys")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(Problem(f"private key {path}", "can be read by others", "mode 0600", f"chmod 600 {path}"))
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:  # TypeError: the key is encrypted
        raise InputError(Problem(f"private key {path}", f"cannot be read ({type(error).__name__})", _PRIVATE)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(Problem(f"private key {path}", "is of another kind", _PRIVATE))
    return key


def load_public(path: Path) -> Ed25519PublicKey:
    """The public key that a receiver got from the owner. Raises InputError for anything else, a private key too."""
    data = _read(path, "public key", "ask the owner of the data for it")
    try:
        key = serialization.load_pem_public_key(data)
    except ValueError:
        raise InputError(Problem(f"public key {path}", "cannot be read", _PUBLIC)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(Problem(f"public key {path}", "is of another kind", _PUBLIC))
    return key


_PRIVATE = "an Ed25519 key in PEM (PKCS 8) without a password"
_PUBLIC = "an Ed25519 public key in PEM"


def _read(path: Path, what: str, remedy: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(Problem(f"{what} {path}", error.strerror or "cannot be read", remedy=remedy)) from None
    if len(data) > LARGEST:
        raise InputError(Problem(f"{what} {path}", "is no key: too large", remedy=remedy))
    return data


def sign_file(path: Path, key: Ed25519PrivateKey) -> Path:
    """Writes the signature of a file's bytes beside it, `NAME.sig` in place of its suffix; returns where."""
    out = signature_path(path)
    write_atomic(out, key.sign(path.read_bytes()))
    return out


@contextmanager
def signed(path: Path, key_file: Path | None) -> Iterator[Ed25519PrivateKey | None]:
    """Signs the file that is written inside, where there is a key; the signature of an earlier file goes first.

    A key that can't be used is said before the work: raises InputError as `load_private` does.
    """
    key = load_private(key_file) if key_file else None
    remove(signature_path(path))
    yield key
    if key is not None:
        sign_file(path, key)


def signature_path(path: Path) -> Path:
    """`scores.json` -> `scores.sig`."""
    return path.with_suffix(SUFFIX)


def signature_problem(data: bytes, signature: bytes, key: Ed25519PublicKey) -> str:
    """Why a signature does not hold; empty when it does."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return "the signature is not that of this key over these bytes"
    return ""


def read_signature(path: Path) -> bytes:
    """The 64 bytes of a signature file. Raises ArtifactError for anything else."""
    try:
        with open(path, "rb") as file:
            data = file.read(65)
    except OSError as error:
        raise ArtifactError(Problem(str(path), error.strerror or "cannot be read")) from None
    if len(data) != 64:
        raise ArtifactError(Problem(str(path), "is no signature", "64 bytes (Ed25519)"))
    return data
