/** Waits this many milliseconds, or until the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise<void>((done) => {
    if (signal?.aborted) done();
    // Not cleared on abort: it then resolves a promise that is resolved already.
    setTimeout(done, ms);
    signal?.addEventListener("abort", () => done());
  });
}
