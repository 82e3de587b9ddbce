// Bundle an edition's style sheets, in the order given, into one that holds only what its pages use.
// node styles.mjs STATIC STYLE...: writes STATIC/book-HASH.css with its fonts and prints its name.
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { build, transform } from "esbuild";
import { PurgeCSS } from "purgecss";

const [folder, ...styles] = process.argv.slice(2);
const { outputFiles } = await build({
  stdin: {
    contents: styles.map((style) => `@import ${JSON.stringify(`./${style}`)};`).join("\n"),
    resolveDir: folder,
    loader: "css",
  },
  bundle: true,
  write: false,
  outdir: folder,
  assetNames: "fonts/[name]",
  loader: { ".woff2": "file", ".ttf": "empty", ".svg": "dataurl", ".png": "dataurl" },
});
const isStyle = ({ path }) => path.endsWith(".css");
const [{ css }] = await new PurgeCSS().purge({
  content: [
    join(dirname(folder), "*.html"), join(folder, "**/*.js"),
    join(import.meta.dirname, "*.{py,svg}"), // with what the steps after this one write
  ],
  css: [{ raw: outputFiles.find(isStyle).text }],
  fontFace: true,
});
const { code } = await transform(css, { loader: "css", minify: true });
for (const { path, contents } of outputFiles.filter((file) => !isStyle(file))) {
  if (!code.includes(basename(path))) continue;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, contents);
}
const name = `book-${createHash("sha256").update(code).digest("hex").slice(0, 8)}.css`;
writeFileSync(join(folder, name), code);
console.log(name);
