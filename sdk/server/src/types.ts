/** The types of requests and responses, under names that an editor shows. */
import type { components, operations } from "./schema.js";
import type { WebhookEvent } from "./webhook.js";

type Schemas = components["schemas"];
/** A schema, as something that an interface can extend. */
type Schema<Name extends keyof Schemas> = Schemas[Name];
type Query<Operation extends keyof operations> = NonNullable<operations[Operation]["parameters"]["query"]>;

export type JsonValue = string | number | boolean | null | JsonValue[] | { [name: string]: JsonValue };
/** A JSON object of your own. */
export interface JsonObject {
  [name: string]: JsonValue;
}

export type ApiScope = Schemas["ApiScope"];
export type ConnectionStatus = Schemas["ConnectionStatus"];
export type ConnectSessionStatus = Schemas["ConnectSessionStatus"];
export type DeliveryStatus = Schemas["DeliveryStatus"];
export type EventType = Schemas["EventType"];
export type Revocation = Schemas["Revocation"];
/** The events that an endpoint can subscribe to. */
export type SubscribableEvent = Exclude<EventType, "webhook.test">;
/** The known warnings about an access token. */
export type WarningCode = "expires_soon" | "scopes_missing" | "refresh_failing" | "portal_unknown";

/** A page of a list. Pass `next_cursor` as `cursor` for the next page; it is null on the last one. */
export interface Page<T> {
  data: T[];
  next_cursor: string | null;
}

/** The API key of the client, without its secret. */
export interface ApiKey extends Schema<"ApiKeyBody"> {}

type SessionFields = Omit<Schemas["CreateConnectSession"], "external_user_id" | "connection_id" | "metadata" | "hosted">;
type LinkFields = Omit<SessionFields, "confirm">;
interface Metadata {
  /** A JSON object of up to 4 kB, stored with the connection. */
  metadata?: JsonObject | null;
}
interface ForUser {
  /** Your id of the user who will own the connection. */
  external_user_id: string;
  /** Reconnects this connection, with the same account and no other. */
  connection_id?: string | null;
}
interface ForConnection {
  /** Reconnects this connection, with the same account and no other. */
  connection_id: string;
  /** Your id of the user. */
  external_user_id?: string | null;
}
export interface CreateUserSession extends SessionFields, Metadata, ForUser {}
export interface CreateReconnectSession extends SessionFields, Metadata, ForConnection {}
/** A new connect session: for a user, or for a connection of theirs. */
export type CreateConnectSession = CreateUserSession | CreateReconnectSession;
export interface CreateUserLink extends LinkFields, Metadata, ForUser {}
export interface CreateReconnectLink extends LinkFields, Metadata, ForConnection {}
/** A new connect session that another user opens by a link. */
export type CreateConnectLink = CreateUserLink | CreateReconnectLink;

/** The grant that awaits your confirmation. */
export interface AwaitingGrant extends Schema<"Awaiting"> {}
export interface ConnectSession extends Schema<"ConnectSessionBody"> {
  awaiting: AwaitingGrant | null;
}
export interface NewConnectSession extends ConnectSession {
  /** The token that your page passes to the browser SDK. Keep it out of URLs and logs. */
  token: string;
}
export interface NewConnectLink extends ConnectSession {
  /** The link for the user who authorizes. The part after the `#` is a secret. */
  link: string;
}

export interface CreateReadToken extends Omit<Schema<"CreateReadToken">, "expires_in"> {
  /** Seconds, 60 to 86400; an hour if omitted. */
  expires_in?: number | null;
}
export interface NewReadToken extends Schema<"NewReadToken"> {}

export interface Connection extends Omit<Schema<"ConnectionBody">, "metadata"> {
  /** The metadata of the connect session. */
  metadata: JsonObject;
}
export interface ExplainedConnection extends Connection {
  /** Sentences for troubleshooting: what happened and what will happen next. */
  explanation: string[];
}
export interface ImportConnection extends Omit<Schema<"ImportConnection">, "metadata">, Metadata {}
export interface ConnectionChanges {
  /** A JSON object of up to 4 kB, which replaces the previous one. */
  metadata: JsonObject;
}
export interface HistoryEvent extends Schema<"HistoryEvent"> {}
export interface RefreshedConnection extends Schema<"RefreshBody"> {}
export interface Disconnected extends Schema<"Disconnected"> {}
export interface Uninstalled extends Schema<"UninstallBody"> {}

/** An access token of HubSpot, for `Authorization: Bearer`. */
export interface AccessToken extends Omit<Schema<"TokenBody">, "token_type" | "warnings"> {
  token_type: "bearer";
  /** Reasons not to rely on the token; usually empty. */
  warnings: Warning[];
}
export interface Warning extends Omit<Schema<"WarningBody">, "code"> {
  code: WarningCode;
}

/** An unclaimed install from HubSpot's Marketplace. */
export interface Install extends Schema<"InstallBody"> {}
export interface ClaimInstall extends Omit<Schema<"InstallClaim">, "metadata">, Metadata {}
export interface ClaimedInstall extends Schema<"ClaimedInstallBody"> {}

/** The header fields that are sent with each message. */
export interface WebhookHeaders {
  [name: string]: string;
}
export interface NewWebhook extends Omit<Schema<"NewWebhook">, "headers"> {
  /** Header fields that are sent with each message, such as `authorization`. They are never returned. */
  headers?: WebhookHeaders;
}
export interface WebhookChanges extends Omit<Schema<"WebhookChanges">, "headers"> {
  /** Header fields that are sent with each message. They replace all previous ones. */
  headers?: WebhookHeaders | null;
}
export interface Webhook extends Omit<Schema<"WebhookBody">, "events" | "disabled_reason"> {
  /** The subscribed events; null for all but `connection.refreshed`. */
  events: SubscribableEvent[] | null;
  disabled_reason: "gone" | "by_request" | "key_lost" | null;
}
export interface WebhookWithSecret extends Webhook {
  /** The signing secret, for `verifyWebhook`. It is never shown again. */
  secret: string;
}
export interface Delivery extends Schema<"DeliveryBody"> {}
export interface DeliveryWithPayload extends Delivery {
  /** The message, as sent to the receiver. */
  payload: JsonObject;
}
/** An event of the project of the API key. */
export interface Event extends Omit<Schema<"EventBody">, "payload"> {
  /** The message, as sent by webhooks. */
  payload: WebhookEvent;
}
export type ReplayFilter = Schemas["ReplayFilter"];
export interface ReplayedDeliveries extends Schema<"ReplayedDeliveries"> {}

export interface ListConnections extends Query<"list_connections"> {}
export interface ListConnectSessions extends Query<"list_connect_sessions"> {}
export interface ListHistory extends Query<"get_connection_history"> {}
export interface ListInstalls extends Query<"list_installs"> {}
export interface ListWebhooks extends Query<"list_webhooks"> {}
export interface ListEvents extends Query<"list_events"> {}
export interface ListDeliveries extends Query<"list_webhook_deliveries"> {}
