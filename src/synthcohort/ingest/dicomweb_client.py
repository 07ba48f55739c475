"""One DICOMweb server: answers to queries as rows, objects as files; patient with errors that pass, plain about others.

No message holds an address with its query, a header or a body: all of these may name a patient or a secret.
"""

import email.utils
import http.client
import ipaddress
import json
import netrc
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as AnswerTimeout

from synthcohort.core.errors import InputError, Problem
from synthcohort.ingest.dicomweb_config import DicomwebConfig
from synthcohort.ingest.multipart import CutOff, Malformed, content_type, parts

T = TypeVar("T")
Pieces = Iterator[bytes]

PASSING = {408, 425, 429, 500, 502, 503, 504}  # status codes worth another try
REDIRECTS = {301, 302, 303, 307, 308}
MAX_REDIRECTS = 5
MAX_ANSWER = 64 * 2**20  # bytes of one page of a query
MAX_PAUSE = 30.0  # seconds between two tries
LEAST_RATE = 1000  # bytes a second, over an answer as a whole; slower ones are dropped and asked for again
PIECE = 256 * 1024
JSON = "application/dicom+json"
OBJECTS = 'multipart/related; type="application/dicom"'


class Again(Exception):
    """An error that may pass; the message is fit for a list. `seconds`: how long the server wants to be left alone."""

    def __init__(self, reason: str, seconds: float = 0.0):
        super().__init__(reason)
        self.seconds = seconds


class NotFetched(Exception):
    """One thing that this server doesn't give; the message is fit for a list. `status`: 0 when there was no answer."""

    def __init__(self, reason: str, status: int = 0):
        super().__init__(reason)
        self.status = status


class Unreachable(NotFetched):
    """An error that did not pass, however often it was tried."""


class Stopped(Exception):
    """Somebody asked to stop."""


class _NoSuchEncoding(Exception):
    """The server doesn't know the wish for the stored encoding."""


