"""The headers of a webhook, in every form in which frameworks hand them over, and the misuses that are explained."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import unittest
from email.message import Message
from typing import Any

import django.conf
import flask
import httpx
from django.test import RequestFactory
from starlette.requests import Request

from hubspot_connect import WebhookVerificationError, verify_webhook

KEY = bytes([7]) * 32
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
OTHER_SECRET = f"whsec_{base64.b64encode(bytes([8]) * 32).decode()}"
BODY = json.dumps({"type": "connection.created", "timestamp": "2026-11-21T00:07:38Z", "data": {}})
ID, TIMESTAMP = "msg_1", str(int(time.time()))
SIGNATURE = "v1," + base64.b64encode(hmac.new(KEY, f"{ID}.{TIMESTAMP}.{BODY}".encode(), hashlib.sha256).digest()).decode()
OTHER = "v1," + base64.b64encode(bytes(32)).decode()
LOWER = {"webhook-id": ID, "webhook-timestamp": TIMESTAMP, "webhook-signature": SIGNATURE}
MIXED = {"Webhook-Id": ID, "WEBHOOK-TIMESTAMP": TIMESTAMP, "Webhook-Signature": SIGNATURE}

django.conf.settings.configure()


def starlette_request() -> Request:
    headers = [(name.lower().encode(), value.encode()) for name, value in MIXED.items()]
    return Request({"type": "http", "headers": headers})


def flask_headers() -> Any:
    with flask.Flask("receiver").test_request_context("/", method="POST", headers=MIXED):
        return flask.request.headers


class Headers(unittest.TestCase):
    def test_names_in_any_case_and_lists_are_taken(self) -> None:
        message = Message()
        for name, value in MIXED.items():
            message[name] = value
        django_request = RequestFactory().post("/", headers=MIXED)
        forms: dict[str, Any] = {
            "a dictionary": LOWER,
            "names in any case": MIXED,
            "lists": {name: [value] for name, value in LOWER.items()},
            "two signatures in a list": {**MIXED, "Webhook-Signature": [OTHER, SIGNATURE]},
            "the standard library": message,
            "httpx": httpx.Headers(MIXED),
            "Starlette": starlette_request().headers,
            "Django": django_request.headers,
            "Django's META": django_request.META,
            "Flask": flask_headers(),
            "a WSGI environment": flask_headers().environ,
        }
        for form, headers in forms.items():
            with self.subTest(form):
                self.assertEqual(verify_webhook(BODY, headers, SECRET)["type"], "connection.created")

    def test_a_header_that_is_missing_or_has_two_values_is_refused(self) -> None:
        nothing: list[Any] = ["", []]
        wrong: list[Any] = [{**LOWER, name: value} for name in LOWER for value in nothing]
        wrong += [{**LOWER, "Webhook-Id": "msg_2"}, {**LOWER, "webhook-timestamp": [TIMESTAMP, "1"]}, {**LOWER, "webhook-signature": [OTHER]}]
        for headers in wrong:
            with self.subTest(headers=headers), self.assertRaises(WebhookVerificationError):
                verify_webhook(BODY, headers, SECRET)


class Arguments(unittest.TestCase):
    def test_bodies_are_taken_as_text_and_as_bytes(self) -> None:
        for body in (BODY, BODY.encode(), bytearray(BODY.encode()), memoryview(BODY.encode())):
            with self.subTest(type(body).__name__):
                self.assertEqual(verify_webhook(body, LOWER, SECRET)["timestamp"], "2026-11-21T00:07:38Z")

    def test_one_of_several_secrets_has_to_match(self) -> None:
        self.assertEqual(verify_webhook(BODY, LOWER, [OTHER_SECRET, SECRET])["type"], "connection.created")
        with self.assertRaises(WebhookVerificationError):
            verify_webhook(BODY, LOWER, [OTHER_SECRET])

    def test_misuse_is_explained(self) -> None:
        misuses: list[tuple[Any, Any, type[Exception], str]] = [
            (json.loads(BODY), SECRET, TypeError, "already parsed.*raw body"),
            (None, SECRET, TypeError, "already parsed"),
            (BODY, None, ValueError, "secret is missing.*environment variable"),
            (BODY, [], ValueError, "secret is missing"),
            (BODY, [SECRET, None], ValueError, "secret is missing"),
            (BODY, "", ValueError, "secret is empty"),
            (BODY, "whsec_", ValueError, "secret is empty"),
            (BODY, "whsec_*", ValueError, "secret is invalid"),
        ]
        for body, secret, kind, message in misuses:
            with self.subTest(message, secret=secret), self.assertRaisesRegex(kind, message):
                verify_webhook(body, LOWER, secret)


if __name__ == "__main__":
    unittest.main()
