"""The requests that the clients send and their handling of responses, blocking and with `await`."""

from __future__ import annotations

import asyncio
import json
import unittest
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import trio

from hubspot_connect import AsyncHubSpotConnect, HubSpotConnect, HubSpotConnectError
from support import HUBSPOTS, SERVICE, Answer, async_client, both, client

PROBLEM = {"content-type": "application/problem+json"}


class Proxy(unittest.TestCase):
    def test_hubspots_responses_are_returned_whatever_their_status(self) -> None:
        for status in (200, 302, 404, 429, 500):
            for name, call in both(lambda _: httpx.Response(status, headers=HUBSPOTS), lambda hubspot: hubspot.proxy("c", "/x")):
                with self.subTest(status=status, client=name):
                    self.assertEqual(call().status_code, status)

    def test_a_refusal_of_the_service_and_of_anything_else_on_the_way_is_an_error(self) -> None:
        refusals: dict[str, Answer] = {
            "needs_reauth": lambda _: httpx.Response(409, json={"code": "needs_reauth", "request_id": "r"}, headers=PROBLEM),
            # A refused HEAD has no body.
            "unexpected_answer": lambda _: httpx.Response(409, headers={**PROBLEM, "x-request-id": "r"}),
        }
        for code, answer in refusals.items():
            for name, call in both(answer, lambda hubspot: hubspot.proxy("c", "/x", method="HEAD")):
                with self.subTest(code=code, client=name), self.assertRaises(HubSpotConnectError) as refused:
                    call()
                error = refused.exception
                self.assertEqual((error.code, error.status, error.request_id), (code, 409, "r"))
        for name, call in both(lambda _: httpx.Response(200, text="<h1>Gateway</h1>"), lambda hubspot: hubspot.proxy("c", "/x")):
            with self.subTest(client=name), self.assertRaises(HubSpotConnectError) as gateway:
                call()
            self.assertEqual((gateway.exception.code, gateway.exception.status), ("unexpected_answer", 200))

    def test_a_request_without_a_response_is_an_error_and_is_not_sent_again(self) -> None:
        sent = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            raise httpx.ReadTimeout("silence")

        for name, call in both(answer, lambda hubspot: hubspot.proxy("c", "/x")):
            sent.clear()
            with self.subTest(client=name), self.assertRaises(HubSpotConnectError) as silent:
                call()
            self.assertEqual((silent.exception.code, len(sent)), ("network_error", 1))
            self.assertIsInstance(silent.exception.__cause__, httpx.ReadTimeout)

    def test_json_and_header_fields_are_sent(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            told = [request.method, request.headers["content-type"], json.loads(request.content), request.headers["prefer"]]
            return httpx.Response(200, json=told, headers=HUBSPOTS)

        use: dict[str, Any] = dict(method="POST", json={"properties": {}}, headers={"Prefer": "x"})
        for name, call in both(answer, lambda hubspot: hubspot.proxy("c", "/x", **use)):
            with self.subTest(client=name):
                self.assertEqual(call().json(), ["POST", "application/json", {"properties": {}}, "x"])

    def test_a_path_stays_as_it_is_and_cannot_lead_out_of_the_proxy(self) -> None:
        hubspot = client(lambda request: httpx.Response(200, content=request.url.raw_path, headers=HUBSPOTS))
        path = "/crm/v3/objects/companies/https%3A%2F%2Fexample.com?idProperty=a%2Fb"
        self.assertTrue(hubspot.proxy("c", path).text.endswith(f"/proxy{path}"))
        for climbing in ("../connections/c", "/../connections/c", "/x/../../connections/c"):
            with self.subTest(climbing), self.assertRaisesRegex(ValueError, "must not contain"):
                hubspot.proxy("c", climbing)
        # The service refuses these: they are sent as they are.
        self.assertTrue(hubspot.proxy("c", "/%2e%2e/connections/c").text.endswith("/proxy/%2e%2e/connections/c"))


class Options(unittest.TestCase):
    def test_a_client_without_an_api_key_is_refused_and_the_option_is_named(self) -> None:
        for kind in (HubSpotConnect, AsyncHubSpotConnect):
            with self.subTest(kind=kind), self.assertRaisesRegex(ValueError, "`api_key`"):
                kind("https://connect.example.com", "")


class Filters(unittest.TestCase):
    def test_a_filter_without_a_value_is_refused_before_anything_is_sent(self) -> None:
        sent: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            return httpx.Response(200, json={"data": [], "next_cursor": None})

        for name, call in both(answer, lambda hubspot: hubspot.connections.list(status="active", external_user_id=None)):
            with self.subTest(client=name), self.assertRaisesRegex(ValueError, "`external_user_id`"):
                call()
        for name, call in both(answer, lambda hubspot: hubspot.webhooks.replay_failed("x", queued_after=None)):
            with self.subTest(client=name), self.assertRaisesRegex(ValueError, "`queued_after`"):
                call()
        self.assertEqual(sent, [])
        for name, call in both(answer, lambda hubspot: hubspot.connections.list(portal_id=0, cursor=None, limit=None, order=None)):
            with self.subTest(client=name):
                call()
                self.assertEqual(sent.pop().url.query, b"portal_id=0")


class Retries(unittest.TestCase):
    def test_a_request_is_sent_again_under_its_key_when_the_service_says_so(self) -> None:
        sent: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            if len(sent) == 3:
                return httpx.Response(201, json={"token": "t"})
            return httpx.Response(503, json={"code": "storage_unavailable"}, headers={**PROBLEM, "retry-after": "0"})

        for name, call in both(answer, lambda hubspot: hubspot.connect_sessions.create(external_user_id="u")):
            sent.clear()
            with self.subTest(client=name):
                self.assertEqual(call()["token"], "t")
                keys = {request.headers["idempotency-key"] for request in sent}
                self.assertEqual((len(sent), len(keys)), (3, 1))
                uuid.UUID(keys.pop())

    def test_a_refusal_that_stays_is_not_sent_again_and_a_long_wait_is_the_callers(self) -> None:
        sent = []
        for status in (404, 503):

            def answer(request: httpx.Request) -> httpx.Response:
                sent.append(request)
                return httpx.Response(status, headers={"retry-after": "31"})

            for name, call in both(answer, lambda hubspot: hubspot.webhooks.list()):
                sent.clear()
                with self.subTest(client=name, status=status), self.assertRaises(HubSpotConnectError) as error:
                    call()
                self.assertEqual((error.exception.status, error.exception.retry_after, len(sent)), (status, 31, 1))

    def test_a_redirect_is_not_followed(self) -> None:
        asked = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.host)
            return httpx.Response(302, headers={"location": "https://elsewhere.example/"})

        for name, call in both(answer, lambda hubspot: hubspot.webhooks.list()):
            with self.subTest(client=name), self.assertRaises(HubSpotConnectError):
                call()
        self.assertEqual(set(asked), {"connect.example.com"})


