// A static server with gzip on a free port of the loopback interface.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

const TYPES = {
  ".css": "text/css", ".html": "text/html; charset=utf-8", ".js": "text/javascript",
  ".json": "application/json", ".map": "application/json", ".png": "image/png",
  ".svg": "image/svg+xml", ".txt": "text/plain", ".woff2": "font/woff2", ".xml": "application/xml",
};
const PACKED = new Set([".png", ".woff2"]);

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
