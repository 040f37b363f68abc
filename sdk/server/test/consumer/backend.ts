// A strict application's backend: what compiles, and what must not.
import {
  HubSpotConnect, verifyWebhook, type ApiScope, type Connection, type ConnectionStatus, type ExplainedConnection, type JsonObject,
  type NewConnectSession, type Page, type SubscribableEvent, type WebhookEvent,
} from "@hubspot-connect/server";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function holds<_ extends true>(): void;

const hubspot = new HubSpotConnect({ service: "https://connect.example.com", apiKey: "key" });

export async function types(): Promise<void> {
  const session = await hubspot.connectSessions.create({ external_user_id: "user_42", metadata: { plan: { seats: [1, 2] } } });
  holds<Equal<typeof session, NewConnectSession>>();
  holds<Equal<typeof session.token, string>>();
  holds<Equal<typeof session.status, "open" | "awaiting_confirmation" | "connected" | "cancelled" | "expired">>();
  holds<Equal<typeof session.connection_id, string | null>>();
  await hubspot.connectSessions.create({ connection_id: session.id, confirm: "backend", return_url: "https://app.example.com/" });
  // @ts-expect-error a session is for a user or for a connection
  await hubspot.connectSessions.create({ scopes: ["oauth"] });
  // @ts-expect-error metadata is JSON
  await hubspot.connectSessions.create({ external_user_id: "user_42", metadata: { at: new Date() } });
  // @ts-expect-error metadata is an object
  await hubspot.connectSessions.create({ external_user_id: "user_42", metadata: ["plan"] });

  const { link } = await hubspot.connectSessions.createLink({ external_user_id: "user_42", requested_by: "Anna Smith" });
  holds<Equal<typeof link, string>>();
  await hubspot.connectSessions.createLink({ external_user_id: "user_42", return_url: "https://app.example.com/" });
  // @ts-expect-error a link is always confirmed
  await hubspot.connectSessions.createLink({ external_user_id: "user_42", confirm: "none" });

  const page = await hubspot.connections.list({ status: "needs_reauth", limit: 10 });
  holds<Equal<typeof page, Page<Connection>>>();
  // @ts-expect-error a status is one of four
  await hubspot.connections.list({ status: "gone" });
  const connection = await hubspot.connections.get("id");
  holds<Equal<typeof connection, ExplainedConnection>>();
  holds<Equal<typeof connection.metadata, JsonObject>>();
  holds<Equal<ConnectionStatus, "active" | "degraded" | "needs_reauth" | "integrity_error">>();

  const key = await hubspot.apiKey.get();
  holds<Equal<typeof key.scopes, ApiScope[]>>();
  holds<Equal<ApiScope, "tokens:read" | "connections:read" | "connections:write" | "sessions:write" | "proxy" | "webhooks">>();

  const webhook = await hubspot.webhooks.create({ url: "https://app.example.com/hooks", events: ["connection.created"] });
  holds<Equal<typeof webhook.secret, string>>();
  holds<Equal<typeof webhook.events, SubscribableEvent[] | null>>();
  // @ts-expect-error there is no such event
  await hubspot.webhooks.create({ url: "https://app.example.com/hooks", events: ["connection.gone"] });

  const { warnings } = await hubspot.connections.token("id", { minTtl: 300 });
  holds<Equal<(typeof warnings)[number]["code"], "expires_soon" | "scopes_missing" | "refresh_failing" | "portal_unknown">>();
  await hubspot.proxy("id", "/crm/v3/objects/contacts", { method: "POST", json: { properties: {} } });
}

export function receive(body: string, request: Request): string {
  const event: WebhookEvent = verifyWebhook(body, request.headers, "whsec_AAAA");
  switch (event.type) {
    case "install.unclaimed":
      return event.data.install_id;
    case "app.credentials_invalid":
      return event.data.client_id;
    case "webhook.test":
      return event.data.webhook_id;
    case "connect_session.awaiting_confirmation":
    case "connect_session.connected":
    case "connect_session.expired":
    case "connect_session.failed":
      return event.data.connect_session_id;
    default:
      return event.data.status === "disconnected" ? "" : event.data.connection_id;
  }
}
