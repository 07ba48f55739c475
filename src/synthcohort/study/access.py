"""Who may do what: invitation links, sessions, tokens against forged requests, and limits on how often.

Nothing here can be guessed: links and item tokens are made with the study's secret (HMAC-SHA256), sessions at random;
the database holds only digests of sessions. A link works until the owner replaces it; a session twelve hours.
"""

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from synthcohort.study.store import Store

Role = Literal["owner", "observer", "reader", "course", "learner"]
SESSION_SECONDS = 12 * 3600


@dataclass(frozen=True)
class Person:
    """Who is asking, in which session, with which token against forged requests."""

    name: str
    role: Role
    csrf: str
    session: str  # digest


def keyed(secret: str, *parts: str | int, length: int = 26) -> str:
    """A token for one purpose: 130 bits as small letters and digits."""
    text = "\x1f".join(map(str, parts)).encode()
    digest = hmac.new(bytes.fromhex(secret), text, hashlib.sha256).digest()
    return base64.b32encode(digest).decode().lower().rstrip("=")[:length]


def invitation(secret: str, person: str, generation: int) -> str:
    """The token of a person's link; the next generation's is another."""
    return keyed(secret, "invitation", person, generation)


def who_is_invited(store: Store, secret: str, token: str) -> tuple[str, Role] | None:
    """Name and role of the person whose link this is. Every person is compared, so that time tells nothing."""
    found, given = None, token.encode(errors="replace")
    for row in store.rows("SELECT person, role, generation FROM people"):
        if hmac.compare_digest(invitation(secret, row["person"], row["generation"]).encode(), given):
            found = row["person"], row["role"]
    return found


def begin_session(store: Store, person: str, now: float) -> str:
    """A new session; returns the cookie's value, which is kept nowhere."""
    value = secrets.token_urlsafe(32)
    with store.writing() as write:
        write.run("DELETE FROM sessions WHERE ends < ?", now)
        row = {"session": digest_of(value), "person": person, "csrf": secrets.token_urlsafe(24)}
        write.add("sessions", **row, ends=now + SESSION_SECONDS)
        note(write, now, person, "session begun")
    return value


def who_asks(store: Store, cookie: str | None, now: float) -> Person | None:
    """The person of a session's cookie; None when it is unknown, or has ended."""
    if not cookie or len(cookie) > 200:
        return None
    row = store.one(
        "SELECT s.session, s.person, s.csrf, p.role FROM sessions s JOIN people p ON p.person = s.person "
        "WHERE s.session = ? AND s.ends > ?",
        digest_of(cookie),
        now,
    )
    return None if row is None else Person(row["person"], row["role"], row["csrf"], row["session"])


def end_session(store: Store, person: Person, now: float) -> None:
    with store.writing() as write:
        write.run("DELETE FROM sessions WHERE session = ?", person.session)
        note(write, now, person.name, "session ended")


def replace_link(store: Store, person: str, now: float, by: str) -> None:
    """The person's link and sessions stop working; a new link takes their place."""
    with store.writing() as write:
        write.run("UPDATE people SET generation = generation + 1 WHERE person = ?", person)
        write.run("DELETE FROM sessions WHERE person = ?", person)
        note(write, now, by, "link replaced", person)


def note(write, now: float, person: str, what: str, detail: str = "") -> None:  # type: ignore[no-untyped-def]
    """One line of the audit log, inside a transaction."""
    write.add("events", at=now, person=person, what=what, detail=detail)


def digest_of(value: str) -> str:
    """What the database keeps of a session's cookie."""
    return hashlib.sha256(value.encode()).hexdigest()


# at once, and a minute; a whole course may share one address
RATES = {"join": (300, 300.0), "page": (1000, 3000.0), "image": (2000, 6000.0), "write": (1000, 3000.0)}
MOST_CLIENTS = 10_000


@dataclass
class _Bucket:
    left: float
    at: float


class Limits:
    """How often a client may do a kind of thing: `burst` at once, then `per_minute`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, scale: float = 1.0):
        self._clock, self._scale = clock, scale
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def allows(self, kind: str, client: str) -> bool:
        burst, per_minute = (value * self._scale for value in RATES[kind])
        now = self._clock()
        with self._lock:
            bucket = self._buckets.pop((kind, client), None) or _Bucket(burst, now)
            left = min(burst, bucket.left + (now - bucket.at) * per_minute / 60)
            allowed = left >= 1
            self._buckets[kind, client] = _Bucket(left - 1 if allowed else left, now)
            if len(self._buckets) > MOST_CLIENTS:
                self._buckets.popitem(last=False)
        return allowed
