/**
 * Returns a signal that aborts after so many milliseconds: `AbortSignal.timeout` is younger than some
 * supported browsers.
 * @param {number} ms
 * @returns {AbortSignal}
 */
export function timeLimit(ms) {
  const controller = new AbortController();
  window.setTimeout(() => controller.abort(), ms);
  return controller.signal;
}
