"""Signatures of webhook calls."""

from __future__ import annotations

import pytest

from clients.service import BadSignature, verify
from clients.service.signature import sign

BODY = b'{"type": "job.succeeded"}'


def test_what_was_signed_holds() -> None:
    verify(BODY, sign(BODY, "s3cret", 1000.0), "s3cret", now=1200.0)


def test_it_is_the_hmac_that_any_language_computes() -> None:
    # printf '1000.{"type": "job.succeeded"}' | openssl dgst -sha256 -hmac s3cret
    digest = "886f9bfa05d7d344c3b59532a9e191e202030e73912c79121c2ed6626b09b8e3"
    assert sign(BODY, "s3cret", 1000.9) == f"t=1000,v1={digest}"


@pytest.mark.parametrize(
    ("body", "header", "secret", "now"),
    [
        (BODY + b" ", sign(BODY, "s3cret", 1000.0), "s3cret", 1000.0),
        (BODY, sign(BODY, "s3cret", 1000.0), "another", 1000.0),
        (BODY, sign(BODY, "s3cret", 1000.0), "s3cret", 1301.0),
        (BODY, sign(BODY, "s3cret", 1000.0), "s3cret", 699.0),
        (BODY, sign(BODY, "s3cret", 1000.0).replace("t=1000", "t=1200"), "s3cret", 1200.0),
        (BODY, "", "s3cret", 1000.0),
        (BODY, "t=1000,v1=abc", "s3cret", 1000.0),
    ],
    ids=["another body", "another secret", "late", "early", "another time", "none", "cut"],
)
def test_anything_else_does_not(body: bytes, header: str, secret: str, now: float) -> None:
    with pytest.raises(BadSignature):
        verify(body, header, secret, now=now)
