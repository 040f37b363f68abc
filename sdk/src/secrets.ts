/** Base64url (RFC 4648 section 5), without padding. */
function encode(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace("=", "");
}

/**
 * Returns a new secret: 432 random bits in 72 characters (RFC 7636 section 4.1 allows 128).
 *
 * `crypto.randomUUID` is younger than some embedded browsers.
 */
export function secret(): string {
  return encode(crypto.getRandomValues(new Uint8Array(54)));
}

/** Returns the challenge of a secret: S256 as in RFC 7636, in base64url. 43 characters. */
export async function challengeOf(text: string): Promise<string> {
  return encode(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}
