"""Both clients have every operation of openapi.json that takes an API key, and their types are those of its schemas."""

from __future__ import annotations

import inspect
import json
import re
import unittest
from dataclasses import fields
from pathlib import Path
from typing import Any, Callable, Iterator, get_args, get_type_hints, is_typeddict

import httpx

from hubspot_connect import types, webhook
from support import HUBSPOTS, client

OPENAPI = json.loads((Path(__file__).parents[3] / "openapi.json").read_text())
SCHEMAS: dict[str, Any] = OPENAPI["components"]["schemas"]
OPERATIONS = [
    (method.upper(), path, operation) for path, methods in OPENAPI["paths"].items() for method, operation in methods.items()
]
#: Methods that send nothing.
LOCAL = {"connections.forget_token"}


class Operations(unittest.TestCase):
    def test_every_operation_with_an_api_key_has_a_method_and_every_method_is_one_operation(self) -> None:
        reached = set()
        for name, request in self.requests():
            found = [
                operation["operationId"]
                for method, path, operation in OPERATIONS
                if method == request.method and re.fullmatch(pattern(path), request.url.path)
            ]
            self.assertEqual(len(found), 1, f"{name} sends {request.method} {request.url.path}")
            reached.add(found[0])
        expected = {
            operation["operationId"] for _, _, operation in OPERATIONS if any("api_key" in one for one in operation.get("security", []))
        }
        self.assertEqual(reached, expected)

    def test_the_readme_names_every_method(self) -> None:
        readme = (Path(__file__).parents[1] / "README.md").read_text()
        hubspot = client(lambda _: httpx.Response(200))
        for group in (name for name in vars(hubspot) if not name.startswith("_")):
            methods = {name for name, _ in inspect.getmembers(getattr(hubspot, group), callable) if not name.startswith("_")}
            row = re.search(rf"^\| `{group}` \| (.*) \|$", readme, re.MULTILINE)
            self.assertEqual(set(re.findall(r"`(\w+)`", row[1] if row else "")), methods, group)

    def requests(self) -> Iterator[tuple[str, httpx.Request]]:
        sent: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            sent.append(request)
            told: dict[str, Any] = {one.name: None for one in fields(types.AccessToken)} | {"data": [], "next_cursor": None}
            return httpx.Response(200, json=told, headers=HUBSPOTS)

        hubspot = client(answer)
        calls: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
            f"{group}.{name}": (call, {})
            for group, operations in vars(hubspot).items()
            for name, call in inspect.getmembers(operations, callable)
            if not group.startswith("_") and not name.startswith("_")
        }
        for method in (method for method, path, _ in OPERATIONS if path.endswith("/proxy/{path}")):
            calls[f"proxy {method}"] = (hubspot.proxy, {"method": method})
        for name in calls.keys() - LOCAL:
            call, options = calls[name]
            call(*dummies(call), **options)
            yield name, sent.pop()


def dummies(call: Callable[..., Any]) -> list[str]:
    """Returns a text for each argument that a call needs."""
    needed = inspect.signature(call).parameters.values()
    return ["x" for one in needed if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]


def pattern(path: str) -> str:
    return re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path).replace(r"\{path\}", ".+"))


