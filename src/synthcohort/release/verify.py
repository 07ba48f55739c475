"""Verify: what a receiver checks. Needs the bundle and nothing else."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthcohort.core.errors import ArtifactError, InputError, Problem, SynthCohortError
from synthcohort.core.files import digest_file, read_artifact, read_json
from synthcohort.core.policy import load_policy
from synthcohort.core.progress import progress
from synthcohort.formats import dicom_export, png_export
from synthcohort.release import decision as decisions
from synthcohort.release.manifest import MANIFEST, SIDECAR, read_manifest, sidecar_text, walk

MARKED = {".dcm": dicom_export.marking_problems, ".png": png_export.marking_problems}


def verify(bundle: Path) -> dict[str, Any]:
    """Checks a bundle; returns {ok, problems}. Raises InputError when there is no such folder.

    Finds every added, changed and missing file, images without the synthetic marking, and a decision that does not
    follow from the scores and the policy in the bundle.
    """
    bundle = Path(bundle)
    if not bundle.is_dir():
        raise InputError(Problem(f"bundle {bundle}", "is not a folder", "a folder made by synthcohort release"))
    absent = [name for name in (MANIFEST, SIDECAR) if (bundle / name).is_symlink() or not (bundle / name).is_file()]
    if absent:
        return _result([f"{name} is missing or no plain file" for name in absent])
    problems = _sidecar_problems(bundle)
    try:
        manifest = read_manifest(bundle)
    except ArtifactError as error:
        return _result([*problems, *(_brief(problem, bundle) for problem in error.problems)])
    except (ValueError, RecursionError) as error:  # JSON that no writer of ours makes: numbers or nesting without end
        return _result([*problems, f"{MANIFEST} cannot be read ({type(error).__name__})"])
    listed = {entry["path"]: entry for entry in manifest["files"]}
    present = {}
    for name, plain in walk(bundle):
        present[name] = plain
        if not plain:
            problems.append(f"{name} is neither a plain file nor a folder with files in it")
        elif name not in listed and name not in (MANIFEST, SIDECAR):
            problems.append(f"{name} was added: the manifest does not list it")
    with progress(len(listed), "verify", "files") as advance:
        for name, entry in sorted(listed.items()):
            if name not in present:
                problems.append(f"{name} is missing")
            elif present[name]:
                problems.extend(f"{name} {found}" for found in _file_problems(bundle / name, entry))
            advance()
    if not problems:
        problems.extend(_decision_problems(bundle, manifest))
    return _result(problems)


def _result(problems: list[str]) -> dict[str, Any]:
    return {"ok": not problems, "problems": problems}


def _brief(problem: Problem | str, bundle: Path) -> str:
    return str(problem).replace(f"{bundle}/", "")


def _sidecar_problems(bundle: Path) -> list[str]:
    manifest, sidecar = bundle / MANIFEST, bundle / SIDECAR
    if sidecar.read_bytes() != sidecar_text(manifest.read_bytes()).encode():
        return [f"{MANIFEST} was changed: its digest is not the one in {SIDECAR}"]
    return []


def _file_problems(path: Path, entry: Mapping[str, Any]) -> list[str]:
    size = path.stat().st_size
    if size != entry["size"]:
        return [f"was changed: it has {size} bytes, the manifest says {entry['size']}"]
    if digest_file(path) != f"sha256:{entry['sha256']}":
        return ["was changed: its digest is not the manifest’s"]
    check = MARKED.get(path.suffix.lower())
    return check(path) if check else []


def _decision_problems(bundle: Path, manifest: Mapping[str, Any]) -> list[str]:
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
    for rule in decisions.evidence_again(scores, policy):
        if not rule.passed:
            problems.append(f"decision.json: does not follow from scores.json and policy.toml: {rule.reason}")
    return problems
