// The pauses of the SDK between two polls.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { load } from "./load.mjs";

const { pauseAfter } = await load("poll_pacing");

describe("the pause before the next poll", () => {
  const table = [
    ["a status that came at once", { status: 200 }, 0, '"1"', 20, 480],
    ["a status that the service has waited with", { status: 200 }, 0, '"1"', 24_000, 0],
    ["no change", { status: 304 }, 0, '"1"', 25_000, 0],
    ["a status whose tag the browser hides", { status: 200 }, 0, null, 20, 1_000],
    ["no status yet", { status: 404 }, 0, null, 20, 1_000],
    ["no status any more", { status: 404 }, 0, '"1"', 20, 1_000],
    ["the first failure", { status: 503 }, 1, null, 20, 1_000],
    ["the second", { status: 503 }, 2, null, 20, 2_000],
    ["the third, without an answer", { status: 0 }, 3, null, 20, 4_000],
    ["the fourth, with a tag", { status: 500 }, 4, '"1"', 20, 8_000],
    ["the fifth", { status: 403 }, 5, null, 20, 10_000],
    ["the failures of a whole day", { status: 0 }, 8_640, null, 20, 10_000],
    ["a failure that took long", { status: 0 }, 1, '"1"', 40_000, 1_000],
    ["a service that asks for a longer pause", { status: 429, rest: 30_000 }, 1, null, 20, 30_000],
    ["a service that asks for a shorter pause", { status: 503, rest: 2_000 }, 3, null, 20, 4_000],
    ["a status, and a service that asks for a pause", { status: 200, rest: 3_000 }, 0, '"1"', 24_000, 3_000],
  ];
  for (const [name, answer, failures, etag, took, pause] of table) {
    test(name, () => assert.equal(pauseAfter({ rest: 0, ...answer }, failures, etag, took), pause));
  }
});
