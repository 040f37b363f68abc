// The backend in Express: a login, connect sessions, contacts through the proxy, webhooks.
import { HubSpotConnect, verifyWebhook, WebhookVerificationError } from "@hubspot-connect/server";
import express from "express";
import { randomUUID } from "node:crypto";

const { HUBSPOT_CONNECT_API_KEY, HUBSPOT_CONNECT_WEBHOOK_SECRET, PORT = "3000" } = process.env;
const hubspot = new HubSpotConnect({ service: "https://connect.example.com", apiKey: HUBSPOT_CONNECT_API_KEY });

const CONTACTS = "/crm/v3/objects/contacts";
const SCOPES = ["oauth", "crm.objects.contacts.read", "crm.objects.contacts.write"];

/** The user of each login, by its cookie. Your application has its own login. */
const logins = new Map();
/** The last event of each user. */
const events = new Map();

function userOf(request) {
  const cookies = new URLSearchParams(request.headers.cookie?.replaceAll("; ", "&"));
  return logins.get(cookies.get("login")) ?? null;
}

function needsLogin(request, response, next) {
  if (userOf(request) === null) response.sendStatus(401);
  else next();
}

async function connectionsOf(user) {
  const { data } = await hubspot.connections.list({ external_user_id: user });
  return data;
}

const app = express();

app.get("/", (request, response) => response.sendFile("index.html", { root: import.meta.dirname }));

app.post("/login", express.urlencoded(), (request, response) => {
  const login = randomUUID();
  logins.set(login, request.body.name);
  response.cookie("login", login, { httpOnly: true, sameSite: "lax" }).redirect(303, "/");
});

app.get("/me", async (request, response) => {
  const user = userOf(request);
  const connections = user === null ? [] : await connectionsOf(user);
  response.json({ user, connections, event: events.get(user) ?? null });
});

app.post("/hubspot/session", needsLogin, async (request, response) => {
  const { token } = await hubspot.connectSessions.create({ external_user_id: userOf(request), scopes: SCOPES });
  response.type("text/plain").send(token);
});

/** Calls HubSpot for the user of a request, and answers with what `read` makes of the response. */
async function callHubSpot(request, response, path, init, read) {
  const [connection] = await connectionsOf(userOf(request));
  if (!connection) return response.sendStatus(404);
  const answer = await hubspot.proxy(connection.id, path, init);
  if (!answer.ok) return response.sendStatus(502);
  response.json(read(await answer.json()));
}

app.get("/contacts", needsLogin, (request, response) =>
  callHubSpot(request, response, `${CONTACTS}?limit=10&properties=email`, {}, ({ results }) => results.map(({ properties }) => properties.email)));

app.post("/contacts", needsLogin, express.urlencoded(), (request, response) =>
  callHubSpot(request, response, CONTACTS, { method: "POST", json: { properties: { email: request.body.email } } }, ({ id }) => id));

// The raw body: a parsed one cannot be verified.
app.post("/hooks/hubspot", express.raw({ type: "application/json" }), (request, response) => {
  const event = verifyWebhook(request.body, request.headers, HUBSPOT_CONNECT_WEBHOOK_SECRET);
  if ("external_user_id" in event.data) events.set(event.data.external_user_id, event.type);
  response.sendStatus(204);
});

app.use((error, request, response, next) => {
  if (error instanceof WebhookVerificationError) response.sendStatus(401);
  else next(error);
});

app.listen(Number(PORT), "127.0.0.1");
