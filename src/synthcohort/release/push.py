"""A bundle's DICOM files to a PACS: by C-STORE (pacs://TITLE@HOST:PORT) or by STOW-RS (https://HOST/dicom-web).

Only a bundle that verifies is sent. What was sent and what was refused is counted; a second push sends all again, which
a PACS takes as the same instances: UIDs come from the content. Extra `pacs`.
"""

import hashlib
import ipaddress
import re
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom

from synthcohort.core.errors import InputError, Problem, Refused
from synthcohort.core.progress import progress
from synthcohort.release.verify import verify

BATCH_BYTES, BATCH_FILES = 16 * 2**20, 100  # of one STOW request
TITLE = re.compile(r"[A-Za-z0-9_ .-]{1,16}")
FORMS = "pacs://AETITLE@HOST:PORT, or https://HOST[:PORT]/PATH of a DICOMweb service"


@dataclass(frozen=True)
class PushConfig:
    """How to send. Passwords and tokens come from files alone."""

    title: str = "SYNTHCOHORT"  # our own AE title
    timeout: float = 30.0  # seconds without an answer
    netrc: Path | None = None  # file with name and password for the server
    token_file: Path | None = None  # file with a bearer token
    ca_file: Path | None = None  # PEM of the authority that signed the server's certificate
    insecure: bool = False  # allow http:// to another machine
    public_key: Path | None = None  # the owner's, for the check before sending


@dataclass(frozen=True)
class Node:
    """A DICOM node."""

    title: str
    host: str
    port: int


def push(bundle: Path, url: str, config: PushConfig | None = None) -> dict[str, Any]:
    """Sends every DICOM file of a bundle; returns {sent, failed, statuses}.

    Raises Refused when the bundle does not verify, InputError when the address, the credentials or the connection are
    wrong.
    """
    config = config or PushConfig()
    target = parse(url, config.insecure)
    found = verify(Path(bundle), config.public_key)
    if not found["ok"]:
        raise Refused(*found["problems"])
    paths = sorted((Path(bundle) / "images" / "dicom").rglob("*.dcm"))
    if not paths:
        raise InputError(
            Problem(f"bundle {bundle}", "holds no DICOM files", 'release with release.formats = ["dicom"]')
        )
    statuses = _store(paths, target, config) if isinstance(target, Node) else _stow(paths, target, config)
    sent = sum(count for status, count in statuses.items() if status == "stored")
    return {"sent": sent, "failed": len(paths) - sent, "statuses": dict(sorted(statuses.items()))}


