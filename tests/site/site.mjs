// The built site: its pages, a browser that opens them, a static server on the loopback interface.
import { createReadStream, readdirSync, readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { createGzip } from "node:zlib";
import { chromium } from "playwright-core";
import { BROWSER } from "../../book/tools/browser.mjs";

export const SITE = join(dirname(fileURLToPath(import.meta.url)), "../../_build/site");
export const PATIENCE = 5 * 60 * 1000; // ms: a slow machine is no fault of a page
const GENERATED = new Set(["genindex.html", "search.html"]); // by the theme, no text of ours
export const EDITIONS = readdirSync(SITE, { withFileTypes: true }).filter((e) => e.isDirectory()).map(({ name }) => name);
export const PAGES = EDITIONS.flatMap((edition) =>
  readdirSync(join(SITE, edition))
    .filter((name) => name.endsWith(".html") && !GENERATED.has(name))
    .map((name) => `${edition}/${name}`),
);

// Every name once, in turn in one edition and the next, from a given one on.
export function inTurn(first = 0) {
  const names = [...new Set(PAGES.map((path) => path.split("/")[1]))];
  return names.map((name, i) => `${EDITIONS[(first + i) % EDITIONS.length]}/${name}`);
}

// Every page, but of the reference, which says the same in all editions, each in one.
export function allPages(first = 0) {
  const once = new Set(inTurn(first));
  return PAGES.filter((path) => !path.includes("/referenz_") || once.has(path));
}

export const OF_COLOR = ["color-contrast", "link-in-text-block"]; // rules of axe
export const OTHER = { light: "dark", dark: "light" };
export const HEADER = 64; // px above a heading that a link leads to: the bar at the top, and air

const TYPES = {
  ".css": "text/css", ".html": "text/html; charset=utf-8", ".js": "text/javascript",
  ".json": "application/json", ".map": "application/json", ".png": "image/png",
  ".svg": "image/svg+xml", ".txt": "text/plain", ".woff2": "font/woff2", ".xml": "application/xml",
};
const PACKED = new Set([".png", ".woff2"]);

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

// For the tests of a file: a server of the site, a browser, and open, which opens a page in a window of
// its own or in a given one and collects what it asks for and what goes wrong.
export function start(...options) {
  const site = { open };
  before(async () => {
    site.browser = await chromium.launch({ ...BROWSER, args: [...BROWSER.args, ...options] });
    site.server = await serve(SITE);
    site.url = site.server.url;
  });
  after(async () => {
    await site.browser?.close();
    site.server?.close();
  });

  async function open(url, options = {}, shared = undefined) {
    const context = shared ?? (await site.browser.newContext({ reducedMotion: "reduce", ...options }));
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    const problems = [];
    const requests = [];
    const home = new URL(url);
    page.on("console", (m) => m.type() === "error" && problems.push(`console: ${m.text()}`));
    page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
    page.on("requestfailed", (r) => {
      const { errorText } = r.failure();
      if (errorText !== "net::ERR_ABORTED") problems.push(`failed: ${r.url()} ${errorText}`); // the page was left meanwhile
    });
    page.on("response", (r) => r.status() >= 400 && problems.push(`${r.status()}: ${r.url()}`));
    page.on("request", (r) => {
      requests.push(r.url());
      const to = new URL(r.url());
      const ours = to.protocol === home.protocol && to.host === home.host;
      if (!ours && to.protocol !== "data:") problems.push(`foreign: ${r.url()}`);
    });
    await page.goto(url, { waitUntil: "load" });
    return { page, problems, requests, close: () => (shared ? page : context).close() };
  }

  return site;
}

// What axe finds, with all of its rules or some, on the page or in a part of it; for all rules on the
// whole page it asks for the style sheets, unless it is a page from disk, which must not.
export async function violations(page, rules, part) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
  const preload = !part && !page.url().startsWith("file:");
  const options = { resultTypes: ["violations"], preload, ...(rules && { runOnly: rules }) };
  const found = await page.evaluate(([part, options]) => window.axe.run(part ?? document, options), [part, options]);
  return found.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target).join(" | ")}`);
}

// Change between light and dark, to the end of every transition.
export async function change(page, colorScheme) {
  await page.emulateMedia({ colorScheme });
  await page.waitForFunction((scheme) => document.documentElement.dataset.theme === scheme, colorScheme);
  await page.evaluate(() => {
    const running = () => document.getAnimations().filter(({ playState }) => playState === "running");
    for (let all; (all = running()).length;) for (const animation of all) animation.finish(); // which may start others
  });
}

// The colors of a part of the window, as a list of [r, g, b].
export async function colors(page, clip) {
  const png = (await page.screenshot({ clip })).toString("base64");
  return page.evaluate(async (png) => {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, image.width, image.height);
    return Array.from({ length: data.length / 4 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
  }, png);
}

export const differ = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));

// Serve a folder, compressed, on a free port.
async function serve(root) {
  const server = createServer(async (request, response) => {
    let file = join(root, normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)));
    if (file.endsWith("/")) file += "index.html";
    const found = await stat(file).catch(() => null);
    if (!found?.isFile()) return response.writeHead(404).end();
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    const headers = { "content-type": type, "cache-control": "max-age=31536000" };
    if (PACKED.has(extname(file))) {
      response.writeHead(200, headers);
      return pipeline(createReadStream(file), response).catch(() => response.destroy());
    }
    response.writeHead(200, { ...headers, "content-encoding": "gzip" });
    return pipeline(createReadStream(file), createGzip(), response).catch(() => response.destroy());
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}
