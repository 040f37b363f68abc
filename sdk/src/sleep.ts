/** Waits this many milliseconds, or until the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<unknown> {
  return new Promise<unknown>((done) => {
    if (signal?.aborted) done(0);
    // Not cleared on abort: it then resolves a promise that is resolved already.
    setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
