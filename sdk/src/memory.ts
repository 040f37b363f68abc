/**
 * The stored state of an authorization request, with which a page resumes it after a reload or a redirect.
 *
 * It is in `sessionStorage`: limited to this tab and this origin.
 */
export interface Memo {
  verifier: string;
  flow?: string;
  startedAt: number;
  mode: "popup" | "redirect";
}

const key = (service: string) => `hubspot-connect:${service}`;

/** @returns whether it was stored: a sandboxed frame has no storage, and the browser's settings may forbid it. */
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
    // A missing entry reads as null.
    const memo = JSON.parse(sessionStorage.getItem(key(service)) as string);
    return memo?.verifier ? memo : null;
  } catch {
    return null;
  }
}

/** Removes this request; a later one that replaced it stays. */
export function forget(service: string, verifier?: string): void {
  const memo = recall(service);
  if (memo && (!verifier || memo.verifier === verifier)) sessionStorage.removeItem(key(service));
}

/**
 * A channel by which the pages of one origin notify each other of a change.
 *
 * @returns undefined if the browser denies it together with storage, as Firefox does in frames
 */
export function news(): BroadcastChannel | undefined {
  try {
    return new BroadcastChannel("hubspot-connect");
  } catch {
    // The page polls on its own, a little later.
  }
}
