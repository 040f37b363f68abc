// The state of the popup: every order of events, and their allowed actions.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { load } from "./load.mjs";

const { Clock, initial, next, Patience, REPORT_AFTER, silenceCode, stateOf } = await load("popup_state");
const EVENTS = ["reads_open", "reads_closed", "heard", "known", "muted", "completing"];
const LENGTH = 6;

/** A popup that has left its empty page. */
const open = (canHear) => next(initial("open", canHear), "sent")[0];

/** @returns the last state, and the actions in their order; nothing happens after a failure */
function play(events, state = open(true)) {
  const actions = [];
  const shown = [stateOf(state)];
  for (const event of events) {
    const [after, action] = next(state, event);
    state = after;
    if (action) actions.push(action);
    if (shown.at(-1) !== stateOf(state)) shown.push(stateOf(state));
    if (action?.fail) break;
  }
  return { state, actions, shown };
}

const times = (count, event) => Array(count).fill(event);
const CLOSED = times(REPORT_AFTER, "reads_closed");

describe("the popup's state", () => {
  const LOST = ["waiting", "perhaps_closed"];
  const table = [
    ["an open popup", times(50, "reads_open"), "open", [], ["waiting"]],
    ["closed at once", CLOSED, "lost", ["ask"], LOST],
    ["closed late, after all is known", ["heard", "known", ...times(50, "reads_open"), ...CLOSED], "lost", ["ask"], LOST],
    ["closed for long", times(500, "reads_closed"), "lost", ["ask"], LOST],
    ["closed, and a message was still on its way", ["reads_closed", "heard", ...CLOSED], "lost", ["ask"], LOST],
    ["not lost after all", ["reads_closed", "reads_open"], "open", ["ask"], ["waiting"]],
    ["lost twice", [...CLOSED, "reads_open", ...CLOSED], "lost", ["ask", "ask"], [...LOST, ...LOST]],
    ["back from HubSpot, then closed", ["completing", ...CLOSED], "lost", ["ask"], ["waiting", "completing"]],
    ["closed, and then it turns out that the user was back", [...CLOSED, "completing"], "lost", ["ask"], [...LOST, "completing"]],
    ["muted, and the popup open: its message can still come", ["muted", ...times(500, "reads_open")], "open", [], ["waiting"]],
    ["muted, then lost before it has sent a message", ["muted", ...CLOSED], "lost", ["ask", { fail: "csp_blocked" }], LOST],
    ["muted, then lost after a message", ["heard", "muted", ...CLOSED], "lost", ["ask", { fail: "closed" }], LOST],
    ["muted, and the message comes late", ["muted", "reads_closed", "reads_closed", "heard", ...CLOSED], "lost", ["ask", { fail: "closed" }], LOST],
    ["lost, then muted", [...CLOSED, "muted", "reads_closed"], "lost", ["ask", { fail: "csp_blocked" }], LOST],
  ];
  for (const [name, events, window, actions, shown] of table) {
    test(name, () => {
      const end = play(events);
      assert.deepEqual([end.state.window, end.actions, end.shown], [window, actions, shown]);
    });
  }

  test("a popup on its empty page that reads as closed is closed: no policy can have cut it off", () => {
    const { actions, shown } = play(["reads_open", "reads_closed"], initial("open", true));
    assert.deepEqual([actions, shown], [[{ fail: "closed" }], ["opening"]]);
    assert.deepEqual(play(["reads_open", "sent", ...CLOSED], initial("open", true)).shown, ["opening", ...LOST]);
  });

  test("without a popup of this page nothing is lost, and it may be closed from the start", () => {
    assert.deepEqual(play([...CLOSED, "muted", ...CLOSED], initial("none", true)).actions, []);
    assert.deepEqual(play(["known", "completing"], initial("none", true)).shown, ["perhaps_closed", "completing"]);
    assert.deepEqual(play(["known"], initial("none", true, 0, true)).shown, ["completing"], "a redirect has come back");
  });

  test("a popup without an opener is useless where polling is forbidden", () => {
    assert.deepEqual(play(["reads_open", "muted"], open(false)).actions, [{ fail: "csp_blocked" }]);
    assert.deepEqual(play([...CLOSED, "known"], open(false)).actions, ["ask"]);
  });

  test(`in every order of ${LENGTH} events it ends only when no message can arrive, and cancels nothing`, () => {
    let count = 0;
    const walk = (state, events) => {
      if (events.length === LENGTH) return;
      for (const event of EVENTS) {
        const [after, action] = next(state, event);
        const path = [...events, event].join(" ");
        count += 1;
        assert.ok([undefined, "ask", "closed", "csp_blocked"].includes(action?.fail ?? action), path);
        if (action?.fail) assert.ok(after.muted && after.window === "lost" && after.readings >= REPORT_AFTER, path);
        if (action?.fail === "closed") assert.ok(after.heard, path);
        assert.equal(after.window === "lost", event === "reads_closed" || (state.window === "lost" && event !== "reads_open"), path);
        for (const fact of ["heard", "known", "muted", "completing"]) assert.equal(after[fact], state[fact] || event === fact, path);
        if (!action?.fail) walk(after, [...events, event]);
      }
    };
    walk(open(true), []);
    assert.ok(count > 50_000);
  });

  describe("the ticks until the page gives up", () => {
    const unheard = initial("open", true);
    const after = (...events) => play(events).state;
    const table = [
      ["a new authorization request: three minutes", unheard, 180],
      ["the popup has sent a message: a quarter of an hour", after("heard"), 900],
      ["the service has answered: a quarter of an hour", after("known"), 900],
      ["both, the one long after the other", after("heard", ...times(1_000, "tick"), "known"), 900],
      ["a silent minute later", after(...times(120, "tick")), 120],
      ["a minute after a message", after("heard", ...times(120, "tick")), 840],
      ["what is seen of the window is no word", after("heard", ...times(120, "tick"), "reads_open", ...CLOSED), 840],
      ["nor is the page's policy", after(...times(120, "tick"), "muted"), 120],
      ["resumed after a minute: what is left", initial("none", true, 60_000), 120],
      ["resumed after an hour: ten seconds for an answer", initial("none", true, 3_600_000), 10],
    ];
    for (const [name, state, seconds] of table) {
      test(name, () => {
        const ticks = seconds * 1_000 / Clock.Tick;
        assert.ok(play(times(ticks, "tick"), state).state.patience >= 0);
        assert.ok(play(times(ticks + 1, "tick"), state).state.patience < 0);
      });
    }
    test("a tick changes nothing else", () => {
      assert.deepEqual(next(unheard, "tick"), [{ ...unheard, patience: Patience.Unheard - 1 }]);
    });
  });

  test("the message after a long wait names the known state", () => {
    const after = (...events) => play(events).state;
    assert.equal(silenceCode(after(), false, false), "timeout");
    assert.equal(silenceCode(after(), true, true), "service_unavailable");
    assert.equal(silenceCode(after("muted"), false, false), "csp_blocked");
    assert.equal(silenceCode(after("muted", "heard"), false, false), "timeout");
    assert.equal(silenceCode(after("reads_closed"), true, false), "sandboxed_iframe");
    assert.equal(silenceCode(after("reads_closed"), false, false), "timeout");
    assert.equal(silenceCode(after("reads_closed", "known"), true, false), "timeout");
  });
});
