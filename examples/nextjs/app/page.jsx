import { addContact, logIn } from "./actions";
import { ConnectToHubSpot } from "./connect";
import { connectionOf, CONTACTS, events, hubspot, SERVICE } from "./hubspot";
import { currentUser } from "./user";

export default async function Page() {
  const user = await currentUser();
  if (!user) return (
    <form action={logIn}>
      <label>Name <input name="name" required /></label> <button>Log in</button>
    </form>
  );
  const connection = await connectionOf(user);
  const known = connection && { portalId: connection.portal_id, hubDomain: connection.hub_domain, status: connection.status };
  return (
    <main>
      <p>Logged in as {user}.</p>
      <ConnectToHubSpot service={SERVICE} known={known} />
      {["active", "degraded"].includes(connection?.status) && <Contacts connection={connection} />}
      <p>Last event: {events.get(user) ?? "none"}</p>
    </main>
  );
}

async function Contacts({ connection }) {
  const response = await hubspot.proxy(connection.id, `${CONTACTS}?limit=10&properties=email`);
  if (!response.ok) return <p>HubSpot answered {response.status}.</p>;
  const { results } = await response.json();
  return (
    <>
      <h2>Contacts</h2>
      <ul>{results.map(({ id, properties }) => <li key={id}>{properties.email}</li>)}</ul>
      <form action={addContact}>
        <label>E-mail address <input name="email" type="email" required /></label> <button>Add</button>
      </form>
    </>
  );
}
