// The built declarations in a consumer's compiler.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const CONSUMER = `
import { HubSpotConnect, HubSpotConnectError, type Connection, type Finding } from "./hubspot-connect.js";
const hubspot = new HubSpotConnect({ service: "https://connect.example.com" });
export async function connect(signal: AbortSignal): Promise<string> {
  try {
    const connection: Connection = await hubspot.connect({ signal, fallback: "redirect", portalId: 7, popup: { width: 500 } });
    return connection.accessToken ?? connection.connectionId;
  } catch (error) {
    if (error instanceof HubSpotConnectError && error.code === "popup_blocked" && error.retryable) return error.reason ?? "";
    throw error;
  }
}
export const bySession = hubspot.connect({
  connectSession: () => fetch("/hubspot/session", { method: "POST" }).then((response) => response.text()),
  onConfirm: async ({ connectSessionId, connectionId }) => { const known: string | null = connectionId; console.log(connectSessionId, known); },
  onState: (state) => { const known: "opening" | "waiting" | "perhaps_closed" | "completing" = state; console.log(known); },
}).catch((error: HubSpotConnectError) => error.code === "connect_session_failed" && error.cause);
// @ts-expect-error a token is a string
export const numbered = hubspot.connect({ connectSession: () => 7 });
export const stop: () => void = hubspot.watch(({ connections }) => console.log(connections[0]?.status === "needs_reauth"));
export const same: Promise<Connection | undefined> = hubspot.status().then(({ connections }) => connections[0]);
export const findings: Promise<Finding[]> = hubspot.diagnose();
import "./element.js";
export const state = document.querySelector("hubspot-connect")?.state === "stalled";
export const granted = ({ scopes, missingScopes }: Connection): number => (scopes ?? missingScopes).length;
// @ts-expect-error null until HubSpot reports them
export const count = ({ scopes }: Connection): number => scopes.length;
// @ts-expect-error the counter is read-only
hubspot.ignoredMessages = 1;
// @ts-expect-error no such code
export const wrong = new HubSpotConnectError("no_such_code");
`;

test("the declarations compile in a strict consumer", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hubspot-connect-types-"));
  try {
    await cp(here("../../static/sdk"), folder, { recursive: true });
    await writeFile(join(folder, "consumer.ts"), CONSUMER);
    const { status, stdout } = spawnSync(process.execPath, [
      here("../node_modules/typescript/bin/tsc"), "--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022", "--module", "esnext",
      "--moduleResolution", "bundler", "--lib", "es2022,dom", "--skipLibCheck", "false", join(folder, "consumer.ts"),
    ], { encoding: "utf8", cwd: folder });
    assert.equal(status, 0, stdout);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("importing without a browser is safe", async () => {
  const code = await readFile(here("../../static/sdk/hubspot-connect.js"), "base64");
  const { HubSpotConnect } = await import(`data:text/javascript;base64,${code}`);
  assert.equal(new HubSpotConnect({ service: "https://connect.example.com/" }).ignoredMessages, 0);
});
