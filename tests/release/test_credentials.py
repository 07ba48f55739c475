"""C2PA content credentials: valid for any reader, of a known signer for one that trusts the owner's root."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from synthcohort.core.cohort import Cohort
from synthcohort.core.errors import ConfigError
from synthcohort.core.signing import load_private, make_key, public_path
from synthcohort.formats import png_export
from synthcohort.release import release, verify
from synthcohort.release.credentials import ROOT, check_credentials, credentials_of, issued_by

c2pa = pytest.importorskip("c2pa")


def read(data: bytes, root: bytes | None = None) -> dict:
    settings = {"trust": {"trust_anchors": root.decode()}, "verify": {"verify_trust": True}} if root else {}
    reader = c2pa.Reader("image/png", io.BytesIO(data), context=c2pa.Context.from_dict(settings))
    return json.loads(reader.json())


def test_each_png_says_who_signed_it_and_what_made_it(cohort: Cohort, scores, save, config, key, tmp_path) -> None:
    asked = replace(config, c2pa=True, formats=("png", "classes"))
    release(cohort.path, save(scores), tmp_path / "bundle", asked, key=key)
    bundle = tmp_path / "bundle"
    found = verify(bundle, public_path(key))
    assert found["ok"], found["problems"]
    root = (bundle / ROOT).read_bytes()
    owner = load_private(key).public_key()
    assert x509.load_pem_x509_certificate(root).public_key() == owner, "trust leads back to the owner's public key"
    files = sorted((bundle / "images").rglob("*.png"))
    assert len(files) == 2 * len(cohort)
    for path in files:
        said = read(path.read_bytes(), root)
        assert said["validation_state"] == "Trusted"
        [manifest] = said["manifests"].values()
        [action] = manifest["assertions"][0]["data"]["actions"]
        assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", png_export.SOURCE_TYPE)
        assert manifest["title"] == path.name
        assert png_export.marking_problems(path) == []
        assert np.array_equal(png_export.decode(path), cohort.image(cohort.image_ids.index(path.stem)))
        text = json.dumps(said)
        assert str(tmp_path) not in text


def test_another_root_is_not_trusted_and_a_changed_byte_is_found(key, tmp_path) -> None:
    made = issued_by(load_private(key))
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    data = made.sign(png_export.encode(pixels, "synthetic-000001"), "synthetic-000001.png")
    make_key(tmp_path / "other.key")
    other = issued_by(load_private(tmp_path / "other.key"))
    assert other.root is not None
    said = read(data, other.root)
    assert said["validation_state"] == "Valid"
    assert [item["code"] for item in said["validation_status"]] == ["signingCredential.untrusted"]
    changed = bytearray(data)
    changed[-60] ^= 1  # of the pixels
    assert read(bytes(changed), made.root)["validation_state"] == "Invalid"


def test_a_chain_has_to_be_for_the_owners_key(config, key, tmp_path) -> None:
    made = issued_by(load_private(key))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(made.chain)  # its first certificate is for another key
    asked = replace(config, c2pa=True, c2pa_chain=chain.as_posix())
    with pytest.raises(ConfigError, match="is not for the owner"):
        check_credentials(asked, load_private(key))
    own = x509.load_pem_x509_certificates(made.chain)[1]
    chain.write_bytes(own.public_bytes(Encoding.PEM))
    found = credentials_of(asked, load_private(key))
    assert found is not None
    assert found.root is None
    chain.write_text("none")
    with pytest.raises(ConfigError, match="cannot be read"):
        check_credentials(asked, load_private(key))


def test_what_is_missing_is_said_at_once(config, key, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError) as error:
        check_credentials(replace(config, c2pa=True, formats=("dicom",)), None)
    assert "needs the owner’s key" in str(error.value)
    assert "no PNG files" in str(error.value)
    with pytest.raises(ConfigError, match=r"release\.c2pa is false"):
        check_credentials(replace(config, c2pa_chain="chain.pem"), load_private(key))
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(ConfigError, match=r"pip install 'synthcohort\[c2pa\]'"):
        check_credentials(replace(config, c2pa=True), load_private(key))
    assert credentials_of(config, load_private(Path(key))) is None
