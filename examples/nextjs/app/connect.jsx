"use client";
import { useHubSpotConnect } from "hubspot-connect/react";
import { confirmConnectSession, createConnectSession } from "./actions";

/** The button. `known` is the connection that the server has found. */
export function ConnectToHubSpot({ service, known }) {
  const { state, connection, error, connect } = useHubSpotConnect({
    service, connection: known, connectSession: createConnectSession, onConfirm: confirmConnectSession,
  });
  const account = connection && (connection.hubDomain ?? `account ${connection.portalId}`);
  const status = error?.message ?? (state === "needs_reauth" ? `${account} has to be connected again` : account && `Connected as ${account}`);
  return (
    <>
      <button type="button" onClick={() => connect()}>{connection ? "Reconnect" : "Connect to HubSpot"}</button>
      <p role="status">{status}</p>
    </>
  );
}
