// What Lighthouse says of every page on a slow phone, and what its first view weighs.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import lighthouse from "lighthouse";
import { throttling } from "lighthouse/core/config/constants.js";
import { chromium } from "playwright-core";
import { BROWSER, PAGES, SITE, serve } from "./site.mjs";

const FLOORS = { performance: 0.95, accessibility: 1, "best-practices": 1, seo: 1 };
const HEAVIEST = 400 * 1024; // bytes of the first view, compressed
// Lighthouse's benchmark of a mid-tier phone (125 to 800). Its usual factor of 4 slows a fast desktop
// down to that; https://github.com/GoogleChrome/lighthouse/blob/main/docs/throttling.md.
const PHONE = 625;
const PORT = 9222 + (process.pid % 1000);

let browser, server, slowdown;

before(async () => {
  browser = await chromium.launch({
    ...BROWSER,
    args: [...BROWSER.args, `--remote-debugging-port=${PORT}`],
  });
  server = await serve(SITE);
  const indices = [];
  for (let run = 0; run < 5; run++) indices.push((await measure("en/literatur.html", 1)).environment.benchmarkIndex);
  const median = indices.sort((a, b) => a - b)[2];
  slowdown = Math.min(Math.max(median / PHONE, 1), throttling.mobileSlow4G.cpuSlowdownMultiplier);
});

after(async () => {
  await browser?.close();
  server?.close();
});

// One run, on this machine made slower by a factor.
async function measure(path, cpuSlowdownMultiplier) {
  const { lhr } = await lighthouse(`${server.url}/${path}`, {
    port: PORT,
    onlyCategories: Object.keys(FLOORS),
    throttling: { ...throttling.mobileSlow4G, cpuSlowdownMultiplier },
    output: "json",
    logLevel: "error",
  });
  return lhr;
}

// The best of ten: other work on the machine can only lower the performance.
async function rate(path) {
  const runs = [];
  while (runs.length < 10 && !(runs.at(-1)?.performance >= FLOORS.performance)) {
    const lhr = await measure(path, slowdown);
    const scores = Object.entries(lhr.categories).map(([name, { score }]) => [name, score]);
    runs.push({ ...Object.fromEntries(scores), bytes: lhr.audits["total-byte-weight"].numericValue });
  }
  return runs.reduce((best, run) => (run.performance > best.performance ? run : best));
}

describe("Lighthouse, on a phone", () => {
  for (const path of PAGES) {
    it(path, async (test) => {
      const { bytes, ...scores } = await rate(path);
      const slipped = Object.entries(FLOORS).filter(([name, floor]) => !(scores[name] >= floor));
      test.diagnostic(`performance ${scores.performance} at ${slowdown.toFixed(1)}, ${Math.round(bytes / 1024)} KiB`);
      assert.deepEqual(slipped.map(([name]) => `${name} ${scores[name]}`), []);
      assert.ok(bytes <= HEAVIEST, `${bytes} bytes`);
    });
  }
});
