import type { Connection } from "./api";
import type { Memo } from "./memory.ts";
import { sleep } from "./sleep.ts";
import { type Answer, type Body, post, type WireConnection } from "./wire.ts";

/** Returns a connection for the page. */
export const toConnection = (wire: WireConnection, flow: string | null): Connection => ({
  connectionId: wire.id,
  flow,
  portalId: wire.portal_id ?? null,
  hubDomain: wire.hub_domain ?? null,
  status: wire.status ?? "active",
  scopes: wire.scopes ?? null,
  missingScopes: wire.missing_scopes ?? [],
  expiresAt: wire.expires_at ?? null,
});

/**
 * Returns the connection for `connect()`, with the token if this page may have it. Never fails: the connection exists
 * with or without a token for this page.
 *
 * @param body with the token, a pickup code for it, or neither
 */
export async function withToken(service: string, memo: Memo, wire: WireConnection, body: Body): Promise<Connection> {
  const connection = toConnection(wire, memo.flow ?? null);
  const token = body.pickup_code ? (await redeem(service, memo, body.pickup_code)).body : body;
  const { access_token: accessToken } = token;
  return accessToken
    ? { ...connection, expiresAt: token.expires_at ?? connection.expiresAt, accessToken, tokenType: token.token_type ?? "bearer" }
    : connection;
}

/** Exchanges the pickup code for the token. The service hands it off once, and responds with 410 the second time. */
async function redeem(service: string, { verifier, flow }: Memo, pickupCode: string): Promise<Answer> {
  for (let tries = 1; ; tries += 1) {
    const answer = await post(service, "token", verifier, { flow, pickup_code: pickupCode });
    if (answer.status === 200 || answer.status === 410 || tries > 2) return answer;
    await sleep(tries * 1_000);
  }
}
