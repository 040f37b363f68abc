"""The headers of a webhook, in every form in which frameworks hand them over."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import unittest
from email.message import Message
from typing import Mapping, Sequence

from hubspot_connect import WebhookVerificationError, verify_webhook

KEY = bytes([7]) * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
BODY = json.dumps({"type": "connection.created", "timestamp": "2026-11-21T00:07:38Z", "data": {}})
ID, TIMESTAMP = "msg_1", str(int(time.time()))
SIGNATURE = "v1," + base64.b64encode(hmac.new(KEY, f"{ID}.{TIMESTAMP}.{BODY}".encode(), hashlib.sha256).digest()).decode()
OTHER = "v1," + base64.b64encode(bytes(32)).decode()
LOWER = {"webhook-id": ID, "webhook-timestamp": TIMESTAMP, "webhook-signature": SIGNATURE}
MIXED = {"Webhook-Id": ID, "WEBHOOK-TIMESTAMP": TIMESTAMP, "Webhook-Signature": SIGNATURE}


class Headers(unittest.TestCase):
    def test_names_in_any_case_and_lists_are_taken(self) -> None:
        message = Message()
        for name, value in MIXED.items():
            message[name] = value
        forms: list[Mapping[str, str | Sequence[str]]] = [
            LOWER,
            MIXED,
            {name: [value] for name, value in LOWER.items()},
            {name: [value] for name, value in MIXED.items()},
            {**MIXED, "Webhook-Signature": [OTHER, SIGNATURE]},
            message,  # type: ignore[list-item]
        ]
        for headers in forms:
            with self.subTest(headers=headers):
                self.assertEqual(verify_webhook(BODY, headers, SECRET)["type"], "connection.created")

    def test_a_header_that_is_missing_or_has_two_values_is_refused(self) -> None:
        wrong: list[Mapping[str, str | Sequence[str]]] = [{**LOWER, name: value} for name in LOWER for value in ("", [])]
        wrong += [{**LOWER, "Webhook-Id": "msg_2"}, {**LOWER, "webhook-timestamp": [TIMESTAMP, "1"]}, {**LOWER, "webhook-signature": [OTHER]}]
        for headers in wrong:
            with self.subTest(headers=headers), self.assertRaises(WebhookVerificationError):
                verify_webhook(BODY, headers, SECRET)


if __name__ == "__main__":
    unittest.main()
