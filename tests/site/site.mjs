// The built site: its pages, a browser's options, a static server on the loopback interface.
import { createReadStream, existsSync, readdirSync } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createGzip } from "node:zlib";

export const SITE = join(dirname(fileURLToPath(import.meta.url)), "../../_build/site");
export const BROWSER = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
};
export const PATIENCE = 5 * 60 * 1000; // ms: a slow machine is no fault of a page
if (!existsSync(BROWSER.executablePath)) {
  console.error(`no Chromium at ${BROWSER.executablePath}: apt-get install chromium, or set CHROMIUM=/path/to/it`);
  process.exit(1);
}
const GENERATED = new Set(["genindex.html", "search.html"]); // by the theme, no text of ours
export const PAGES = ["de", "en"].flatMap((edition) =>
  readdirSync(join(SITE, edition))
    .filter((name) => name.endsWith(".html") && !GENERATED.has(name))
    .map((name) => `${edition}/${name}`),
);

const TYPES = {
  ".css": "text/css", ".html": "text/html; charset=utf-8", ".js": "text/javascript",
  ".json": "application/json", ".map": "application/json", ".png": "image/png",
  ".svg": "image/svg+xml", ".txt": "text/plain", ".woff2": "font/woff2", ".xml": "application/xml",
};
const PACKED = new Set([".png", ".woff2"]);

// Serve a folder, compressed, on a free port.
export async function serve(root) {
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
