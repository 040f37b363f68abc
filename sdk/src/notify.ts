/**
 * Calls a callback of the host page. An error that it throws is reported as an uncaught error of the page and does not
 * interrupt the caller.
 */
export function notify<T extends unknown[]>(callback: ((...args: T) => void) | undefined, ...args: T): void {
  try {
    callback?.(...args);
  } catch (error) {
    // `reportError` would do the same, but jsdom does not have it.
    queueMicrotask(() => { throw error; });
  }
}
