// The backend in Express: a login, connect sessions, contacts through the proxy, webhooks.
import { HubSpotConnect, HubSpotConnectError, verifyWebhook, WebhookVerificationError } from "@hubspot-connect/server";
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

function requireLogin(request, response, next) {
  if (userOf(request) === null) response.sendStatus(401);
  else next();
}

/** Refuses requests of other sites' pages, which have the cookies of this one (CSRF). */
function requireSameOrigin(request, response, next) {
  const site = request.get("sec-fetch-site");
  const isOwn = site ? site === "same-origin" : request.get("origin") === `${request.protocol}://${request.host}`;
  if (isOwn) next();
  else response.sendStatus(403);
}

function requireJson(request, response, next) {
  if (request.is("application/json")) next();
  else response.sendStatus(415);
}

/** The middleware of each route by which the page acts for the user who is logged in. */
const action = [requireLogin, requireSameOrigin, requireJson, express.json()];

async function connectionsOf(user) {
  const { data } = await hubspot.connections.list({ external_user_id: user, order: "desc" });
  return data;
}

const app = express();

app.get("/", (request, response) => response.sendFile("index.html", { root: import.meta.dirname }));

app.post("/login", requireSameOrigin, express.urlencoded(), (request, response) => {
  const login = randomUUID();
  logins.set(login, request.body.name);
  response.cookie("login", login, { httpOnly: true, sameSite: "lax" }).redirect(303, "/");
});

app.get("/me", async (request, response) => {
  const user = userOf(request);
  const connections = user === null ? [] : await connectionsOf(user);
  response.json({ user, connections, event: events.get(user) ?? null });
});

app.post("/hubspot/session", action, async (request, response) => {
  response.json(await hubspot.connectSessions.create({ external_user_id: userOf(request), scopes: SCOPES }));
});

/** Calls HubSpot with the newest connection of a user, and answers with the result of `read` on the response. */
async function callHubSpot(request, response, path, init, read) {
  const [connection] = await connectionsOf(userOf(request));
  if (!connection) return response.sendStatus(404);
  const answer = await hubspot.proxy(connection.id, path, init);
  if (!answer.ok) return response.sendStatus(502);
  response.json(read(await answer.json()));
}

app.get("/contacts", requireLogin, (request, response) =>
  callHubSpot(request, response, `${CONTACTS}?limit=10&properties=email`, {}, ({ results }) => results.map(({ properties }) => properties.email)));

app.post("/contacts", action, (request, response) =>
  callHubSpot(request, response, CONTACTS, { method: "POST", json: { properties: { email: request.body.email } } }, ({ id }) => id));

if (HUBSPOT_CONNECT_WEBHOOK_SECRET) {
  // The raw body: a parsed one cannot be verified.
  app.post("/hooks/hubspot", express.raw({ type: "application/json" }), (request, response) => {
    const { type, data } = verifyWebhook(request.body, request.headers, HUBSPOT_CONNECT_WEBHOOK_SECRET);
    if (data.external_user_id) events.set(data.external_user_id, type);
    response.sendStatus(204);
  });
}

app.use((error, request, response, next) => {
  if (error instanceof WebhookVerificationError) response.sendStatus(401);
  else if (error instanceof HubSpotConnectError) response.status(error.status >= 400 ? error.status : 502).json({ code: error.code });
  else next(error);
});

app.listen(Number(PORT), "127.0.0.1");
