"""The bundle: made only after the decision to release, streamed, whole or absent, the same bytes each time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from synthcohort.core.code import code_identity
from synthcohort.core.cohort import Cohort
from synthcohort.core.config import to_mapping
from synthcohort.core.errors import ArtifactError, Problem, Refused
from synthcohort.core.files import artifact_text, atomic_path, check_writable, digest_json
from synthcohort.core.policy import SHIPPED, Policy, load_policy
from synthcohort.core.signing import fingerprint, load_private
from synthcohort.pages.grids import class_sheets
from synthcohort.pages.pdf import check_pdf
from synthcohort.pages.report import render_evidence
from synthcohort.release import decision as decisions
from synthcohort.release import manifest, provenance, site
from synthcohort.release.config import ReleaseConfig
from synthcohort.release.credentials import ROOT, check_credentials, credentials_of
from synthcohort.release.decision import Decision, decide
from synthcohort.release.documents import readme, write_documents
from synthcohort.release.evidence import Evidence, read_evidence
from synthcohort.release.facts import Facts
from synthcohort.release.images import METADATA, write_images
from synthcohort.release.questions import read_answers
from synthcohort.release.request import Request
from synthcohort.release.verify import verify


@dataclass(frozen=True)
class Judged:
    """A decision with what it rests on."""

    cohort: Cohort
    evidence: Evidence
    policy: Policy
    decision: Decision
    key: Ed25519PrivateKey | None


def assess(synthetic: Path, evidence: Path, config: ReleaseConfig, request: Request | None = None) -> Judged:
    """The decision alone, as `release` makes it; writes nothing."""
    request = request or Request()
    rules = load_policy(request.policy)
    key = load_private(Path(request.key)) if request.key else None
    cohort = Cohort.open(synthetic)
    found = read_evidence(Path(evidence), key.public_key() if key else None)
    answers = read_answers(Path(request.answers)) if request.answers else {}
    decision = decide(
        found.scores, cohort, rules, config, signature=found.signature, overrides=request.overrides, answers=answers
    )
    return Judged(cohort, found, rules, decision, key)


def release(
    synthetic: Path,
    evidence: Path,
    out: Path,
    config: ReleaseConfig,
    policy: str | Path | None = None,
    *,
    key: Path | None = None,
    overrides: Mapping[str, str] | None = None,
    answers: Path | None = None,
) -> dict[str, Any]:
    """Decides by policy; makes the bundle when every rule holds. Returns {bundle, decision, reasons, signed_by}.

    Raises Refused with every reason otherwise, and leaves nothing at `out`. A bundle made before from the same cohort,
    evidence, policy and statements is kept as it is. Raises ArtifactError when `out` holds anything else.
    """
    out = Path(out)
    check_writable(out)
    if config.pdf:
        check_pdf()
    request = Request(policy, key, overrides, answers)
    judged = assess(synthetic, evidence, config, request)
    check_credentials(config, judged.key)
    if judged.decision.decision != "release":
        raise Refused(*judged.decision.reasons, *_too_near(judged.evidence), *_left_over(out))
    signer = fingerprint(judged.key.public_key()) if judged.key else None
    made_from = _fingerprint(judged, config, signer)
    if out.exists():
        _check_existing(out, made_from)
    else:
        with atomic_path(out) as partial:
            partial.mkdir()
            _write(partial, judged, config, request, made_from, signer)
    return {"bundle": out.as_posix(), "decision": "release", "reasons": [], "signed_by": signer}


def _too_near(found: Evidence) -> list[str]:
    """For the owner: which images to draw anew, where evaluation named them."""
    if not found.near:
        return []
    shown = ", ".join(found.near[:10]) + (f" and {len(found.near) - 10} more" if len(found.near) > 10 else "")
    return [
        f"Too near to a training image: {shown}. Draw others: synthcohort generate RUN --of COHORT --replace "
        "EVIDENCE/owner/near.json --out OTHER, and evaluate again."
    ]


def _left_over(out: Path) -> list[str]:
    if not out.exists():
        return []
    return [f"{out} holds something made before this decision. It is not covered by it: remove it."]


def _software() -> str:
    return f"synthcohort {metadata.version('synthcohort')}"


def _fingerprint(judged: Judged, config: ReleaseConfig, signer: str | None) -> str:
    """What a bundle depends on; the same fingerprint means the same bytes."""
    return digest_json(
        {
            "decision": judged.decision.to_mapping(), "config": to_mapping(config), "code": code_identity(),
            "signer": signer, "provenance": judged.cohort.info.get("provenance"), "name": judged.cohort.name,
        }
    )  # fmt: skip


def _check_existing(out: Path, made_from: str) -> None:
    """An existing bundle is kept when it is this one and whole."""
    problem = "holds something else"
    if (out / manifest.MANIFEST).is_file():
        found = verify(out)
        if found["ok"] and manifest.read_manifest(out).get("made_from") == made_from:
            return
        problem = "holds another bundle" if found["ok"] else "holds a bundle that was changed"
    raise ArtifactError(Problem(f"output {out}", problem, remedy="remove it or choose another --out"))


def _write(
    folder: Path, judged: Judged, config: ReleaseConfig, request: Request, made_from: str, signer: str | None
) -> None:
    """Images first, documents next, the manifest and its signature last."""
    writer = manifest.Writer(folder)
    cohort, decision, scores = judged.cohort, judged.decision, judged.evidence.scores
    pages = site.Site(writer, cohort, config, judged.policy.name, len(decision.overrides))
    credentials = credentials_of(config, judged.key)
    count = _through(write_images(writer, cohort, config, credentials), pages)
    if credentials is not None and credentials.root is not None:
        writer.add(ROOT, credentials.root)
    pages.finish()
    code = code_identity()
    chain = provenance.provenance_of(scores, cohort, decision, code)
    facts = Facts(scores, cohort, decision, judged.policy, chain, config)
    with open(folder / METADATA, encoding="utf-8", newline="") as file:
        header = file.readline().strip().split(",")
    metadata_sha256 = next(str(entry["sha256"]) for entry in writer.files if entry["path"] == METADATA)
    writer.add("scores.json", judged.evidence.data)
    if judged.evidence.seal is not None:
        writer.add("scores.sig", judged.evidence.seal)
    writer.add("decision.json", artifact_text(decisions.FORMAT, decisions.VERSION, decision.to_mapping()))
    writer.add("provenance.json", artifact_text(provenance.FORMAT, provenance.VERSION, chain))
    writer.add("policy.toml", _policy_text(request.policy))
    writer.add("README.txt", readme(facts, signer is not None))
    writer.add("load.py", _loader())
    write_documents(writer, facts, header, metadata_sha256, {"images": count, "marked": count}, str(code["version"]))
    sheets = class_sheets(cohort, per_class=config.images_per_class)
    writer.add("report.html", render_evidence(scores, sheets, decision.to_mapping()))
    content = {
        "name": cohort.name,
        "images": len(cohort),
        "decision": decision.decision,
        "overrides": decision.overrides,
        "scores_digest": decision.scores_digest,
        "synthetic_digest": decision.synthetic_digest,
        "policy_digest": decision.policy["digest"],
        "made_from": made_from,
        "software": _software(),
        "signed_by": signer,
        **writer.finish(),
    }
    text = artifact_text(manifest.FORMAT, manifest.VERSION, content).encode()
    (folder / manifest.MANIFEST).write_bytes(text)
    seal = judged.key.sign(text) if judged.key is not None else None
    if seal is not None:
        (folder / manifest.SIGNATURE).write_bytes(seal)
    (folder / manifest.SIDECAR).write_text(manifest.sidecar_text(text, seal), encoding="utf-8")


def _through(written: Iterable[tuple[Any, Mapping[str, Any]]], pages: site.Site) -> int:
    count = 0
    for image, row in written:
        pages.add(image, row)
        count += 1
    return count


def _policy_text(policy: str | Path | None) -> str:
    name = "open" if policy is None else str(policy)
    if name in SHIPPED:
        return (resources.files("synthcohort") / "policies" / f"{name}.toml").read_text(encoding="utf-8")
    return Path(name).read_text(encoding="utf-8")


def _loader() -> str:
    return (resources.files("synthcohort.pages") / "templates" / "load.py.txt").read_text(encoding="utf-8")
