"""The whole job against the real service and a simulated HubSpot: SERVICE, API_KEY and ORIGIN name them."""

from __future__ import annotations

import os
import threading
import time
import unittest
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import run
from typing import Any, Mapping

from hubspot_connect import HubSpotConnect, HubSpotConnectError, WebhookVerificationError, verify_webhook

SERVICE, API_KEY, ORIGIN = os.environ["SERVICE"], os.environ["API_KEY"], os.environ["ORIGIN"]
#: The person who connects is the same as in the tests of the client for JavaScript.
PERSON = "import(process.argv[1]).then((one) => one.connect(...process.argv.slice(2)))"


class Listener:
    """Somebody who is told what happens, and keeps what was said as it was said."""

    def __init__(self) -> None:
        heard: list[tuple[Mapping[str, str], bytes]] = []
        self.heard, self.told = heard, threading.Condition()
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with told:
                    heard.append((dict(self.headers.items()), body))
                    told.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self, kind: str, secret: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        with self.told:
            while True:
                for headers, body in self.heard:
                    event = verify_webhook(body, headers, secret)
                    if event["type"] == kind:
                        return event
                left = deadline - time.monotonic()
                assert left > 0, f"{kind} was not told"
                self.told.wait(left)


class WholeJob(unittest.TestCase):
    def test_a_backend_has_a_user_connect_uses_the_connection_hears_of_it_and_ends_it(self) -> None:
        hubspot, ear = HubSpotConnect(SERVICE, API_KEY), Listener()
        self.addCleanup(ear.server.server_close)
        self.addCleanup(ear.server.shutdown)
        webhook = hubspot.create_webhook(ear.url)
        session = hubspot.create_connect_session(external_user_id="user_py", metadata={"plan": "pro"})
        run(["node", "-e", PERSON, os.environ["PERSON"], SERVICE, ORIGIN, session["token"]], check=True)
        session = hubspot.get_connect_session(session["id"])
        self.assertEqual(session["status"], "connected")
        connection = session["connection_id"]

        created = ear.next("connection.created", webhook["secret"])
        self.assertEqual(created["data"]["connection_id"], connection)
        headers, body = ear.heard[0]
        for wrong in ((body, "whsec_AAAA", None), (body + b" ", webhook["secret"], None), (body, webhook["secret"], time.time() + 600)):
            with self.assertRaises(WebhookVerificationError):
                verify_webhook(wrong[0], headers, wrong[1], wrong[2])

        listed = hubspot.list_connections(external_user_id="user_py")["data"]
        self.assertEqual([one["id"] for one in listed], [connection])
        self.assertEqual(hubspot.get_connection(connection)["metadata"], {"plan": "pro"})
        token = hubspot.token(connection)
        self.assertIs(hubspot.token(connection), token, "it is kept for as long as the service allows")
        self.assertNotIn(token.access_token, repr(token))
        hubspot.refresh(connection)
        self.assertIsNot(hubspot.token(connection), token)

        answer = hubspot.proxy(connection, "GET", "/crm/v3/objects/contacts?limit=1")
        self.assertTrue(answer.is_hubspots)
        self.assertIn("results", answer.json())

        self.assertEqual(hubspot.disconnect(connection)["connection_id"], connection)
        ended = ear.next("connection.disconnected", webhook["secret"])
        self.assertEqual(ended["data"]["connection_id"], connection)
        with self.assertRaises(HubSpotConnectError) as gone:
            hubspot.token(connection)
        self.assertEqual(gone.exception.code, "connection_not_found")
        hubspot.delete_webhook(webhook["id"])

    def test_a_post_is_done_once_under_its_name(self) -> None:
        hubspot, name = HubSpotConnect(SERVICE, API_KEY), str(uuid.uuid4())
        made = hubspot.create_connect_session(external_user_id="user_py", idempotency_key=name)
        again = hubspot.create_connect_session(external_user_id="user_py", idempotency_key=name)
        self.assertEqual(made["token"], again["token"])
        with self.assertRaises(HubSpotConnectError) as reused:
            hubspot.create_connect_session(external_user_id="another", idempotency_key=name)
        self.assertEqual((reused.exception.status, reused.exception.code), (422, "idempotency_key_reused"))

    def test_a_problem_is_an_error_that_programs_can_go_by(self) -> None:
        with self.assertRaises(HubSpotConnectError) as wrong:
            HubSpotConnect(SERVICE, "hsc_key_00000000_wrong").list_webhooks()
        self.assertEqual((wrong.exception.status, wrong.exception.code), (401, "api_key_invalid"))
        with self.assertRaises(HubSpotConnectError) as nobody:
            HubSpotConnect("http://127.0.0.1:9", API_KEY, retries=0).list_webhooks()
        self.assertEqual((nobody.exception.code, nobody.exception.retryable), ("network_error", True))
        with self.assertRaises(ValueError):
            HubSpotConnect("http://connect.example.com", API_KEY)


if __name__ == "__main__":
    unittest.main()
