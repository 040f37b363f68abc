// A page in React 19, as its author's compiler sees it.
import { useRef } from "react";
import type {} from "hubspot-connect/react";
import type { HubSpotConnectElement } from "hubspot-connect/element";
import "hubspot-connect/element";

export function Page() {
  const button = useRef<HubSpotConnectElement>(null);
  return (
    <hubspot-connect
      ref={button}
      className="wide"
      service="https://connect.example.com"
      portal-id={1234567}
      fallback="redirect"
      onconnected={({ detail }) => console.log(detail.portalId, button.current?.state === "connected")}
      onstatechange={({ detail }) => console.log(detail === "waiting")}
      onfailed={({ detail }) => console.log(detail.code, detail.retryable)}
    />
  );
}

// @ts-expect-error there is no such fallback
export const wrong = <hubspot-connect service="https://connect.example.com" fallback="popup" />;
// @ts-expect-error there is no such attribute
export const unknown = <hubspot-connect portalId={7} />;
