/**
 * Returns a new secret: 288 random bits in 72 characters (RFC 7636 section 4.1 allows 128).
 *
 * `crypto.randomUUID` is younger than some embedded browsers.
 */
export function secret(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(36)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What may be shown of a secret before the secret itself: the S256 of RFC 7636, in base64url. 43 characters. */
export async function challengeOf(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return btoa(String.fromCharCode(...digest)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}
