"""The client of hubspot-connect for backends."""

from .client import AsyncHubSpotConnect, HubSpotConnect
from .errors import HubSpotConnectError
from .webhook import WebhookEvent, WebhookVerificationError, verify_webhook

__all__ = [
    "AsyncHubSpotConnect",
    "HubSpotConnect",
    "HubSpotConnectError",
    "WebhookEvent",
    "WebhookVerificationError",
    "verify_webhook",
]
