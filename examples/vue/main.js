import { createApp } from "vue";
import { useHubSpotConnect } from "hubspot-connect/vue";

createApp({
  template: `
    <button type="button" @click="connect()">Connect to HubSpot</button>
    <p role="status">{{ error ? error.message : connection ? \`Connected as \${connection.hubDomain ?? "account " + connection.portalId}.\` : "" }}</p>`,
  setup: () => useHubSpotConnect({ service: "https://connect.example.com" }),
}).mount("#app");
