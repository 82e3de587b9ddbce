// What Lighthouse says of every page on a phone, in turn in one edition and the next, which share all
// but their words; how fast a page is, speed.test.mjs compares, how accessible, site.test.mjs asks axe.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import lighthouse from "lighthouse";
import { inTurn, PATIENCE, start } from "./site.mjs";

const CATEGORIES = ["best-practices", "seo"];
const OF_AXE = ["document-title", "image-alt"]; // which would run for these two alone
const NO_WAITING = { pauseAfterFcpMs: 0, pauseAfterLoadMs: 0, networkQuietThresholdMs: 0, cpuQuietThresholdMs: 0 };
const PORT = 9222 + (process.pid % 1000);

const site = start(`--remote-debugging-port=${PORT}`);

describe("Lighthouse, on a phone", () => {
  for (const path of inTurn()) {
    it(path, async () => {
      const { lhr } = await lighthouse(`${site.url}/${path}`, {
        port: PORT,
        onlyCategories: CATEGORIES,
        skipAudits: OF_AXE,
        disableFullPageScreenshot: true,
        logLevel: "error",
        maxWaitForFcp: PATIENCE,
        maxWaitForLoad: PATIENCE,
        ...NO_WAITING,
      });
      assert.equal(lhr.runtimeError, undefined);
      const failed = Object.values(lhr.audits).filter(({ score }) => score !== null && score < 1).map(({ id }) => id);
      for (const category of CATEGORIES) {
        assert.equal(lhr.categories[category].score, 1, `${category}: ${failed}`);
      }
    });
  }
});