class Tokens(unittest.TestCase):
    TOKEN = dict(
        connection_id="c", access_token="secret", token_type="bearer", expires_at="", expires_in=1, generation=1, scopes=None, warnings=[]
    )

    def test_a_token_is_kept_for_as_long_as_the_service_allows(self) -> None:
        asked: list[httpx.Request] = []
        age = "600"

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            headers = {"cache-control": f"private, max-age={age}", "etag": '"1"'}
            if "if-none-match" in request.headers:
                return httpx.Response(304, headers=headers)
            return httpx.Response(200, json=self.TOKEN | {"of_a_later_release": 1}, headers=headers)

        hubspot = client(answer)
        token = hubspot.connections.token("c")
        self.assertNotIn("secret", repr(token))
        self.assertIs(hubspot.connections.token("c"), token)
        self.assertEqual(len(asked), 1)
        hubspot.connections.token("c", min_ttl=900)
        self.assertEqual((len(asked), asked[-1].url.query), (2, b"min_ttl=900"))
        age = "0"
        hubspot.connections.forget_token("c")
        again = hubspot.connections.token("c")
        self.assertEqual(len(asked), 3)
        self.assertIs(hubspot.connections.token("c"), again, "the service has confirmed it by its ETag")
        self.assertEqual((len(asked), asked[-1].headers["if-none-match"]), (4, '"1"'))

    def given(self) -> httpx.Response:
        return httpx.Response(200, json=self.TOKEN, headers={"cache-control": "private, max-age=600"})

    def test_a_token_whose_request_was_under_way_when_the_tokens_were_forgotten_is_not_kept(self) -> None:
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            if len(asked) == 1:
                hubspot.connections.forget_token("c")
            return self.given()

        hubspot = client(answer)
        for sent in (1, 2, 2):
            hubspot.connections.token("c")
            self.assertEqual(len(asked), sent)

    def test_a_token_that_arrives_while_the_tokens_are_replaced_or_ended_is_not_kept(self) -> None:
        asked: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/token"):
                asked.append(request)
                return self.given()
            hubspot.connections.token("c")
            return httpx.Response(200, json={})

        for name in ("refresh", "disconnect", "uninstall"):
            with self.subTest(name):
                asked.clear()
                hubspot = client(answer)
                getattr(hubspot.connections, name)("c")
                hubspot.connections.token("c")
                self.assertEqual(len(asked), 2)


