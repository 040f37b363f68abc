// Shows the connection; the element does the rest.
const byId = (id) => document.getElementById(id);

function show({ detail: connection }) {
  byId("account").textContent = `${connection.hubDomain ?? "account"} (${connection.portalId})`;
  byId("scopes").textContent = connection.scopes?.join(", ") ?? "not known yet";
  byId("token").textContent = connection.accessToken ? `${connection.accessToken.slice(0, 8)}…` : "stays with the service";
  byId("expires").textContent = connection.expiresAt ? new Date(connection.expiresAt).toLocaleTimeString() : "";
  byId("result").hidden = false;
  byId("manage").href = document.body.dataset.service;
  byId("manage").hidden = false;
}

for (const name of ["connected", "reconnected"]) byId("hubspot").addEventListener(name, show);
