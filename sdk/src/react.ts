/** The module `hubspot-connect/react`. */
import { useEffect, useState, useSyncExternalStore } from "react";
import { Controller } from "./controller.ts";
import type * as api from "./react_api";

export const useHubSpotConnect: typeof api.useHubSpotConnect = ({ service, connection = null, readToken, ...options }) => {
  const [controller] = useState(() => new Controller(service, connection, readToken));
  const view = useSyncExternalStore(controller.subscribe, controller.read, controller.read);
  useEffect(() => controller.start(options), [controller]);
  return {
    ...view,
    connect: (more) => controller.connect({ ...options, ...more }),
    disconnect: () => controller.disconnect(),
  };
};
