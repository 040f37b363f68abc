import { createApp, ref } from "vue";
import "https://connect.example.com/static/sdk/hubspot-connect.js";

const app = createApp({
  // Here and not in the page: what stands in the page comes to life before Vue replaces it by its own.
  template: `
    <hubspot-connect service="https://connect.example.com" @connected="connected" @failed="failed"></hubspot-connect>
    <p v-if="account">The contacts of {{ account }} can be read now.</p>`,
  setup() {
    const account = ref("");
    return {
      account,
      connected: ({ detail: connection }) => { account.value = connection.hubDomain; },
      failed: ({ detail: error }) => { console.info(error.code); },
    };
  },
});
app.config.compilerOptions.isCustomElement = (tag) => tag === "hubspot-connect";
app.mount("#app");
