import type { components } from "./schema.js";

/** The stable codes of problems. */
export type ProblemCode = components["schemas"]["ProblemCode"];
/** An answer that is not what was asked for (RFC 9457). */
export type Problem = components["schemas"]["Problem"];

/** The service has refused a request, or could not be reached (`code` is `network_error` then). */
export class HubSpotConnectError extends Error {
  override readonly name = "HubSpotConnectError";
  /** What programs go by. */
  readonly code: ProblemCode | "network_error" | "unexpected_answer";
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;
  /** What the operator finds in the log. */
  readonly requestId: string | undefined;
  /** Whether the same request may succeed later. */
  readonly retryable: boolean;
  /** What is wrong with this very request. */
  readonly hint: string | undefined;
  /** The part of the body that is wrong, as a JSON pointer (RFC 6901). */
  readonly pointer: string | undefined;
  /** After how many seconds to try again, where the service has said so. */
  readonly retryAfter: number | undefined;

  constructor(status: number, problem: Partial<Problem>, options?: { cause?: unknown; retryAfter?: number | undefined }) {
    const words = [problem.title ?? "The service's answer makes no sense", problem.hint ?? problem.detail];
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
