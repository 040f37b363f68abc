import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { HubSpotConnect } from "https://connect.example.com/static/sdk/hubspot-connect.js";

// Outside of the component: one for the page, whatever is rendered how often.
const hubspot = new HubSpotConnect({ service: "https://connect.example.com" });

function ConnectToHubSpot() {
  const [connection, setConnection] = useState(null);
  const [error, setError] = useState(null);

  const follow = (result) => {
    setError(null);
    result.then(setConnection, setError);
  };
  // A reload may have interrupted an attempt.
  useEffect(() => follow(hubspot.resume()), []);

  return (
    <>
      <button type="button" onClick={() => follow(hubspot.connect())}>Connect to HubSpot</button>
      <p role="status">{error ? error.message : connection && `Connected as ${connection.hubDomain}.`}</p>
    </>
  );
}

createRoot(document.getElementById("root")).render(<ConnectToHubSpot />);
