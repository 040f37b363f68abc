import { HubSpotConnect } from "https://connect.example.com/static/sdk/hubspot-connect.js";

const hubspot = new HubSpotConnect({ service: "https://connect.example.com" });
const outcome = document.querySelector("#outcome");

async function show(result) {
  try {
    const connection = await result;
    if (connection) outcome.textContent = `Connected as ${connection.hubDomain ?? `account ${connection.portalId}`}.`;
  } catch (error) {
    outcome.textContent = error.message;
  }
}

// First in the click handler: browsers block popups that open later.
document.querySelector("#connect").onclick = () => show(hubspot.connect());
// A reload may have interrupted a flow.
show(hubspot.resume());
