"""hubspot-connect for a host's backend."""

from .client import AccessToken, HubSpotConnect, ProxyAnswer
from .errors import HubSpotConnectError
from .webhook import WebhookVerificationError, verify_webhook

__all__ = [
    "AccessToken",
    "HubSpotConnect",
    "HubSpotConnectError",
    "ProxyAnswer",
    "WebhookVerificationError",
    "verify_webhook",
]
