import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from hypothesis import given
from hypothesis import strategies as st

from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.core.signing import (
    fingerprint,
    load_private,
    load_public,
    make_key,
    public_path,
    read_signature,
    sign_file,
    signature_path,
    signature_problem,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def test_a_key_is_for_its_owner_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "owner.key"
    found = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found == fingerprint(load_private(path).public_key()) == fingerprint(load_public(public_path(path)))
    before = path.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        make_key(path)
    assert path.read_bytes() == before


def test_a_key_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "owner.key"
    make_key(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        load_private(path)


def test_other_keys_are_refused(tmp_path):
    path = tmp_path / "rsa.key"
    rsa = generate_private_key(65537, 2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    path.write_bytes(rsa.private_bytes(*form, serialization.NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(InputError, match="another kind"):
        load_private(path)
    path.write_bytes(KEY.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(InputError, match="without a password"):
        load_private(path)
    for data in (b"", b"x" * 20000, path.read_bytes()):
        path.write_bytes(data)
        with pytest.raises(InputError):
            load_public(path)


@given(st.binary(max_size=200), st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_breaks_the_signature(data, place, change):
    signature = KEY.sign(data)
    public = KEY.public_key()
    assert signature_problem(data, signature, public) == ""
    changed = bytearray(data + b"x")
    changed[place % len(changed)] ^= change
    assert signature_problem(bytes(changed), signature, public)
    torn = bytearray(signature)
    torn[place % 64] ^= change
    assert signature_problem(data, bytes(torn), public)


def test_known_signature():
    """RFC 8032, section 7.1, test 2: we sign the raw bytes and nothing else."""
    key = Ed25519PublicKey.from_public_bytes(
        bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    )
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert signature_problem(b"\x72", signature, key) == ""


def test_a_file_is_signed_beside_it(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text("{}")
    assert sign_file(path, KEY) == signature_path(path) == tmp_path / "scores.sig"
    assert signature_problem(b"{}", read_signature(tmp_path / "scores.sig"), KEY.public_key()) == ""
    (tmp_path / "scores.sig").write_bytes(b"short")
    with pytest.raises(ArtifactError, match="64 bytes"):
        read_signature(tmp_path / "scores.sig")