#: The schema of each type of a request or a response, and the fields that the type leaves out.
SHAPES: dict[type, tuple[str, set[str]]] = {
    types.ApiKey: ("ApiKeyBody", set()),
    types.AwaitingGrant: ("Awaiting", set()),
    types.ConnectSession: ("ConnectSessionBody", set()),
    # A session has either.
    types.NewConnectSession: ("NewConnectSession", {"link"}),
    types.NewConnectLink: ("NewConnectSession", {"token"}),
    # `hosted` is the name of the method.
    types.CreateConnectSession: ("CreateConnectSession", {"hosted"}),
    types.CreateConnectLink: ("CreateConnectSession", {"hosted", "confirm"}),
    types.CreateReadToken: ("CreateReadToken", set()),
    types.NewReadToken: ("NewReadToken", set()),
    types.Connection: ("ConnectionBody", set()),
    types.ExplainedConnection: ("ExplainedConnection", set()),
    types.HistoryEvent: ("HistoryEvent", set()),
    types.RefreshedConnection: ("RefreshBody", set()),
    types.Disconnected: ("Disconnected", set()),
    types.Uninstalled: ("UninstallBody", set()),
    types.Warning: ("WarningBody", set()),
    types.AccessToken: ("TokenBody", set()),
    types.Install: ("InstallBody", set()),
    types.ClaimedInstall: ("ClaimedInstallBody", set()),
    types.Webhook: ("WebhookBody", set()),
    types.WebhookWithSecret: ("WebhookWithSecret", set()),
    types.NewWebhook: ("NewWebhook", set()),
    types.WebhookChanges: ("WebhookChanges", set()),
    types.Delivery: ("DeliveryBody", set()),
    types.DeliveryWithPayload: ("DeliveryWithPayload", set()),
    types.Event: ("EventBody", set()),
    types.ReplayFilter: ("ReplayFilter", set()),
    types.ReplayedDeliveries: ("ReplayedDeliveries", set()),
    types.ImportConnection: ("ImportConnection", set()),
    types.Page: ("Page_ConnectionBody", set()),
}
QUERIES: dict[type, str] = {
    types.ListConnections: "list_connections",
    types.ListConnectSessions: "list_connect_sessions",
    types.ListHistory: "get_connection_history",
    types.ListInstalls: "list_installs",
    types.ListWebhooks: "list_webhooks",
    types.ListDeliveries: "list_webhook_deliveries",
    types.ListEvents: "list_events",
}
WORDS: dict[str, Any] = {
    "ApiScope": types.ApiScope,
    "Confirm": types.Confirm,
    "ConnectionStatus": types.ConnectionStatus,
    "ConnectSessionStatus": types.ConnectSessionStatus,
    "DeliveryStatus": types.DeliveryStatus,
    "EventType": types.EventType,
    "Revocation": types.Revocation,
}


class Types(unittest.TestCase):
    def test_a_type_has_the_fields_of_its_schema(self) -> None:
        for shape, (name, left_out) in SHAPES.items():
            with self.subTest(shape.__name__):
                expected, required = described(SCHEMAS[name])
                self.assertEqual(set(get_type_hints(shape)), expected - left_out)
                self.assertLessEqual(required - left_out, set(getattr(shape, "__required_keys__", get_type_hints(shape))))

    def test_every_type_is_compared(self) -> None:
        declared = {shape for shape in vars(types).values() if is_typeddict(shape) and not shape.__name__.startswith("_")}
        self.assertLessEqual(declared, SHAPES.keys() | QUERIES.keys())

    def test_a_query_has_the_parameters_of_its_operation(self) -> None:
        by_id = {operation["operationId"]: operation for _, _, operation in OPERATIONS}
        for shape, name in QUERIES.items():
            with self.subTest(shape.__name__):
                self.assertEqual(set(get_type_hints(shape)), {one["name"] for one in by_id[name]["parameters"] if one["in"] == "query"})

    def test_words_are_those_of_their_schema(self) -> None:
        for name, words in WORDS.items():
            with self.subTest(name):
                self.assertEqual(set(flat(words)), set(SCHEMAS[name]["enum"]))
        subscribable = SCHEMAS["NewWebhook"]["properties"]["events"]["items"]["enum"]
        self.assertEqual(set(flat(types.SubscribableEvent)), set(subscribable))

    def test_every_event_has_a_type(self) -> None:
        words = [word for event in get_args(webhook.WebhookEvent) for word in flat(get_type_hints(event)["type"])]
        self.assertEqual(sorted(words), sorted(SCHEMAS["EventType"]["enum"]))


def described(schema: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Returns the names of the fields of a schema, and of those that are required."""
    if "$ref" in schema:
        return described(SCHEMAS[schema["$ref"].rpartition("/")[2]])
    parts = [described(one) for one in schema.get("allOf", [])]
    properties, required = set(schema.get("properties", {})), set(schema.get("required", []))
    return properties.union(*(one[0] for one in parts)), required.union(*(one[1] for one in parts))


def flat(words: Any) -> list[str]:
    """Returns the words of a union of literals."""
    return [word for one in get_args(words) for word in ([one] if isinstance(one, str) else flat(one))]


if __name__ == "__main__":
    unittest.main()
