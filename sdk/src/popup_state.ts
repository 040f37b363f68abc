/**
 * The state of the popup of an authorization request.
 *
 * `closed === false` is certain: the window is open and within reach. `closed === true` is not. It reads the same for
 * a window that the user has closed and for one that a Cross-Origin-Opener-Policy has cut off while the user is still
 * signing in, at whatever time that happens. So a window that reads as closed is lost, which ends nothing: no action
 * of this machine cancels an authorization request, and it fails only where no result could reach the page any more.
 * The one exception is a popup that has not left its empty page: no policy can have cut that off, so it is closed.
 */
import type { ConnectState, ErrorCode } from "./api";

export interface PopupState {
  /** `none`: this page has opened none, or a reload has lost it. */
  readonly window: "none" | "open" | "lost";
  /** The number of consecutive readings of `closed` as true. */
  readonly readings: number;
  /** The popup has left its empty page for the service. */
  readonly sent: boolean;
  /** The user has come back from HubSpot. */
  readonly completing: boolean;
  /** The popup has sent a message. */
  readonly heard: boolean;
  /** The service has responded for this authorization request. */
  readonly known: boolean;
  /** The page's policy forbids requests to the service. */
  readonly muted: boolean;
  /** The popup has an opener, and so can send messages. */
  readonly canHear: boolean;
  /** The number of ticks for which the popup and the service may both stay silent. Below zero the page gives up. */
  readonly patience: number;
}

export type PopupEvent = "reads_open" | "reads_closed" | "heard" | "known" | "muted" | "tick" | "sent" | "completing";

/** `ask`: poll now. */
export type PopupAction = "ask" | { readonly fail: ErrorCode };

/** Readings before a lost popup counts: a message that was sent before the loss is still on its way. */
export const REPORT_AFTER = 4;

/** The time between two ticks, in milliseconds. Silence is counted in ticks because a frozen page has none. */
export const enum Clock {
  Tick = 500,
}

/** In ticks. */
export const enum Patience {
  /** As long as neither the popup nor the service has been heard from: three minutes. */
  Unheard = 360,
  /** Once either has been: a quarter of an hour. The service itself says when an authorization request has expired. */
  Heard = 1_800,
  /** For the first answer about an old authorization request that the page resumes: ten seconds. */
  Least = 20,
}

/**
 * @param age how long ago the authorization request was started, in milliseconds
 * @param completing a redirect has come back
 */
export function initial(window: "none" | "open", canHear: boolean, age = 0, completing = false): PopupState {
  const patience = Math.max(Patience.Unheard - age / Clock.Tick, Patience.Least);
  // A popup that a reload has lost may be open or closed.
  const sent = window === "none";
  return { window, readings: sent ? REPORT_AFTER : 0, sent, completing, heard: false, known: false, muted: false, canHear, patience };
}

/** Returns what the host page may show. */
export function stateOf({ sent, completing, readings }: PopupState): ConnectState {
  return completing ? "completing" : !sent ? "opening" : readings >= REPORT_AFTER ? "perhaps_closed" : "waiting";
}

export function next(state: PopupState, event: PopupEvent): [PopupState, PopupAction?] {
  switch (event) {
    case "heard":
    case "known":
      return [{ ...state, [event]: true, patience: Patience.Heard }];
    case "sent":
    case "completing":
      return [{ ...state, [event]: true }];
    case "tick":
      return [{ ...state, patience: state.patience - 1 }];
    case "muted":
      state = { ...state, muted: true };
      // Neither messages nor polls can bring a result.
      return state.window === "open" && !state.canHear ? [state, { fail: "csp_blocked" }] : [state];
    case "reads_open":
      return state.window === "lost" ? [{ ...state, window: "open", readings: 0 }] : [state];
    case "reads_closed": {
      if (state.window === "none") return [state];
      if (!state.sent) return [state, { fail: "closed" }];
      state = { ...state, window: "lost", readings: state.readings + 1 };
      if (state.muted && state.readings >= REPORT_AFTER) return [state, { fail: state.heard ? "closed" : "csp_blocked" }];
      return state.readings === 1 ? [state, "ask"] : [state];
    }
  }
}

/** Returns the error for an authorization request without news for too long. */
export function silenceCode({ window, heard, known, muted }: PopupState, framed: boolean, unavailable: boolean): ErrorCode {
  if (!heard && !known) {
    if (muted) return "csp_blocked";
    if (window === "lost" && framed) return "sandboxed_iframe";
  }
  return unavailable ? "service_unavailable" : "timeout";
}
