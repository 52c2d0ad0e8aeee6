"""Who may ask. A token is 256 random bits; the store has its hash alone.

A plain SHA-256 is right for that: there is no dictionary to try, and looking it up must not take long.
"""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import fields
from hashlib import sha256

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from orchestrator.errors import Conflict, NotFound
from orchestrator.store.database import Database
from orchestrator.store.rows import Role, TokenRow, values_of
from orchestrator.store.tables import tokens

_ROW = tuple(tokens.c[field.name] for field in fields(TokenRow))
_USE = 60.0  # seconds: `last_used_at` is no more precise, so that reading does not write


def new_secret() -> str:
    """A token: 256 random bits, in letters that need no quoting."""
    return f"ost_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    """What is kept of a token."""
    return sha256(secret.encode("utf-8", "replace")).hexdigest()


def matches(secret: str, kept: str) -> bool:
    """Whether `kept` is the hash of `secret`, in a time that tells nothing."""
    return hmac.compare_digest(hash_of(secret), kept)


class Tokens:
    """Named tokens. A name stands in the audit log, so it is never given again, revoked or not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, role: Role, *, rate_per_minute: int | None = None, max_queued: int | None = None
    ) -> tuple[TokenRow, str]:
        """A new token and its secret, which nobody can ask for again. Raises: Conflict when the name was used."""
        secret = new_secret()
        row = TokenRow(name, role, time.time(), None, None, rate_per_minute, max_queued)
        try:
            with self._database.write() as connection:
                connection.execute(insert(tokens).values(hash=hash_of(secret), **values_of(row)))
        except IntegrityError as error:
            raise Conflict(f"there is or was a token named {name!r}", hint="take another name") from error
        return row, secret

    def all(self) -> list[TokenRow]:
        """All of them, revoked ones too, by name."""
        with self._database.read() as connection:
            return [TokenRow(*row) for row in connection.execute(select(*_ROW).order_by(tokens.c.name))]

    def any(self) -> bool:
        """Whether somebody could ask with a token."""
        with self._database.read() as connection:
            return connection.scalar(select(tokens.c.name).where(tokens.c.revoked_at.is_(None)).limit(1)) is not None

    def find(self, secret: str) -> TokenRow | None:
        """The token with this secret, None when there is none or it was revoked."""
        hashed = hash_of(secret)
        query = select(*_ROW, tokens.c.hash).where(tokens.c.hash == hashed, tokens.c.revoked_at.is_(None))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return TokenRow(*row[:-1]) if row and hmac.compare_digest(row.hash, hashed) else None

    def touch(self, name: str, at: float) -> None:
        """It was used; written at most once a minute."""
        old = tokens.c.last_used_at.is_(None) | (tokens.c.last_used_at < at - _USE)
        with self._database.write() as connection:
            connection.execute(update(tokens).where(tokens.c.name == name, old).values(last_used_at=at))

    def revoke(self, name: str, at: float | None = None) -> TokenRow:
        """From now on it opens nothing; repeating it changes nothing. Raises: NotFound."""
        this = tokens.c.name == name
        with self._database.write() as connection:
            moment = time.time() if at is None else at
            connection.execute(update(tokens).where(this, tokens.c.revoked_at.is_(None)).values(revoked_at=moment))
            row = connection.execute(select(*_ROW).where(this)).one_or_none()
            if row is None:
                raise NotFound(f"no token {name!r}")
        return TokenRow(*row)
