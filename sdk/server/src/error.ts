import type { components } from "./schema.js";

type Schema = components["schemas"]["Problem"];

/** The stable codes of problems. */
export type ProblemCode = components["schemas"]["ProblemCode"];
/** The body of an error response (RFC 9457). */
export interface Problem extends Schema {}

/** A request that the service rejected, or that got no response (`code` is then `network_error`). */
export class HubSpotConnectError extends Error {
  override readonly name = "HubSpotConnectError";
  /** The stable code of the error, for programs. */
  readonly code: ProblemCode | "network_error" | "unexpected_answer";
  /** The HTTP status; 0 if there was no response. */
  readonly status: number;
  /** The id of the request in the service's log. */
  readonly requestId: string | undefined;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** Details about this request. */
  readonly hint: string | undefined;
  /** The invalid part of the body, as a JSON pointer (RFC 6901). */
  readonly pointer: string | undefined;
  /** The number of seconds after which to retry, if the service named one. */
  readonly retryAfter: number | undefined;

  constructor(status: number, problem: Partial<Problem>, options?: { cause?: unknown; retryAfter?: number | undefined }) {
    const words = [problem.title ?? "Unexpected response from the service", problem.hint ?? problem.detail];
    super(words.filter(Boolean).join(": "), options?.cause === undefined ? undefined : { cause: options.cause });
    this.status = status;
    this.code = problem.code ?? (status === 0 ? "network_error" : "unexpected_answer");
    this.requestId = problem.request_id;
    this.retryable = problem.retryable ?? status === 0;
    this.hint = problem.hint;
    this.pointer = problem.pointer;
    this.retryAfter = options?.retryAfter;
  }
}
