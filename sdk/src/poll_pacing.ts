import type { Answer } from "./wire.ts";

/** In milliseconds. */
const enum Span {
  /** The interval between two polls, so that a service that responds immediately is not polled without a pause. */
  Between = 500,
  Pause = 1_000,
  LongestPause = 10_000,
}

/**
 * Returns how long to wait after a response of the status endpoint before the next poll, in milliseconds.
 *
 * @param failures how many polls have failed in a row, with this one
 * @param etag the tag of the last status, if the page has been able to read one
 * @param took how long the poll has taken, in milliseconds
 */
export function pauseAfter({ status, rest }: Answer, failures: number, etag: string | null, took: number): number {
  const pause = failures ? Math.min(Span.Between * 2 ** failures, Span.LongestPause)
    // With a tag the service has already waited for a change. Without one, or without a status, it responds
    // immediately.
    : etag && status !== 404 ? Span.Between - took
    : Span.Pause;
  return Math.max(rest, pause);
}
