/** The module `hubspot-connect/vue`. */
import { computed, onMounted, onUnmounted, shallowRef } from "vue";
import { Controller } from "./controller.ts";
import type * as api from "./vue_api";

export const useHubSpotConnect: typeof api.useHubSpotConnect = ({ service, connection = null, readToken, ...options }) => {
  const controller = new Controller(service, connection, readToken);
  const view = shallowRef(controller.view);
  let stop: (() => void) | undefined;
  controller.subscribe(() => { view.value = controller.view; });
  onMounted(() => { stop = controller.start(options); });
  onUnmounted(() => stop?.());
  return {
    state: computed(() => view.value.state),
    connection: computed(() => view.value.connection),
    error: computed(() => view.value.error),
    connect: (more) => controller.connect({ ...options, ...more }),
    disconnect: () => controller.disconnect(),
  };
};
