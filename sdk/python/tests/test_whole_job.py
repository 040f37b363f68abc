"""The whole job against the real service and a simulated HubSpot: SERVICE, API_KEY and ORIGIN name them."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import unittest
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from subprocess import run
from typing import Any, Mapping

from hubspot_connect import (
    AsyncHubSpotConnect,
    HubSpotConnect,
    HubSpotConnectError,
    WebhookEvent,
    WebhookVerificationError,
    verify_webhook,
)

SERVICE, API_KEY, ORIGIN = os.environ["SERVICE"], os.environ["API_KEY"], os.environ["ORIGIN"]
#: The user who connects is the same as in the tests of the client for JavaScript.
PERSON = "import(process.argv[1]).then((one) => one.connect(...process.argv.slice(2)))"


class Listener:
    """A receiver of webhooks, which keeps each message as it was sent."""

    def __init__(self) -> None:
        heard: list[tuple[Mapping[str, str], bytes]] = []
        self.heard, self.arrived = heard, threading.Condition()
        arrived = self.arrived

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with arrived:
                    heard.append((dict(self.headers.items()), body))
                    arrived.notify_all()
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self, kind: str, secret: str) -> WebhookEvent:
        deadline = time.monotonic() + 20
        with self.arrived:
            while True:
                for headers, body in self.heard:
                    event = verify_webhook(body, headers, secret)
                    if event["type"] == kind:
                        return event
                left = deadline - time.monotonic()
                assert left > 0, f"{kind} was not delivered"
                self.arrived.wait(left)


def connect(token: str) -> None:
    run(["node", "-e", PERSON, os.environ["PERSON"], SERVICE, ORIGIN, token], check=True)


class WholeJob(unittest.TestCase):
    def setUp(self) -> None:
        self.hubspot = HubSpotConnect(SERVICE, API_KEY)
        self.addCleanup(self.hubspot.close)

    def listener(self) -> Listener:
        ear = Listener()
        self.addCleanup(ear.server.server_close)
        self.addCleanup(ear.server.shutdown)
        return ear

    def test_a_backend_has_a_user_connect_uses_the_connection_hears_of_it_and_ends_it(self) -> None:
        hubspot, ear = self.hubspot, self.listener()
        webhook = hubspot.webhooks.create(url=ear.url)
        session = hubspot.connect_sessions.create(external_user_id="user_py", metadata={"plan": "pro"})
        connect(session["token"])
        connected = hubspot.connect_sessions.get(session["id"])
        self.assertEqual(connected["status"], "connected")
        connection = connected["connection_id"]
        assert connection

        created = ear.next("connection.created", webhook["secret"])
        assert created["type"] == "connection.created"
        self.assertEqual(created["data"]["connection_id"], connection)
        headers, body = ear.heard[0]
        for wrong in ((body, "whsec_AAAA", None), (body + b" ", webhook["secret"], None), (body, webhook["secret"], time.time() + 600)):
            with self.assertRaises(WebhookVerificationError):
                verify_webhook(wrong[0], headers, wrong[1], wrong[2])

        listed = hubspot.connections.list(external_user_id="user_py").data
        self.assertEqual([one["id"] for one in listed], [connection])
        self.assertEqual(hubspot.connections.get(connection)["metadata"], {"plan": "pro"})
        self.assertEqual(hubspot.connections.history(connection, limit=1).data[0]["type"], "connection.created")
        token = hubspot.connections.token(connection)
        self.assertIs(hubspot.connections.token(connection), token, "it is kept for as long as the service allows")
        hubspot.connections.refresh(connection)
        self.assertIsNot(hubspot.connections.token(connection), token)

        response = hubspot.proxy(connection, "/crm/v3/objects/contacts?limit=1")
        self.assertIn("results", response.json())
        contact = {"properties": {"email": "ada@example.com"}}
        denied = hubspot.proxy(connection, "/crm/v3/objects/contacts", method="POST", json=contact)
        self.assertEqual(denied.status_code, 403, "a refusal of HubSpot is a response")
        with self.assertRaises(HubSpotConnectError) as refused:
            hubspot.proxy(connection, "/oauth/v1/access-tokens/x")
        self.assertEqual(refused.exception.code, "proxy_path_not_allowed")

        self.assertEqual(hubspot.connections.disconnect(connection)["connection_id"], connection)
        ended = ear.next("connection.disconnected", webhook["secret"])
        assert ended["type"] == "connection.disconnected"
        self.assertEqual(ended["data"]["connection_id"], connection)
        with self.assertRaises(HubSpotConnectError) as gone:
            hubspot.connections.token(connection)
        self.assertEqual(gone.exception.code, "connection_not_found")
        hubspot.webhooks.delete(webhook["id"])

    def test_a_backend_looks_after_its_webhooks_and_sends_a_link(self) -> None:
        hubspot, ear = self.hubspot, self.listener()
        self.assertIn("webhooks", hubspot.api_key.get()["scopes"])
        self.assertEqual(hubspot.installs.list().data, [])
        webhook = hubspot.webhooks.create(url=ear.url, events=["connection.needs_reauth"], headers={"x-of-mine": "1"})
        sent = hubspot.webhooks.test(webhook["id"])
        ear.next("webhook.test", webhook["secret"])
        deliveries = hubspot.webhooks.list_deliveries(webhook["id"]).data
        self.assertEqual([one["id"] for one in deliveries], [sent["id"]])
        self.assertEqual(hubspot.webhooks.replay_delivery(webhook["id"], sent["id"])["id"], sent["id"])
        self.assertNotEqual(hubspot.webhooks.rotate_secret(webhook["id"], 0)["secret"], webhook["secret"])
        self.assertFalse(hubspot.webhooks.update(webhook["id"], enabled=False, events=None)["enabled"])
        self.assertIsNone(hubspot.webhooks.get(webhook["id"])["events"])
        self.assertIn(webhook["id"], [one["id"] for one in hubspot.webhooks.list().data])
        hubspot.webhooks.delete(webhook["id"])

        self.assertTrue(hubspot.read_tokens.create(external_user_id="user_link", expires_in=60)["token"].startswith("hsc_read_"))
        link = hubspot.connect_sessions.create_link(external_user_id="user_link", requested_by="Anna Smith")
        self.assertTrue(link["link"].startswith(f"{SERVICE}/"))
        self.assertEqual(hubspot.connect_sessions.cancel(link["id"])["status"], "cancelled")

    def test_a_post_is_done_once_under_its_key(self) -> None:
        create, key = self.hubspot.connect_sessions.create, str(uuid.uuid4())
        made = create(external_user_id="user_py", idempotency_key=key)
        again = create(external_user_id="user_py", idempotency_key=key)
        self.assertEqual(made["token"], again["token"])
        with self.assertRaises(HubSpotConnectError) as reused:
            create(external_user_id="another", idempotency_key=key)
        self.assertEqual((reused.exception.status, reused.exception.code), (422, "idempotency_key_reused"))

    def test_a_problem_is_an_error_that_programs_can_go_by(self) -> None:
        with HubSpotConnect(SERVICE, "hsc_key_00000000_wrong") as unknown, self.assertRaises(HubSpotConnectError) as wrong:
            unknown.webhooks.list()
        self.assertEqual((wrong.exception.status, wrong.exception.code), (401, "api_key_invalid"))
        with self.assertRaises(HubSpotConnectError) as invalid:
            self.hubspot.connect_sessions.create(external_user_id="user_py", scopes=["not a scope"])
        self.assertEqual((invalid.exception.code, invalid.exception.pointer), ("validation_failed", "/scopes/0"))
        with HubSpotConnect("http://127.0.0.1:9", API_KEY, retries=0) as away, self.assertRaises(HubSpotConnectError) as nobody:
            away.webhooks.list()
        self.assertEqual((nobody.exception.code, nobody.exception.retryable), ("network_error", True))


class WholeJobWithAwait(unittest.IsolatedAsyncioTestCase):
    async def test_a_backend_has_a_user_connect_uses_the_connection_and_uninstalls_the_app(self) -> None:
        async with AsyncHubSpotConnect(SERVICE, API_KEY) as hubspot:
            session = await hubspot.connect_sessions.create(external_user_id="user_async")
            await asyncio.to_thread(connect, session["token"])
            connection = (await hubspot.connect_sessions.get(session["id"]))["connection_id"]
            assert connection
            token = await hubspot.connections.token(connection)
            self.assertIs(await hubspot.connections.token(connection), token)
            # Requests at once share the pool.
            pages = [hubspot.proxy(connection, f"/crm/v3/objects/contacts?limit={limit}") for limit in (1, 2, 3)]
            self.assertEqual([page.status_code for page in await asyncio.gather(*pages)], [200, 200, 200])
            self.assertTrue((await hubspot.connections.uninstall(connection))["uninstalled"])
            self.assertEqual((await hubspot.connections.list(external_user_id="user_async")).data, [])


if __name__ == "__main__":
    unittest.main()
