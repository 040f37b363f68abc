"""Messages of the service's webhooks (Standard Webhooks 1.0.0)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any, Iterable, List, Literal, Optional, Protocol, Sequence, Tuple, TypedDict, Union, cast

from .types import ConnectionEventType, ConnectionStatus, ConnectSessionEventType, ConnectSessionStatus

#: The maximum difference between the clocks, in seconds.
TOLERANCE = 300


class ConnectionEventData(TypedDict):
    """A connection as of the time of an event."""

    connection_id: str
    #: The position of the event among those of the connection. Ignore one below the highest that you have seen.
    sequence: int
    #: Your id of the user; None if a browser session owns the connection.
    external_user_id: Optional[str]
    portal_id: Optional[int]
    hub_domain: Optional[str]
    status: Union[ConnectionStatus, Literal["disconnected"]]
    #: The granted scopes; None until HubSpot has named them.
    scopes: Optional[List[str]]
    #: The reason, as a stable code.
    reason: Optional[str]


class ConnectSessionEventData(TypedDict):
    """A connect session with a link for another user."""

    connect_session_id: str
    #: Your id of the user for whom you created it.
    external_user_id: str
    status: ConnectSessionStatus
    #: The connection that was created, or that was to be reconnected.
    connection_id: Optional[str]
    #: The failure reason, as a stable code.
    reason: Optional[str]


class InstallEventData(TypedDict):
    """An unclaimed install from HubSpot's Marketplace."""

    install_id: str
    portal_id: int
    expires_at: str


class AppEventData(TypedDict):
    """The app whose credentials HubSpot rejects."""

    client_id: str
    reason: str


class TestEventData(TypedDict):
    """The endpoint under test."""

    webhook_id: str


class ConnectionEvent(TypedDict):
    """An event of a connection."""

    type: ConnectionEventType
    #: The time of the event, RFC 3339 in UTC.
    timestamp: str
    data: ConnectionEventData


class ConnectSessionEvent(TypedDict):
    """An event of a connect session with a link."""

    type: ConnectSessionEventType
    timestamp: str
    data: ConnectSessionEventData


class InstallEvent(TypedDict):
    """A new install."""

    type: Literal["install.unclaimed"]
    timestamp: str
    data: InstallEventData


class AppEvent(TypedDict):
    """An event about credentials of the app that HubSpot rejects."""

    type: Literal["app.credentials_invalid"]
    timestamp: str
    data: AppEventData


class TestEvent(TypedDict):
    """A test of the endpoint."""

    type: Literal["webhook.test"]
    timestamp: str
    data: TestEventData


#: The body of a webhook. `type` determines the shape of `data`.
WebhookEvent = Union[ConnectionEvent, ConnectSessionEvent, InstallEvent, AppEvent, TestEvent]


class WebhookVerificationError(Exception):
    """A message that does not come from the service, or is too old."""


class HeadersLike(Protocol):
    """The header fields of a request, as frameworks have them. Names may be in any case; a value may be a list."""

    def items(self) -> Iterable[Tuple[str, Any]]: ...


def verify_webhook(
    body: bytes | bytearray | memoryview | str,
    headers: HeadersLike,
    secrets: str | Sequence[str],
    now: float | None = None,
) -> WebhookEvent:
    """Verifies a message and returns its event. `body` is the raw body, byte for byte. `secrets` is the endpoint's secret
    (`whsec_…`), or several, one of which has to match. `headers` may also be a WSGI environment, such as Django's `META`.

    Raises `WebhookVerificationError` for a message that is not the service's, and `TypeError` or `ValueError` for wrong
    arguments.
    """
    raw = _bytes(body)
    keys = [_key(secret) for secret in (secrets if isinstance(secrets, (list, tuple)) else [secrets])]
    if not keys:
        raise ValueError(_MISSING_SECRET)
    message, timestamp, signatures = (_header(headers, f"webhook-{name}") for name in ("id", "timestamp", "signature"))
    if not (message and timestamp and signatures):
        raise WebhookVerificationError("A header of the signature is missing")
    moment = time.time() if now is None else now
    digits = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12
    if not digits or abs(moment - int(timestamp)) > TOLERANCE:
        raise WebhookVerificationError("The message is too old, or from the future")
    signed = f"{message}.{timestamp}.".encode() + raw
    shown = [one[3:] for one in signatures.split(" ") if one.startswith("v1,")]
    matches = False
    for key in keys:
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        # Each is compared, and in constant time.
        for one in shown:
            matches = hmac.compare_digest(one.encode(), expected) or matches
    if not matches:
        raise WebhookVerificationError("No signature matches")
    return cast(WebhookEvent, json.loads(raw))


def _bytes(body: object) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError(
        "The body of the webhook was already parsed. Pass the raw body, as bytes: a parsed one cannot be verified. "
        "It is `await request.body()` in Starlette and FastAPI, `request.body` in Django, `request.get_data()` in Flask."
    )


_MISSING_SECRET = (
    "The webhook secret is missing. Pass the `secret` that webhooks.create() returned (whsec_…); is its environment variable set?"
)


def _key(secret: object) -> bytes:
    if not isinstance(secret, str):
        raise ValueError(_MISSING_SECRET)
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("The webhook secret is invalid. Pass the `secret` that webhooks.create() returned (whsec_…).") from None
    if not key:
        # An empty key is known to everyone.
        raise ValueError("The webhook secret is empty. Pass the `secret` that webhooks.create() returned (whsec_…).")
    return key


def _header(headers: HeadersLike, name: str) -> str:
    """Returns the value of a header. Several values are joined by a space, which only the signature may contain."""
    found = [value for key, value in headers.items() if _canonical(key) == name]
    return " ".join(one for value in found for one in ([value] if isinstance(value, str) else value))


def _canonical(name: str) -> str:
    # WSGI has `HTTP_WEBHOOK_ID`.
    return name.lower().replace("_", "-").removeprefix("http-")
