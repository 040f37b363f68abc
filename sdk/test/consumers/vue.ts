// The types that a template compiler for Vue 3 looks up.
import type { GlobalComponents } from "vue";
import { useHubSpotConnect } from "hubspot-connect/vue";
import "hubspot-connect/element";

type Props = InstanceType<GlobalComponents["hubspot-connect"]>["$props"];

export const props: Props = {
  class: "wide",
  service: "https://connect.example.com",
  "portal-id": 1234567,
  onConnected: ({ detail }) => console.log(detail.hubDomain),
  onStatechange: ({ detail }) => console.log(detail === "waiting"),
  onFailed: ({ detail }) => console.log(detail.code === "invalid_option"),
};

const { state, connection, error, connect } = useHubSpotConnect({ service: "https://connect.example.com", connection: null });
export const shown: string | null | undefined = state.value === "connected" ? connection.value?.hubDomain : error.value?.code;
export const made: Promise<number | null | undefined> = connect().then((one) => one?.portalId);
// @ts-expect-error the view is read-only
state.value = "idle";
// @ts-expect-error there is no such fallback
export const wrong: Props = { fallback: "popup" };
