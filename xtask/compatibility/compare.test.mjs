// Made-up changes of openapi.json, in both directions: breaking changes are found, and compatible ones are not
// reported.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { breakingChanges, IS_SUPPORTED } from "./compare.mjs";

const CURRENT = JSON.parse(await readFile(new URL("../../openapi.json", import.meta.url), "utf8"));
const text = { type: "string" };
const add = (schema, name) => {
  schema.properties[name] = text;
  (schema.required ??= []).push(name);
};
const without = (list, one) => list.splice(list.indexOf(one), 1);
const requestedBy = ({ CreateConnectSession }) => CreateConnectSession.allOf[0].properties.requested_by;

// Each change is made to one of two equal descriptions. Made to the newer one, it has the first result; made to the
// older one, so that it is reverted, the second.
const BREAKS = true;
const CHANGES = {
  "an operation": [({ paths }) => { paths["/api/hubspot/more"] = { get: { responses: { 200: { description: "x" } } } }; }, !BREAKS, BREAKS],
  "a field of a response": [({ schemas }) => add(schemas.ConnectionBody, "more"), !BREAKS, BREAKS],
  "a value of a response": [({ schemas }) => schemas.ConnectionStatus.enum.push("more"), !BREAKS, BREAKS],
  "an error code": [({ schemas }) => schemas.ProblemCode.enum.push("more"), !BREAKS, BREAKS],
  "a type of webhook": [({ webhooks }) => { webhooks["connection.more"] = webhooks["connection.created"]; }, !BREAKS, BREAKS],
  "a field of a webhook": [({ schemas }) => add(schemas.ConnectionEventData, "more"), !BREAKS, BREAKS],
  "a nullable field of a webhook": [({ schemas }) => { schemas.ConnectionEventData.properties.status.type = ["string", "null"]; }, BREAKS, !BREAKS],
  "a nullable field of a response": [({ schemas }) => { schemas.ConnectionBody.properties.status_text.type = ["string", "null"]; }, BREAKS, !BREAKS],
  "a response without a field": [({ schemas }) => without(schemas.ConnectionBody.required, "metadata"), BREAKS, !BREAKS],
  "an optional field of a request": [({ schemas }) => { schemas.CreateReadToken.properties.more = text; }, !BREAKS, BREAKS],
  "a required field of a request": [({ schemas }) => add(schemas.CreateReadToken, "more"), BREAKS, BREAKS],
  "a longer text in a request": [({ schemas }) => { requestedBy(schemas).maxLength += 1; }, !BREAKS, BREAKS],
  "a parameter": [({ paths }) => paths["/api/hubspot/connections"].get.parameters.push({ name: "more", in: "query", schema: text }), !BREAKS, BREAKS],
  "another scope of the key": [({ paths }) => { paths["/api/hubspot/read-tokens"].post.security = [{ api_key: ["proxy"] }]; }, BREAKS, BREAKS],
  "another name of an operation": [({ paths }) => { paths["/api/hubspot/read-tokens"].post.operationId = "more"; }, BREAKS, BREAKS],
  "another text": [({ schemas }) => { schemas.ConnectionBody.description = "more"; }, !BREAKS, !BREAKS],
};

for (const [name, [change, made, takenBack]] of Object.entries(CHANGES)) {
  test(name, { skip: !IS_SUPPORTED }, async () => {
    const changed = structuredClone(CURRENT);
    change({ ...changed, schemas: changed.components.schemas });
    assert.notDeepEqual(changed, CURRENT);
    assert.equal((await breakingChanges(CURRENT, changed)).length > 0, made, "made");
    assert.equal((await breakingChanges(changed, CURRENT)).length > 0, takenBack, "taken back");
  });
}
