// What a page costs the browser, compared with a light page that has neither styles nor scripts.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PATIENCE, start } from "./site.mjs";

const BARE = "en/genindex.html";
const FACTORS = { // how many times the bare page's processor time is too much
  "en/index.html": 6, "en/behauptungen.html": 6,
  "en/3_implementierung.html": 8, "en/4a_transformer.html": 8, "de/7_verwandte_themen.html": 8,
  "en/1_funktionsprinzip.html": 14, "de/1_funktionsprinzip.html": 14, // the longest chapter, with drawings that move
  "en/loesungen.html": 22, // the longest page
};
const SHIFT = 0.1; // what https://web.dev/articles/cls calls good

const site = start();

// Load a page on a phone, with nothing in the cache; return the processor time of its main thread,
// which does not depend on what else the machine does, and how far its content moved meanwhile.
async function load(path, bare = false) {
  const context = await site.browser.newContext({ viewport: { width: 390, height: 844 }, isMobile: true });
  context.setDefaultTimeout(PATIENCE);
  if (bare) await context.route(/\.(css|js)(\?|$)/, (route) => route.abort());
  const page = await context.newPage();
  const client = await context.newCDPSession(page);
  await client.send("Performance.enable", { timeDomain: "threadTicks" });
  await page.goto(`${site.url}/${path}`, { waitUntil: "networkidle" });
  const shift = await page.evaluate(() => new Promise((resolve) => {
    let sum = 0;
    new PerformanceObserver((list) => {
      for (const { value } of list.getEntries()) sum += value;
    }).observe({ type: "layout-shift", buffered: true });
    requestAnimationFrame(() => setTimeout(() => resolve(sum)));
  }));
  const { metrics } = await client.send("Performance.getMetrics");
  await context.close();
  return { shift, seconds: metrics.find(({ name }) => name === "TaskDuration").value };
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

describe(`beside a bare ${BARE}`, () => {
  for (const [path, factor] of Object.entries(FACTORS)) {
    it(path, async (test) => {
      const ratios = [];
      do {
        const bare = await load(BARE, true);
        const page = await load(path);
        assert.ok(page.shift <= SHIFT, `the content moves by ${page.shift}`);
        ratios.push(page.seconds / bare.seconds);
      } while (ratios.length < 3 || (median(ratios) > factor && ratios.length < 9));
      test.diagnostic(`${median(ratios).toFixed(1)} times as much, of ${ratios.length} runs`);
      assert.ok(median(ratios) <= factor, ratios.map((r) => r.toFixed(1)).join(" "));
    });
  }
});