class Server(ThreadingHTTPServer):
    """A service that counts its connections, and how many of them the client has closed."""

    daemon_threads = False

    def __init__(self) -> None:
        self.opened = self.ended = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10
            raw_requestline: bytes

            def do_GET(self) -> None:
                body = b'{"data": [], "next_cursor": null}'
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def setup(self) -> None:
                super().setup()
                server.opened += 1

            def handle_one_request(self) -> None:
                super().handle_one_request()
                # Nothing but the end can be read here; a silence of `timeout` leaves the last request line.
                server.ended += not self.raw_requestline

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        Thread(target=self.serve_forever).start()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        """Waits for every connection to end."""
        self.shutdown()
        self.server_close()


class Lifetime(unittest.TestCase):
    def test_requests_share_a_connection_which_ends_with_the_context(self) -> None:
        async def ask_three_times(service: str) -> None:
            async with AsyncHubSpotConnect(service, "key") as hubspot:
                for _ in range(3):
                    await hubspot.webhooks.list()

        blocking, awaiting = Server(), Server()
        with HubSpotConnect(blocking.url, "key") as hubspot:
            for _ in range(3):
                hubspot.webhooks.list()
        asyncio.run(ask_three_times(awaiting.url))
        for server in (blocking, awaiting):
            server.stop()
            self.assertEqual((server.opened, server.ended), (1, 1))

    def test_the_asynchronous_client_runs_on_trio_and_waits_there(self) -> None:
        responses = [httpx.Response(503, headers={"retry-after": "0"}), httpx.Response(200, json={"data": [], "next_cursor": None})]

        async def ask() -> None:
            async with async_client(lambda _: responses.pop(0)) as hubspot:
                self.assertEqual((await hubspot.webhooks.list()).data, [])

        trio.run(ask)

    def test_the_timeout_holds_for_each_attempt(self) -> None:
        def answer(request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"data": [request.extensions["timeout"]["read"]], "next_cursor": None})

        self.assertEqual(client(answer, timeout=7).webhooks.list().data, [7])

    def test_the_key_goes_over_https_only_and_is_not_shown(self) -> None:
        for service, key in (("http://connect.example.com", "key"), ("https://connect.example.com", "")):
            with self.subTest(service), self.assertRaises(ValueError):
                HubSpotConnect(service, key)
        self.assertNotIn("hsc_key", repr(vars(HubSpotConnect(SERVICE, "hsc_key"))))


if __name__ == "__main__":
    unittest.main()
