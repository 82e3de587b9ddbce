// The built site in a real browser: every page, both editions, phone and desktop, light and dark.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const SITE = join(HERE, "../../_build/site");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SKIPPED = new Set(["genindex.html", "search.html"]); // made by the theme, no text of ours
const PAGES = ["de", "en"].flatMap((edition) =>
  readdirSync(join(SITE, edition))
    .filter((name) => name.endsWith(".html") && !SKIPPED.has(name))
    .map((name) => `${edition}/${name}`),
);
const WIDTHS = { desktop: 1280, phone: 390 };
const TERMS = { de: "Rückwärtspass", en: "backward" };

let browser, server;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
  });
  server = await serve(SITE);
});

after(async () => {
  await browser?.close();
  server?.close();
});

// Open a page and collect what went wrong on the way.
async function open(url, options = {}) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const problems = [];
  const home = new URL(url);
  page.on("console", (m) => m.type() === "error" && problems.push(`console: ${m.text()}`));
  page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
  page.on("requestfailed", (r) => problems.push(`failed: ${r.url()} ${r.failure().errorText}`));
  page.on("response", (r) => r.status() >= 400 && problems.push(`${r.status()}: ${r.url()}`));
  page.on("request", (r) => {
    const to = new URL(r.url());
    const ours = to.protocol === home.protocol && to.host === home.host;
    if (!ours && to.protocol !== "data:") problems.push(`foreign: ${r.url()}`);
  });
  await page.goto(url, { waitUntil: "load" });
  await page.evaluate(() => window.MathJax?.startup?.promise);
  return { page, problems, close: () => context.close() };
}

describe("every page", { concurrency: 2 }, () => {
  for (const path of PAGES) {
    for (const [device, width] of Object.entries(WIDTHS)) {
      for (const colorScheme of ["light", "dark"]) {
        it(`${path} ${device} ${colorScheme}`, async () => {
          const viewport = { width, height: 900 };
          const { page, problems, close } = await open(`${server.url}/${path}`, {
            viewport, colorScheme, isMobile: device === "phone", hasTouch: device === "phone",
          });
          assert.deepEqual(problems, []);
          const seen = await page.evaluate(() => ({
            lang: document.documentElement.lang,
            overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
            formulas: document.querySelectorAll(".math").length,
            drawn: document.querySelectorAll(".math mjx-container").length,
            broken: document.querySelectorAll("mjx-merror, [data-mjx-error]").length,
            blank: [...document.images].filter((i) => i.loading !== "lazy" && !i.naturalWidth).length,
          }));
          assert.equal(seen.lang, path.slice(0, 2));
          assert.ok(seen.overflow <= 0, `scrolls sideways by ${seen.overflow} px`);
          assert.equal(seen.drawn, seen.formulas);
          assert.equal(seen.broken, 0);
          assert.equal(seen.blank, 0);
          await page.evaluate(AXE);
          const { violations } = await page.evaluate(() => window.axe.run());
          assert.deepEqual(
            violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target).join(" | ")}`),
            [],
          );
          await close();
        });
      }
    }
  }
});

describe("the book as a whole", { concurrency: 2 }, () => {
  for (const path of PAGES) {
    it(`${path} opens from disk, with formulas`, async () => {
      const { page, problems, close } = await open(pathToFileURL(join(SITE, path)).href);
      assert.deepEqual(problems, []);
      const [formulas, drawn] = await page.evaluate(() =>
        [".math", ".math mjx-container"].map((s) => document.querySelectorAll(s).length),
      );
      assert.equal(drawn, formulas);
      await close();
    });
  }

  for (const [locale, edition] of [["de-AT", "de"], ["en-GB", "en"], ["fr-FR", "en"]]) {
    it(`the root page sends a reader with ${locale} to ${edition}`, async () => {
      const { page, close } = await open(`${server.url}/`, { locale });
      await page.waitForURL(`**/${edition}/**`);
      await close();
    });
  }

  for (const [edition, twin] of [["de", "en"], ["en", "de"]]) {
    it(`${edition}: the switch leads to the twin and back, without scripts too`, async () => {
      for (const javaScriptEnabled of [true, false]) {
        const start = `${server.url}/${edition}/1b_numerik.html`;
        const { page, close } = await open(start, { javaScriptEnabled }).catch(() => ({}));
        await page.click("a.language-switch");
        await page.waitForURL(`**/${twin}/1b_numerik.html`);
        await page.click("a.language-switch");
        await page.waitForURL(start);
        await close();
      }
    });

    it(`${edition}: the search finds ${TERMS[edition]}`, async () => {
      const query = encodeURIComponent(TERMS[edition]);
      const { page, problems, close } = await open(`${server.url}/${edition}/search.html?q=${query}`);
      await page.waitForSelector("#search-results li a");
      assert.match(await page.textContent("#search-results"), new RegExp(TERMS[edition], "i"));
      assert.deepEqual(problems, []);
      await close();
    });
  }
});
