// What Lighthouse says of every page on a phone; how fast a page is, speed.test.mjs compares.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import lighthouse from "lighthouse";
import { chromium } from "playwright-core";
import { BROWSER, PAGES, PATIENCE, SITE, serve } from "./site.mjs";

const CATEGORIES = ["accessibility", "best-practices", "seo"];
const NO_WAITING = { pauseAfterFcpMs: 0, pauseAfterLoadMs: 0, networkQuietThresholdMs: 0, cpuQuietThresholdMs: 0 };
const PORT = 9222 + (process.pid % 1000);

let browser, server;

before(async () => {
  browser = await chromium.launch({ ...BROWSER, args: [...BROWSER.args, `--remote-debugging-port=${PORT}`] });
  server = await serve(SITE);
});

after(async () => {
  await browser?.close();
  server?.close();
});

describe("Lighthouse, on a phone", () => {
  for (const path of PAGES) {
    it(path, async () => {
      const { lhr } = await lighthouse(`${server.url}/${path}`, {
        port: PORT,
        onlyCategories: CATEGORIES,
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
