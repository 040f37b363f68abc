import { createRoot } from "react-dom/client";
import { useHubSpotConnect } from "hubspot-connect/react";

function ConnectToHubSpot() {
  const { connection, error, connect } = useHubSpotConnect({ service: "https://connect.example.com" });
  return (
    <>
      <button type="button" onClick={() => connect()}>Connect to HubSpot</button>
      <p role="status">{error ? error.message : connection && `Connected as ${connection.hubDomain ?? `account ${connection.portalId}`}.`}</p>
    </>
  );
}

createRoot(document.getElementById("root")).render(<ConnectToHubSpot />);
