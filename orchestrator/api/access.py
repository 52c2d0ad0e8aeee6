"""Who asks, and whether that is so: host and origin, token, role."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from orchestrator.api.limits import RateLimits
from orchestrator.api.peers import is_this_user
from orchestrator.errors import Forbidden, Unauthorized, Unprotected
from orchestrator.policy import is_loopback
from orchestrator.settings import ServiceSettings
from orchestrator.store.rows import Role, TokenRow
from orchestrator.store.store import Store

OPEN = ("/healthz", "/readyz")
"""Paths that need no token."""
REPORTS = re.compile(r"/attempts/[^/]+/[0-9]+/reports")
"""Where runners report, each with a token of its own."""
_READING = ("GET", "HEAD", "OPTIONS")
_ROLES = tuple(Role)
_TOUCHED = 60.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    name: str | None
    """Name of the token; None: the local user, or nobody on an open path."""
    role: Role
    max_queued: int | None = None
    """Queued jobs that it may have; None: no limit."""

    def may(self, role: Role) -> bool:
        """Whether its role includes `role`."""
        return _ROLES.index(self.role) >= _ROLES.index(role)

    def require(self, role: Role) -> None:
        """Nothing when its role includes `role`. Raises: Forbidden."""
        if not self.may(role):
            hint = f"ask the operator for a token with the role `{role}`"
            raise Forbidden(f"token `{self.name}` has the role `{self.role}`; this needs `{role}`", hint=hint)

    def require_own(self, what: str, owner: str | None) -> None:
        """Nothing for a job or comparison (`what`) that it submitted, or for an admin. Raises: Forbidden."""
        if owner != self.name and not self.may(Role.ADMIN):
            whose = f"token `{owner}`" if owner else "the local user"
            raise Forbidden(f"{what} is of {whose}", hint="its owner or an admin may do that")


class Doorman:
    """Lets requests in, or says why not."""

    def __init__(self, settings: ServiceSettings, store: Store) -> None:
        """Raises: Unprotected when others can reach the service and there is no token."""
        if settings.exposed and not store.tokens.any():
            hint = "orchestrator token add NAME --role submit; or listen on 127.0.0.1"
            raise Unprotected(f"others could reach {settings.host}, and there is no token", hint=hint)
        self._settings = settings
        self._store = store
        self._rates = RateLimits()
        self._touched: dict[str, float] = {}
        names = ("localhost", settings.host, socket.gethostname(), *settings.allowed_hosts)
        self._names = {name.lower() for name in names}

    async def admit(self, scope: Any, headers: Headers) -> Caller:
        """Who asks. Raises: Forbidden, Unauthorized, RateLimited."""
        path = scope["path"]
        if REPORTS.fullmatch(path):
            return Caller(None, Role.READ)
        self._check_host(headers)
        self._check_origin(headers)
        if path in OPEN:
            return Caller(None, Role.READ)
        caller = await self._identify(scope, headers)
        scope["state"]["caller"] = caller  # known from here on, also when it may not do what it wants
        caller.require(Role.READ if scope["method"] in _READING else Role.SUBMIT)
        return caller

    def _check_host(self, headers: Headers) -> None:
        """A web page that has its name resolve to this machine still sends that name: DNS rebinding ends here."""
        name = _hostname(headers.get("host", ""))
        if name in self._names or is_loopback(name):
            return
        if not is_loopback(self._settings.host) and _is_address(name):
            return
        hint = "add the name to `service.allowed_hosts`"
        raise Forbidden(f"the host {name!r} is not one that this service is known by", hint=hint)

    def _check_origin(self, headers: Headers) -> None:
        """Pages of other sites may not use the service behind their visitor's back."""
        origin = headers.get("origin")
        if origin is None or origin in self._settings.allowed_origins:
            return
        if urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
            hint = "add it to `service.allowed_origins`"
            raise Forbidden(f"the origin {origin!r} is not one whose pages may use this service", hint=hint)

    async def _identify(self, scope: Any, headers: Headers) -> Caller:
        given = headers.get("authorization")
        if given is None and not self._settings.exposed:
            return self._local(scope)
        scheme, _, secret = (given or "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Unauthorized("this needs a token", hint="send `Authorization: Bearer TOKEN`")
        found = await asyncio.to_thread(self._token, secret.strip())
        limit = found.rate_per_minute or self._settings.rate_per_minute
        if limit:
            self._rates.take(found.name, limit)
        return Caller(found.name, found.role, found.max_queued or self._settings.max_queued)

    def _local(self, scope: Any) -> Caller:
        """Others with an account on this machine reach the loopback too, and would act as the service's user."""
        if not self._settings.trust_local_users and not is_this_user(scope["state"].get("user")):
            hint = "send a token (`orchestrator token add`); or the operator sets `service.trust_local_users`"
            raise Unauthorized("another user of this machine needs a token", hint=hint)
        return Caller(None, Role.ADMIN)

    def _token(self, secret: str) -> TokenRow:
        found = self._store.tokens.find(secret)
        if found is None:
            raise Unauthorized("the token does not hold: never given, or revoked", hint="orchestrator token list")
        moment = time.time()
        if moment - self._touched.get(found.name, 0.0) > _TOUCHED:
            self._touched[found.name] = moment
            self._store.tokens.touch(found.name, moment)
        return found


def _hostname(host: str) -> str:
    """The `Host` header without its port."""
    name = re.sub(r":[0-9]*$", "", host.strip().lower())
    return name.removeprefix("[").removesuffix("]").rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
