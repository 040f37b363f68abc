/** A secret that nobody can guess: two random UUIDs, 244 random bits in 72 characters (RFC 7636 section 4.1 allows 128). */
export function secret(): string {
  return crypto.randomUUID() + crypto.randomUUID();
}

/** What may be shown of a secret before the secret itself: the S256 of RFC 7636, in base64url. 43 characters. */
export async function challengeOf(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return btoa(String.fromCharCode(...digest)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
}
