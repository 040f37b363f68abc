// The complete code of a host page: open the popup in the click, trust one origin and one window, show the outcome.
const service = document.body.dataset.service;
const byId = (id) => document.getElementById(id);
let popup = null;

byId("connect").addEventListener("click", () => {
  const start = `${service}/auth/hubspot/start?origin=${encodeURIComponent(location.origin)}`;
  popup = window.open(start, `hsc_${crypto.randomUUID()}`, "popup,width=600,height=700");
  byId("status").textContent = popup ? "Continue in the window that opened." : "Your browser blocked the window.";
});

window.addEventListener("message", (event) => {
  if (event.origin !== service || event.source !== popup || event.data?.version !== 1) return;
  if (event.data.type === "hubspot_auth_success") show(event.data);
  if (event.data.type === "hubspot_auth_error") byId("status").textContent = event.data.error.message;
});

function show(connection) {
  byId("status").textContent = "Connected.";
  byId("account").textContent = `${connection.hub_domain ?? "account"} (${connection.portal_id})`;
  byId("scopes").textContent = connection.scopes?.join(", ") ?? "not known yet";
  byId("token").textContent = connection.access_token ? `${connection.access_token.slice(0, 8)}…` : "stays with the service";
  byId("expires").textContent = new Date(connection.expires_at).toLocaleTimeString();
  byId("result").hidden = false;
  byId("manage").href = service;
  byId("manage").hidden = false;
}