def checked_url(url: str, insecure: bool) -> str:
    """The address of a DICOMweb service without a slash at its end. Raises InputError, never with a secret in it."""
    allowed = "https://HOST[:PORT]/PATH, as in https://pacs.example/dicom-web"
    try:
        split = urlsplit(url.strip())
        host, port = split.hostname, split.port
    except ValueError:
        raise InputError(Problem("dicomweb address", "is malformed", allowed)) from None
    if split.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f]", url.strip()):
        raise InputError(Problem("dicomweb address", "is malformed", allowed))
    if split.username is not None or split.password is not None:
        remedy = "put name and password into a file and name it with ingest.dicomweb.netrc"
        raise InputError(Problem("dicomweb address", "holds a name or password", allowed, remedy))
    if split.query or split.fragment:
        remedy = "choose images with the settings of ingest.dicomweb"
        raise InputError(Problem("dicomweb address", "holds a query or fragment", allowed, remedy))
    if split.scheme == "http" and not insecure and not is_loopback(host):
        remedy = "use https, or allow it with ingest.dicomweb.insecure=true: everything on the way can then be read"
        raise InputError(Problem("dicomweb address", "http:// to another machine", "https://", remedy))
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{shown}{f':{port}' if port else ''}{split.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class Client:
    """Talks to one server; for several threads. `close` it, or use it in `with`."""

    def __init__(self, url: str, config: DicomwebConfig, stop: threading.Event | None = None):
        self.url = checked_url(url, config.insecure)
        self._config = config
        self._stop = stop or threading.Event()
        self._headers = {
            "User-Agent": "synthcohort", "Accept-Encoding": "identity", **_credentials(self.url, config)
        }  # fmt: skip
        self._as_stored = True  # ask for the stored encoding; some servers know no such wish
        self._pool = urllib3.PoolManager(
            num_pools=4, maxsize=config.connections, block=True, retries=False, ssl_context=_trust(config),
            timeout=urllib3.Timeout(connect=config.timeout, read=config.timeout),
        )  # fmt: skip

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def error(self, found: str, remedy: str = "") -> InputError:
        """An error of this server as a whole."""
        return InputError(Problem(f"dicomweb {self.url}", found, remedy=remedy))

    def query(
        self, path: str, fields: Sequence[tuple[str, str]], may_be_gone: bool = False
    ) -> tuple[list[dict[str, Any]], bool]:
        """One page of a QIDO-RS query, and whether the server says that there is more (DICOM PS3.18 8.3.4.4).

        With `may_be_gone` a 404 means that nothing is there any more; else that the address is wrong. Raises
        InputError when there is no usable answer: half a list would be a silent gap.
        """
        try:
            return self._attempt(lambda: self._query(path, fields), self._config.retries)
        except Unreachable as error:
            raise self.error(str(error), "check the address and the server; the same command again goes on") from None
        except NotFetched as error:
            if may_be_gone and error.status == 404:
                return [], False
            raise self.error(f"{error}: no DICOMweb service", "the address ends as in /dicom-web") from None

    def objects(self, path: str, most: int, take: Callable[[Pieces], None], once: bool = False) -> None:
        """Retrieves by WADO-RS; calls `take` with the pieces of each object, at most `most` bytes in all.

        Raises NotFetched, and Unreachable when the tries are used up (one alone with `once`). After an error that may
        pass, everything comes again: `take` has to bear that.
        """
        self._attempt(lambda: self._objects(path, most, take), 0 if once else self._config.retries)

    def _attempt(self, work: Callable[[], T], retries: int) -> T:
        pause, reason = self._config.backoff, ""
        for number in range(retries + 1):
            if number and self._stop.wait(min(pause, MAX_PAUSE)):
                raise Stopped
            try:
                return work()
            except Again as error:
                reason, pause = str(error), max(pause * (2 if number else 1), error.seconds)
        raise Unreachable(reason)

    def _query(self, path: str, fields: Sequence[tuple[str, str]]) -> tuple[list[dict[str, Any]], bool]:
        response = self._open(path, fields, JSON)
        try:
            if response.status == 204:
                return [], False
            kind = content_type(response.headers.get("Content-Type", ""))[0]
            if kind not in (JSON, "application/json"):
                raise NotFetched(f"answers a query with {_shown(kind)}")
            body = b"".join(self._pieces(response, MAX_ANSWER))
            more = "additional results" in response.headers.get("Warning", "")
        finally:
            _finish(response)
        try:
            rows = json.loads(body or b"[]")
        except (ValueError, RecursionError):
            raise NotFetched("answers a query with damaged JSON") from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise NotFetched("answers a query with something else than a list")
        return rows, more

    def _objects(self, path: str, most: int, take: Callable[[Pieces], None]) -> None:
        try:
            response = self._open(path, (), OBJECTS + ("; transfer-syntax=*" if self._as_stored else ""))
        except _NoSuchEncoding:
            self._as_stored = False
            response = self._open(path, (), OBJECTS)
        try:
            kind, parameters = content_type(response.headers.get("Content-Type", ""))
            pieces = self._pieces(response, most)
            if kind == "application/dicom":
                take(pieces)
            elif kind == "multipart/related":
                for header, body in parts(pieces, parameters.get("boundary")):
                    inner = content_type(header.get("content-type", "application/dicom"))[0]
                    if inner not in ("application/dicom", "application/octet-stream"):
                        raise NotFetched(f"the server sent {_shown(inner)} instead of DICOM")
                    take(body)
            else:
                raise NotFetched(f"the server sent {_shown(kind)} instead of DICOM")
        except CutOff as error:
            raise Again(str(error)) from None
        except Malformed as error:
            raise NotFetched(str(error)) from None
        finally:
            _finish(response)

    def _open(self, path: str, fields: Sequence[tuple[str, str]], accept: str) -> urllib3.BaseHTTPResponse:
        """The answer to one GET, past redirects and errors, its body still to come."""
        # Wildcards go as they are, which RFC 3986 3.4 allows: Orthanc's plugin does not understand them encoded.
        url = self.url + path + ("?" + urlencode(fields, safe="*?", quote_via=quote) if fields else "")
        for _ in range(MAX_REDIRECTS + 1):
            if self._stop.is_set():
                raise Stopped
            try:
                response = self._pool.request(
                    "GET", url, headers={**self._headers, "Accept": accept}, redirect=False, preload_content=False
                )
            except (HTTPError, OSError) as error:
                raise self._translated(error) from None
            if response.status in REDIRECTS and response.headers.get("Location"):
                _finish(response)
                url = self._redirected(url, response.headers["Location"])
                continue
            try:
                self._check(response, accept)
            except BaseException:
                _finish(response)
                raise
            return response
        raise NotFetched("the server redirects in a circle")

    def _redirected(self, url: str, location: str) -> str:
        """Where a redirect leads; only within the same server, or up to its encrypted door."""
        old = urlsplit(url)
        try:
            new = urlsplit(urljoin(url, location))
            same = (new.scheme, new.hostname, new.port) == (old.scheme, old.hostname, old.port)
            upgrade = (old.scheme, new.scheme) == ("http", "https") and new.hostname == old.hostname
        except ValueError:
            same = upgrade = False
        if not (same or upgrade):
            raise self.error("redirects to another server", "give that server's address, if you trust it")
        return new.geturl()

    def _check(self, response: urllib3.BaseHTTPResponse, accept: str) -> None:
        status = response.status
        if 200 <= status < 300:
            return
        if status == 401:
            given = "Authorization" in self._headers
            found = "does not take these credentials (401)" if given else "asks for credentials (401)"
            raise self.error(found, "name a file with ingest.dicomweb.netrc or ingest.dicomweb.token_file")
        if status == 403 and JSON in accept:
            raise self.error("does not allow this query (403)", "ask for the rights to search and retrieve")
        if status == 407:
            raise self.error("a proxy asks for credentials (407)", "reach the server without a proxy")
        if status in PASSING:
            raise Again(f"the server answers {status}", _seconds(response.headers.get("Retry-After", "")))
        if status in (400, 406) and "transfer-syntax" in accept:
            raise _NoSuchEncoding
        raise NotFetched(f"the server answers {status}", status)

    def _pieces(self, response: urllib3.BaseHTTPResponse, most: int) -> Pieces:
        """The body as it comes. Raises Again when it breaks off or crawls, NotFetched past `most` bytes."""
        began, count = time.monotonic(), 0
        while True:
            if self._stop.is_set():
                raise Stopped
            try:
                piece = response.read1(PIECE)
            except (HTTPError, OSError) as error:
                raise self._translated(error) from None
            if not piece:
                return
            count += len(piece)
            if count > most:
                raise NotFetched(f"larger than {most / 2**20:.0f} MB")
            passed = time.monotonic() - began
            if passed > self._config.timeout and count < passed * LEAST_RATE:
                raise Again("the server sends too slowly")
            yield piece

    def _translated(self, error: Exception) -> Exception:
        """A library's error in words of ours, without the address it quotes."""
        if isinstance(error, (SSLError, ssl.SSLError)):
            cause = next((item for item in _causes(error) if isinstance(item, ssl.SSLCertVerificationError)), None)
            if cause is not None:
                remedy = "name the authority's certificate with ingest.dicomweb.ca_file"
                return self.error(f"its certificate is not trusted ({cause.verify_message})", remedy)
            return Again("no encrypted connection to the server")
        if isinstance(error, NameResolutionError):
            return Again("cannot be reached (no such host)")
        if isinstance(error, NewConnectionError):
            why = next((item.strerror for item in _causes(error) if isinstance(item, OSError) and item.strerror), "")
            return Again(f"cannot be reached ({why.lower()})" if why else "cannot be reached")
        if isinstance(error, (AnswerTimeout, TimeoutError)):
            return Again("no answer in time")
        if any(isinstance(item, http.client.IncompleteRead) for item in _causes(error)):
            return Again("the answer was cut off")
        return Again("the connection broke")


def _causes(error: BaseException) -> Iterator[Any]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        yield from (item for item in seen.args if isinstance(item, BaseException))
        seen = seen.__cause__ or seen.__context__


def _shown(kind: str) -> str:
    """A media type as far as it may stand in a message."""
    return kind if re.fullmatch(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}", kind) else "an unknown type"


def _finish(response: urllib3.BaseHTTPResponse) -> None:
    """Gives the connection back; closed when not everything was read, so that no rest answers the next request."""
    response.close()
    response.release_conn()


def _seconds(value: str) -> float:
    """Retry-After as seconds; 0 when it says none."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _trust(config: DicomwebConfig) -> ssl.SSLContext:
    """Certificates are always checked."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file or None)
    except (OSError, ValueError):
        raise _bad("ca_file", f"{config.ca_file} cannot be read as certificates", "a PEM file") from None
    if config.client_certificate:
        _own(Path(config.client_certificate), "client_certificate")
        try:
            context.load_cert_chain(config.client_certificate, password="")
        except (OSError, ValueError):
            found = f"{config.client_certificate} cannot be read"
            raise _bad("client_certificate", found, "a PEM file with certificate and key, without a password") from None
    return context


def _credentials(url: str, config: DicomwebConfig) -> Mapping[str, str]:
    """The header that logs in, from a file that only its owner can read."""
    if config.token_file:
        token = _own(Path(config.token_file), "token_file").strip()
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise _bad("token_file", "holds no token", "one token on one line")
        return {"Authorization": f"Bearer {token}"}
    if config.netrc:
        _own(Path(config.netrc), "netrc")
        host = urlsplit(url).hostname or ""
        try:
            found = netrc.netrc(config.netrc).authenticators(host)
        except (netrc.NetrcParseError, OSError, ValueError):
            raise _bad("netrc", "cannot be understood", "lines as in: machine HOST login NAME password WORD") from None
        if found is None:
            raise _bad("netrc", f"has no entry for {host}", f"a line: machine {host} login NAME password WORD")
        return urllib3.make_headers(basic_auth=f"{found[0]}:{found[2]}")
    return {}


def _own(path: Path, name: str) -> str:
    """The text of a file with a secret. Raises InputError when it is absent, or others may read it."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise _bad(name, f"{path} cannot be read ({reason})", "a readable file") from None
    if mode & 0o077:
        raise InputError(
            Problem(f"setting ingest.dicomweb.{name}", f"others may read {path}", "mode 0600", f"run chmod 600 {path}")
        )
    return text


def _bad(name: str, found: str, allowed: str) -> InputError:
    return InputError(Problem(f"setting ingest.dicomweb.{name}", found, allowed))
