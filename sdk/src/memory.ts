/**
 * What is kept of an attempt until it ends, so that a reload or the way back from a redirect can take it up.
 *
 * It lies in `sessionStorage`: of this tab, gone with it, and closed to other origins.
 */
export interface Memo {
  verifier: string;
  flow?: string;
  startedAt: number;
  mode: "popup" | "redirect";
}

const key = (service: string) => `hubspot-connect:${service}`;

/** @returns whether it is kept: a sandboxed frame has no storage, and neither has a browser that is told so. */
export function remember(service: string, memo: Memo): boolean {
  try {
    sessionStorage.setItem(key(service), JSON.stringify(memo));
    return true;
  } catch {
    return false;
  }
}

export function recall(service: string): Memo | null {
  try {
    // What is not there reads as null.
    const memo = JSON.parse(sessionStorage.getItem(key(service)) as string);
    return memo?.verifier ? memo : null;
  } catch {
    return null;
  }
}

/** Forgets this attempt; a later one that has taken its place stays. */
export function forget(service: string, verifier?: string): void {
  const memo = recall(service);
  if (memo && (!verifier || memo.verifier === verifier)) sessionStorage.removeItem(key(service));
}

/**
 * Through this the pages of one origin tell each other that there is something to ask for.
 *
 * @returns undefined where the browser refuses it with everything that is stored, as Firefox does in frames
 */
export function news(): BroadcastChannel | undefined {
  try {
    return new BroadcastChannel("hubspot-connect");
  } catch {
    // The page asks by itself, a little later.
  }
}
