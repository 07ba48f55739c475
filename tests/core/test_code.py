"""Which code made a thing: by version and digest everywhere, by commit in a checkout."""

import hashlib
import subprocess
from pathlib import Path

import synthcohort
from synthcohort.core.code import _checkout, code_identity


def git(folder: Path, *arguments: str) -> None:
    known = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    subprocess.run(["git", *known, "-C", str(folder), *arguments], check=True, capture_output=True)


def test_the_digest_is_over_every_module() -> None:
    package = Path(synthcohort.__file__).parent
    state = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix().encode()
        state.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    code_identity.cache_clear()
    found = code_identity()
    assert found["source_digest"] == f"sha256:{state.hexdigest()}"
    assert found["version"]
    assert found["libraries"]["torch"]


def test_only_commits_that_touch_the_package_count(tmp_path: Path) -> None:
    package = tmp_path / "src" / "made"
    package.mkdir(parents=True)
    assert _checkout(package) == (None, None), "no checkout"
    git(tmp_path, "init", "-q")
    (package / "a.py").write_text("one = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "One")
    first = _checkout(package)
    assert first[0]
    assert first[1] is False
    (tmp_path / "notes.txt").write_text("two\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Notes")
    assert _checkout(package) == first
    (package / "a.py").write_text("one = 2\n")
    assert _checkout(package) == (first[0], True)
