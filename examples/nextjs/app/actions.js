"use server";
// Next.js refuses a Server Action whose Origin is another site's (CSRF).
import { refresh } from "next/cache";
import { connectionOf, CONTACTS, hubspot } from "./hubspot";
import { currentUser, setCurrentUser } from "./user";

const SCOPES = ["oauth", "crm.objects.contacts.read", "crm.objects.contacts.write"];

async function requireUser() {
  const user = await currentUser();
  if (!user) throw new Error("Not logged in");
  return user;
}

export async function logIn(form) {
  await setCurrentUser(form.get("name"));
}

export async function createConnectSession() {
  const { token } = await hubspot.connectSessions.create({
    external_user_id: await requireUser(), scopes: SCOPES, confirm: "backend",
  });
  return token;
}

export async function confirmConnectSession({ connectSessionId }) {
  const user = await requireUser();
  const session = await hubspot.connectSessions.get(connectSessionId);
  // Another user's session must not be completed: that would end it.
  if (session.external_user_id !== user) throw new Error("The connect session is another user's");
  await hubspot.connectSessions.complete(session.id, user);
  refresh();
}

export async function addContact(form) {
  const connection = await connectionOf(await requireUser());
  if (!connection) throw new Error("Not connected");
  const properties = { email: form.get("email") };
  const response = await hubspot.proxy(connection.id, CONTACTS, { method: "POST", json: { properties } });
  if (!response.ok) throw new Error(`HubSpot answered ${response.status}`);
  refresh();
}
