"""Verify: what a receiver checks. Needs the bundle, the owner's public key, and nothing else."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from synthcohort.core.errors import ArtifactError, InputError, Problem, SynthCohortError
from synthcohort.core.files import digest_file, read_artifact, read_json
from synthcohort.core.policy import load_policy
from synthcohort.core.progress import progress
from synthcohort.core.signing import fingerprint, load_public, read_signature, signature_problem
from synthcohort.formats.marking import is_marked_kind, marking_problems
from synthcohort.release import decision as decisions
from synthcohort.release.manifest import (
    MANIFEST,
    SEALS,
    SIDECAR,
    SIGNATURE,
    read_checksums,
    read_manifest,
    sidecar_text,
    walk,
)


def verify(bundle: Path, public_key: Path | None = None) -> dict[str, Any]:
    """Checks a bundle; returns {ok, problems, images, signature, overrides}.

    Names every added, changed and missing file and each image without the synthetic marking; checks the signatures
    against the owner's key; decides again from the scores and the policy in the bundle. Raises InputError when there is
    no such folder or the key is none.
    """
    bundle = Path(bundle)
    if not bundle.is_dir():
        raise InputError(Problem(f"bundle {bundle}", "is not a folder", "a folder made by synthcohort release"))
    key = load_public(Path(public_key)) if public_key else None
    absent = [name for name in (MANIFEST, SIDECAR) if (bundle / name).is_symlink() or not (bundle / name).is_file()]
    if absent:
        return _result([f"{name} is missing or no plain file" for name in absent])
    problems = _sidecar_problems(bundle)
    seal, words = _signature(bundle, MANIFEST, SIGNATURE, key)
    problems.extend(seal)
    try:
        manifest = read_manifest(bundle)
    except ArtifactError as error:
        return _result([*problems, *(_brief(problem, bundle) for problem in error.problems)], words)
    except (ValueError, RecursionError) as error:  # JSON that no writer of ours makes: numbers or nesting without end
        return _result([*problems, f"{MANIFEST} cannot be read ({type(error).__name__})"], words)
    if manifest.get("signed_by") and not (bundle / SIGNATURE).is_file():
        problems.append(f"{SIGNATURE} is missing: the manifest says that the bundle is signed")
    images = sum(int(entry.get("files") or 0) for entry in manifest["folders"])
    with progress(len(manifest["files"]) + images, "verify", "files") as advance:
        for found in _files_problems(bundle, manifest):
            problems.extend(found)
            advance()
    if not problems:
        problems.extend(_decision_problems(bundle, manifest, key))
    return _result(problems, words, manifest, bundle)


def _result(
    problems: list[str], signature: str = "none", manifest: Mapping[str, Any] | None = None, bundle: Path | None = None
) -> dict[str, Any]:
    overrides: Any = {}
    if bundle is not None and not problems:
        overrides = read_json(bundle / "decision.json").get("overrides") or {}
    images = manifest.get("images") if manifest else None
    return {
        "ok": not problems, "problems": problems, "images": images, "signature": signature, "overrides": overrides,
    }  # fmt: skip


def _brief(problem: Problem | str, bundle: Path) -> str:
    return str(problem).replace(f"{bundle}/", "")


def _sidecar_problems(bundle: Path) -> list[str]:
    manifest, sidecar = bundle / MANIFEST, bundle / SIDECAR
    seal = bundle / SIGNATURE
    signature = seal.read_bytes() if seal.is_file() and seal.stat().st_size < 4096 else None
    found, data = sidecar.read_bytes(), manifest.read_bytes()
    if found == sidecar_text(data, signature).encode():
        return []
    if found.startswith(sidecar_text(data).encode()):
        return [f"{SIGNATURE} is not the one in {SIDECAR}: it was added, changed or taken away"]
    return [f"{MANIFEST} was changed: its digest is not the one in {SIDECAR}"]


def _signature(bundle: Path, name: str, seal: str, key: Ed25519PublicKey | None) -> tuple[list[str], str]:
    """Problems of a signature, and in a word what is known of it."""
    path = bundle / seal
    if not path.is_file() or path.is_symlink():
        missing = [f"{seal} is missing: {name} is not signed"] if key is not None else []
        return missing, "none"
    try:
        signature = read_signature(path)
    except SynthCohortError as error:
        return [_brief(problem, bundle) for problem in error.problems], "invalid"
    if key is None:
        return [], "not checked: no --public-key"
    problem = signature_problem((bundle / name).read_bytes(), signature, key)
    return ([f"{seal}: {problem}"], "invalid") if problem else ([], f"valid: {fingerprint(key)}")


def _scores_seal(bundle: Path, made: Mapping[str, Any], key: Ed25519PublicKey | None) -> list[str]:
    """The evaluation's own signature, where the bundle holds one or its decision rests on one."""
    there = (bundle / "scores.sig").is_file()
    rests = any(rule.get("name") == "evidence_signed" and rule.get("figure") for rule in made["rules"])
    if rests and not there:
        return ["scores.sig is missing: the decision rests on it"]
    return _signature(bundle, "scores.json", "scores.sig", key)[0] if there and key is not None else []