def parse(url: str, insecure: bool = False) -> Node | str:
    """A node or the address of a STOW-RS service. Raises InputError, never with a secret in it."""
    try:
        split = urlsplit(url.strip())
        host, port = split.hostname, split.port
    except ValueError:
        raise InputError(Problem("address", "is malformed", FORMS)) from None
    if split.scheme == "pacs":
        title = split.username or ""
        if not host or not port or not TITLE.fullmatch(title) or split.password or split.path.strip("/"):
            raise InputError(Problem("address", "is malformed", FORMS))
        return Node(title, host, port)
    if split.scheme not in ("http", "https") or not host or split.username or split.password or split.query:
        raise InputError(Problem("address", "is malformed, or holds a password", FORMS))
    if split.scheme == "http" and not insecure and not _loopback(host):
        raise InputError(
            Problem("address", "is http:// to another machine", "https://", "or --insecure: all can be read on the way")
        )
    return url.strip().rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _store(paths: list[Path], node: Node, config: PushConfig) -> Counter[str]:
    """C-STORE, one association for all: presentation contexts for every class and transfer syntax that occurs."""
    from pynetdicom import AE
    from pynetdicom.presentation import build_context

    kinds: dict[str, set[str]] = {}
    for path in paths:
        meta = pydicom.filereader.read_file_meta_info(path)
        kinds.setdefault(str(meta.MediaStorageSOPClassUID), set()).add(str(meta.TransferSyntaxUID))
    _check_port(node, config.timeout)
    entity = AE(ae_title=config.title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = config.timeout
    entity.connection_timeout = config.timeout
    contexts = [build_context(kind, sorted(syntaxes)) for kind, syntaxes in sorted(kinds.items())]
    association = entity.associate(node.host, node.port, contexts=contexts, ae_title=node.title)
    if not association.is_established:
        why = "refused the association" if association.is_rejected else "took none of the image classes, or broke off"
        raise InputError(
            Problem(f"PACS {node.title}", why, remedy="check the title, and that it knows ours and stores these images")
        )
    statuses: Counter[str] = Counter()
    with progress(len(paths), "push", "files") as advance:
        for path in paths:
            statuses[_send(association, path)] += 1
            advance()
            if not association.is_established:
                break
    if association.is_established:
        association.release()
    return statuses


def _check_port(node: Node, timeout: float) -> None:
    """Raises InputError where nobody listens; pynetdicom would log an error and leave its socket open."""
    try:
        socket.create_connection((node.host, node.port), timeout=timeout).close()
    except OSError:
        where = f"{node.host} port {node.port}"
        raise InputError(
            Problem(f"PACS {node.title}", f"cannot be reached at {where}", remedy="check host and port")
        ) from None


def _send(association: Any, path: Path) -> str:
    """`stored`, or why not."""
    try:
        status = association.send_c_store(pydicom.dcmread(path))
    except ValueError:  # no context for this class was accepted
        return "class not accepted"
    except RuntimeError:
        return "the connection broke"
    if not status or "Status" not in status:
        return "no answer"
    # Warnings (coercion of elements and the like) leave the object stored. Source: DICOM PS3.4 B.2.3.
    return "stored" if status.Status == 0 or status.Status >> 12 == 0xB else f"status 0x{status.Status:04X}"


def _stow(paths: list[Path], url: str, config: PushConfig) -> Counter[str]:
    """STOW-RS in batches. Source: DICOM PS3.18 10.5."""
    import urllib3

    headers = {"Accept": "application/dicom+json", **_credentials(url, config)}
    pool = urllib3.PoolManager(
        ca_certs=str(config.ca_file) if config.ca_file else None, timeout=config.timeout, retries=False
    )
    statuses: Counter[str] = Counter()
    with progress(len(paths), "push", "files") as advance:
        for batch in _batches(paths):
            parts = [path.read_bytes() for path in batch]
            mark = hashlib.sha256(b"".join(parts)).hexdigest()[:40]  # occurs in no file: it depends on all of them
            begin = f"--{mark}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            body = b"".join(begin + part + b"\r\n" for part in parts) + f"--{mark}--\r\n".encode()
            kind = f'multipart/related; type="application/dicom"; boundary={mark}'
            try:
                answer = pool.request("POST", f"{url}/studies", body=body, headers={**headers, "Content-Type": kind},
                                      redirect=False)  # fmt: skip
            except urllib3.exceptions.HTTPError as error:
                raise InputError(Problem("DICOMweb server", f"cannot be reached ({type(error).__name__})")) from None
            _count(statuses, answer, len(batch))
            advance(len(batch))
    return statuses


def _count(statuses: Counter[str], answer: Any, sent: int) -> None:
    if answer.status in (401, 403):
        raise InputError(
            Problem("DICOMweb server", f"asks for credentials ({answer.status})", remedy="give --netrc or --token-file")
        )
    if answer.status not in (200, 202, 409):
        statuses[f"status {answer.status}"] += sent
        return
    try:
        failed = len((answer.json().get("00081198") or {}).get("Value") or [])
    except (ValueError, AttributeError):
        failed = sent if answer.status != 200 else 0
    failed = sent if answer.status == 409 and not failed else min(failed, sent)
    statuses["stored"] += sent - failed
    if failed:
        statuses["refused"] += failed


def _batches(paths: list[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    size = 0
    for path in paths:
        if batch and (size + path.stat().st_size > BATCH_BYTES or len(batch) == BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += path.stat().st_size
    if batch:
        yield batch


def _credentials(url: str, config: PushConfig) -> dict[str, str]:
    """The Authorization header, from files that nobody else can read."""
    if config.token_file:
        return {"Authorization": f"Bearer {_own(config.token_file).strip()}"}
    if not config.netrc:
        return {}
    import netrc

    import urllib3

    _own(config.netrc)
    try:
        found = netrc.netrc(str(config.netrc)).authenticators(urlsplit(url).hostname or "")
    except netrc.NetrcParseError:
        raise InputError(Problem("--netrc", "cannot be read as a netrc file")) from None
    if found is None:
        raise InputError(Problem("--netrc", "names no such machine"))
    return dict(urllib3.make_headers(basic_auth=f"{found[0]}:{found[2]}"))


def _own(path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise InputError(Problem(f"secret {path}", "can be read by others", "mode 0600", f"chmod 600 {path}"))
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(Problem(f"secret {path}", f"cannot be read ({type(error).__name__})")) from None
