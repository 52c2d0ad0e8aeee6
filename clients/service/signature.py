"""The signature of a webhook call: who got it can tell that the service sent it, and when.

The header `Orchestrator-Signature` is `t=SECONDS,v1=HEX`: the time of sending since the epoch, and the HMAC-SHA256 of
`SECONDS.BODY` under the secret that both sides know.
"""

from __future__ import annotations

import hmac
import re
import time

from clients.service.errors import ServiceError

HEADER = "Orchestrator-Signature"
_FORM = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})", re.ASCII)


class BadSignature(ServiceError):
    """The call is not from whoever knows the secret, or it is an old one sent again."""

    code = "bad_signature"


def sign(body: bytes, secret: str, at: float) -> str:
    """The header's value for a body that is sent at `at`, in seconds since the epoch."""
    moment = str(int(at))
    return f"t={moment},v1={_digest(moment, body, secret)}"


def verify(body: bytes, header: str, secret: str, *, tolerance: float = 300.0, now: float | None = None) -> None:
    """Nothing when `body` was signed with `secret` within `tolerance` seconds of now. Raises: BadSignature."""
    found = _FORM.fullmatch(header)
    if found is None:
        raise BadSignature(f"{header[:100]!r} is not a signature", hint=f"pass the header `{HEADER}` as it came")
    moment, digest = found.groups()
    if not hmac.compare_digest(digest, _digest(moment, body, secret)):
        raise BadSignature("the signature is of another body or secret", hint="pass the body as bytes, unchanged")
    if abs((time.time() if now is None else now) - int(moment)) > tolerance:
        raise BadSignature(f"the call is more than {tolerance:g} s old or early", hint="compare the clocks")


def _digest(moment: str, body: bytes, secret: str) -> str:
    return hmac.new(secret.encode(), moment.encode() + b"." + body, "sha256").hexdigest()
