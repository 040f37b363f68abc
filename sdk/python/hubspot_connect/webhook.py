"""Messages of the service's webhooks (Standard Webhooks 1.0.0)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any, Mapping, Sequence

#: How far the clocks may be apart, in seconds.
TOLERANCE = 300


class WebhookVerificationError(Exception):
    """A message is not the service's, or is too old."""


def verify_webhook(
    body: bytes | str,
    headers: Mapping[str, str | Sequence[str]],
    secrets: str | Sequence[str],
    now: float | None = None,
) -> dict[str, Any]:
    """Checks a message and reads it. `body` is the body as it came; `secrets` are `whsec_…`, one of which has to fit.

    Header names may be in any case; a header that came more than once may be a list.
    """
    raw = body.encode() if isinstance(body, str) else body
    message, timestamp, signatures = (_header(headers, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not (message and timestamp and signatures):
        raise WebhookVerificationError("A header of the signature is missing")
    moment = time.time() if now is None else now
    digits = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12
    if not digits or abs(moment - int(timestamp)) > TOLERANCE:
        raise WebhookVerificationError("The message is too old, or from the future")
    signed = f"{message}.{timestamp}.".encode() + raw
    shown = [one[3:] for one in signatures.split(" ") if one.startswith("v1,")]
    good = False
    for secret in [secrets] if isinstance(secrets, str) else secrets:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            continue
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        # Each is compared, and in constant time.
        for one in shown:
            good = (bool(key) and hmac.compare_digest(one.encode(), expected)) or good
    if not good:
        raise WebhookVerificationError("No signature fits")
    event: dict[str, Any] = json.loads(raw)
    return event


def _header(headers: Mapping[str, str | Sequence[str]], name: str) -> str:
    """Returns the value of a header. Several values are joined by a space, which only the signature may contain."""
    found = [value for key, value in headers.items() if key.lower() == name]
    return " ".join(one for value in found for one in ([value] if isinstance(value, str) else value))
