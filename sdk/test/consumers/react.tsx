// A page in React 19, as its author's compiler sees it.
import { useRef } from "react";
import { useHubSpotConnect } from "hubspot-connect/react";
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
      state="connected"
      hub-domain="acme.example"
      session-url="/hubspot/session"
      text-perhaps_closed="Noch da?"
      connection={null}
      ondisconnected={({ detail }) => console.log(detail.hubDomain)}
      onconnected={({ detail }) => console.log(detail.portalId, button.current?.state === "connected")}
      onstatechange={({ detail }) => console.log(detail === "waiting")}
      onfailed={({ detail }) => console.log(detail.code, detail.retryable)}
    />
  );
}

export function Hook() {
  const { state, connection, error, connect, disconnect } = useHubSpotConnect({
    service: "https://connect.example.com",
    connection: { portalId: 1234567, hubDomain: "acme.example" },
    connectSession: async () => "token",
  });
  return (
    <>
      <button type="button" disabled={state === "completing"} onClick={() => connect({ portalId: 7 }).then((made) => made?.connectionId)}>Connect</button>
      <button type="button" onClick={() => void disconnect()}>Disconnect {connection?.hubDomain}</button>
      {error && error.code === "user_denied" && error.message}
    </>
  );
}

// @ts-expect-error a page does not know its service
export const without = () => useHubSpotConnect({});
// @ts-expect-error there is no such fallback
export const wrong = <hubspot-connect service="https://connect.example.com" fallback="popup" />;
// @ts-expect-error there is no such attribute
export const unknown = <hubspot-connect portalId={7} />;
