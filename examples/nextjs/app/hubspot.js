import "server-only";
import { HubSpotConnect } from "@hubspot-connect/server";

export const SERVICE = "https://connect.example.com";
export const CONTACTS = "/crm/v3/objects/contacts";

export const hubspot = new HubSpotConnect({ service: SERVICE, apiKey: process.env.HUBSPOT_CONNECT_API_KEY });

/** The last event of each user. It is global because Next.js bundles pages and route handlers separately. */
export const events = (globalThis.events ??= new Map());

/** Returns the newest connection of a user. */
export async function connectionOf(user) {
  const { data: [connection] } = await hubspot.connections.list({ external_user_id: user, order: "desc", limit: 1 });
  return connection;
}
