// Every operation of openapi.json that takes an API key has a method, and every method is one of these operations. The README names them.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { HubSpotConnect } from "../dist/index.js";

const { paths } = JSON.parse(await readFile(new URL("../../../openapi.json", import.meta.url), "utf8"));
const operations = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, { operationId, security }]) => ({
    operationId,
    takesApiKey: security?.some((one) => "api_key" in one) ?? false,
    request: new RegExp(`^${method.toUpperCase()} ${path.replace(/\{path\}/, ".+").replaceAll(/\{\w+\}/g, "[^/]+")}$`),
  })));
/** Methods that send nothing. */
const LOCAL = ["connections.forgetToken"];

test("every operation with an API key has a method, and every method is one operation", async () => {
  const asked = [];
  const fetch = async (url, { method }) => {
    asked.push(`${method} ${new URL(url).pathname}`);
    return new Response(method === "HEAD" ? null : "{}", { headers: { "hubspot-connect-origin": "hubspot" } });
  };
  const client = new HubSpotConnect({ service: "https://connect.example.com", apiKey: "key", fetch });
  const calls = Object.entries(client).flatMap(([group, methods]) =>
    Object.entries(methods).map(([name, call]) => [`${group}.${name}`, () => call("x", "x")]));
  const [, proxied] = Object.entries(paths).find(([path]) => path.endsWith("/proxy/{path}"));
  for (const method of Object.keys(proxied).map((one) => one.toUpperCase())) {
    calls.push([`proxy ${method}`, () => client.proxy("x", "/x", { method })]);
  }
  const reached = new Set();
  for (const [name, call] of calls) {
    asked.length = 0;
    await call();
    if (LOCAL.includes(name)) continue;
    const found = operations.filter(({ request }) => request.test(asked[0])).map(({ operationId }) => operationId);
    assert.equal(found.length, 1, `${name} sends ${asked}, which is ${found.join(" and ") || "no operation"}`);
    reached.add(found[0]);
  }
  const expected = operations.filter(({ takesApiKey }) => takesApiKey).map(({ operationId }) => operationId);
  assert.deepEqual([...reached].sort(), expected.sort());
});

test("the README names every method", async () => {
  const lines = (await readFile(new URL("../README.md", import.meta.url), "utf8")).split("\n");
  for (const [group, methods] of Object.entries(new HubSpotConnect({ service: "https://connect.example.com", apiKey: "key" }))) {
    const row = lines.find((line) => line.startsWith(`| \`${group}\` |`)) ?? "";
    const named = [...row.matchAll(/`(\w+)`/g)].slice(1).map(([, name]) => name);
    assert.deepEqual(named.sort(), Object.keys(methods).sort(), group);
  }
});
