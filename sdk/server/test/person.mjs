// A user who connects, as a browser would do it: the host page's form, HubSpot's consent, the callback.
import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";

const navigation = { "sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "cross-site", "sec-fetch-user": "?1" };

/** Sends one request as a window does. `fetch` would set `Sec-Fetch-Mode` itself, to another value. */
function open(url, headers, form) {
  return new Promise((resolve, reject) => {
    const body = form ? new URLSearchParams(form).toString() : undefined;
    const kind = form ? { "content-type": "application/x-www-form-urlencoded", "content-length": Buffer.byteLength(body) } : {};
    const sent = request(url, { method: form ? "POST" : "GET", headers: { ...navigation, ...kind, ...headers } }, async (answer) => {
      let text = "";
      for await (const part of answer) text += part;
      resolve({ status: answer.statusCode, location: answer.headers.location ?? "", cookies: answer.headers["set-cookie"] ?? [], text });
    });
    sent.on("error", reject).end(body);
  });
}

/** Connects with a connect session's token. HubSpot must approve by itself. */
export async function connect(service, origin, token) {
  const challenge = createHash("sha256").update(randomBytes(32).toString("base64url")).digest("base64url");
  const launch = await open(`${service}/auth/hubspot/start`, { origin }, { origin, challenge, connect_session: token });
  if (launch.status !== 200) throw new Error(`start: ${launch.status} ${launch.text}`);
  const cookie = launch.cookies.map((line) => line.split(";")[0]).join("; ");
  const address = /data-authorize-url="([^"]+)"/.exec(launch.text)[1].replaceAll("&amp;", "&").replaceAll("&#x2F;", "/");
  const consent = await open(address, {});
  const back = await open(consent.location, { cookie });
  if (back.status !== 303 || back.location.includes("problem=")) throw new Error(`callback: ${back.status} ${back.location}`);
}
