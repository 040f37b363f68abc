"""Verifies a webhook with the official library, as a receiver in Python does: a message in, its type or a refusal out."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

given = json.load(sys.stdin)
try:
    print(Webhook(given["secret"]).verify(given["body"], given["headers"])["type"])
except WebhookVerificationError as refused:
    print(f"refused: {refused}")
