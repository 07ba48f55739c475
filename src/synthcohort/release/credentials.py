"""C2PA content credentials in PNG files, where asked for: who signed an image, and that a trained model made it.

Written by c2pa-python (extra `c2pa`), offline: no time-stamp authority, no look-up. Without a certificate from an
authority the owner's key issues one: `content_credentials.pem` in the bundle is its root. A reader that trusts this
root, and finds the owner's public key in it, knows the signer; any other shows a valid signature of somebody unknown.
c2pa adds random salts, so that two bundles of the same images differ in these bytes.
"""

import importlib
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from synthcohort.core.errors import ConfigError, Problem
from synthcohort.formats.png_export import SOURCE_TYPE
from synthcohort.release.config import ReleaseConfig

ROOT = "content_credentials.pem"  # in the bundle
YEARS = 20  # that a certificate made here holds; readers check it against the day they read
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}


@dataclass(frozen=True)
class Credentials:
    """Who signs: a private key, and the PEM of its certificate and those above it, the signer's first."""

    key: Ed25519PrivateKey
    chain: bytes
    root: bytes | None  # made here by the owner's key; None: the chain leads to an authority that readers know

    def sign(self, png: bytes, name: str) -> bytes:
        """The same PNG with a manifest: created by a trained model, signed. The pixels and other marks stay."""
        c2pa = _library()
        program = {"name": "synthcohort", "version": metadata.version("synthcohort")}
        created = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE, "softwareAgent": program}
        said = {
            "claim_generator_info": [program], "title": name, "format": "image/png",
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [created]}}],
        }  # fmt: skip
        signer = c2pa.Signer.from_callback(self.key.sign, c2pa.C2paSigningAlg.ED25519, self.chain.decode("ascii"), None)
        written = io.BytesIO()
        builder = c2pa.Builder.from_json(json.dumps(said), context=c2pa.Context.from_dict(_SETTINGS))
        builder.sign(signer, "image/png", io.BytesIO(png), written)
        return written.getvalue()


def check_credentials(config: ReleaseConfig, key: Ed25519PrivateKey | None) -> None:
    """Raises ConfigError when content credentials are asked for and can't be written, with what to do."""
    if not config.c2pa:
        if config.c2pa_chain:
            raise ConfigError(Problem("setting release.c2pa_chain", "given, but release.c2pa is false", "both"))
        return
    problems = []
    try:
        _library()
    except (ImportError, OSError, RuntimeError) as error:
        problems.append(
            Problem(
                "setting release.c2pa", f"needs c2pa-python, which cannot be loaded ({type(error).__name__})",
                remedy="pip install 'synthcohort[c2pa]', or leave release.c2pa out",
            )
        )  # fmt: skip
    if key is None:
        problems.append(Problem("setting release.c2pa", "needs the owner’s key", remedy="give --key"))
    if not {"png", "classes"} & set(config.formats):
        problems.append(Problem("setting release.c2pa", "no PNG files are asked for", "formats png or classes"))
    if problems:
        raise ConfigError(*problems)
    assert key is not None
    if config.c2pa_chain:
        _read_chain(Path(config.c2pa_chain), key)


def credentials_of(config: ReleaseConfig, key: Ed25519PrivateKey | None) -> Credentials | None:
    """The signer of the PNG files; None where none are asked for. Raises as `check_credentials` does."""
    check_credentials(config, key)
    if not config.c2pa or key is None:
        return None
    if config.c2pa_chain:
        return Credentials(key, _read_chain(Path(config.c2pa_chain), key), None)
    return issued_by(key)


def issued_by(owner: Ed25519PrivateKey) -> Credentials:
    """A key for one bundle, with a certificate that the owner's key issued: a key must not certify itself.

    Source: C2PA Technical Specification 2.1, 14.5.1 (what a signer's certificate holds).
    """
    signer = Ed25519PrivateKey.generate()
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    above, own = _name("Owner of synthetic images"), _name("Signer of synthetic images")

    def begun(subject: x509.Name, key: Ed25519PrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(above)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today)
            .not_valid_after(today + timedelta(days=365 * YEARS))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )

    root = (
        begun(above, owner)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(owner, None)
    )
    leaf = (
        begun(own, signer)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(owner.public_key()), critical=False)
        .sign(owner, None)
    )
    pem = root.public_bytes(Encoding.PEM)
    return Credentials(signer, leaf.public_bytes(Encoding.PEM) + pem, pem)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates, key_cert_sign=signs_certificates, crl_sign=signs_certificates,
        content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(common: str) -> x509.Name:
    """Names nobody: who the owner is, the owner's key says."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SynthCohort release"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _read_chain(path: Path, key: Ed25519PrivateKey) -> bytes:
    """A file of certificates, the one for the owner's key first. Raises ConfigError for anything else."""
    thing = f"setting release.c2pa_chain: {path}"
    try:
        data = path.read_bytes()
        first = x509.load_pem_x509_certificates(data)[0]
    except (OSError, ValueError) as error:
        raise ConfigError(Problem(thing, f"cannot be read ({type(error).__name__})", "certificates in PEM")) from None
    if first.public_key() != key.public_key():
        raise ConfigError(Problem(thing, "its first certificate is not for the owner’s key (--key)"))
    return data


def _library() -> Any:
    return importlib.import_module("c2pa")