def _files_problems(bundle: Path, manifest: Mapping[str, Any]) -> Iterator[list[str]]:
    """The problems of one file after the other. Of images no more than one folder's list is in memory."""
    listed = {entry["path"]: entry for entry in manifest["files"]}
    folders = {entry["path"]: entry for entry in manifest["folders"]}
    seen: set[str] = set()
    for here, entries in walk(bundle):
        if here in folders:
            seen.add(here)
            yield from _folder_problems(bundle, here, folders[here], entries, listed)
            continue
        for name, plain in entries:
            if name in listed:
                seen.add(name)
            if not plain:
                yield [f"{name} is neither a plain file nor a folder with files in it"]
            elif name in listed:
                yield [f"{name} {found}" for found in _file_problems(bundle / name, listed[name])]
            elif name not in SEALS:
                yield [f"{name} was added: the manifest does not list it"]
    yield from ([f"{name} is missing"] for name in sorted(set(listed) - seen))
    for name in sorted(set(folders) - seen):
        yield from _folder_problems(bundle, name, folders[name], [], listed)


def _folder_problems(
    bundle: Path,
    here: str,
    entry: Mapping[str, Any],
    entries: list[tuple[str, bool]],
    listed: Mapping[str, Mapping[str, Any]],
) -> Iterator[list[str]]:
    listing = bundle / str(entry["list"])
    if not listing.is_file() or _file_problems(listing, listed[str(entry["list"])]):
        yield [f"{here}/ cannot be checked: {entry['list']} is missing or was changed"]
        return
    try:
        digests = read_checksums(listing, here)
    except (ArtifactError, ValueError):
        yield [f"{here}/ cannot be checked: {entry['list']} is not a list of its files"]
        return
    if len(digests) != entry.get("files"):
        yield [f"{here}/: {entry['list']} lists {len(digests)} files, the manifest says {entry.get('files')}"]
    present = dict(entries)
    for name, plain in entries:
        if not plain:
            yield [f"{name} is neither a plain file nor a folder with files in it"]
        elif name not in digests:
            yield [f"{name} was added: {entry['list']} does not list it"]
    for name, digest in sorted(digests.items()):
        if name not in present:
            yield [f"{name} is missing"]
        elif present[name]:
            path = bundle / name
            if digest_file(path) != f"sha256:{digest}":
                yield [f"{name} was changed: its digest is not that of {entry['list']}"]
            else:
                yield [f"{name} {found}" for found in marking_problems(path)]


def _file_problems(path: Path, entry: Mapping[str, Any]) -> list[str]:
    size = path.stat().st_size
    if size != entry["size"]:
        return [f"was changed: it has {size} bytes, the manifest says {entry['size']}"]
    if digest_file(path) != f"sha256:{entry['sha256']}":
        return ["was changed: its digest is not the manifest’s"]
    return marking_problems(path) if is_marked_kind(path) else []


def _decision_problems(bundle: Path, manifest: Mapping[str, Any], key: Ed25519PublicKey | None) -> list[str]:
    """The decision must be a release, and must follow again from the included scores and policy."""
    try:
        made = read_artifact(bundle / "decision.json", decisions.FORMAT, decisions.VERSION)
        scores = read_artifact(bundle / "scores.json", decisions.SCORES_FORMAT, decisions.SCORES_VERSION)
        policy = load_policy(bundle / "policy.toml")
    except SynthCohortError as error:
        return [_brief(problem, bundle) for problem in error.problems]
    problems = []
    if made.get("decision") != "release" or manifest.get("decision") != "release":
        problems.append("decision.json: the decision is not to release")
    scores_digest = decisions.digest_of_scores(read_json(bundle / "scores.json"))
    if made.get("scores_digest") != scores_digest or manifest.get("scores_digest") != scores_digest:
        problems.append("decision.json: the decision was made on other scores than scores.json")
    if not decisions.about(scores) == made.get("synthetic_digest") == manifest.get("synthetic_digest"):
        problems.append("scores.json: the scores are about another cohort than the decision")
    try:
        again = decisions.problems_again(made, scores, policy)
        problems += _scores_seal(bundle, made, key)
    except (AttributeError, TypeError) as error:  # a decision that no writer of ours made
        again = [f"cannot be repeated ({type(error).__name__})"]
    return [*problems, *(f"decision.json: {found}" for found in again)]
