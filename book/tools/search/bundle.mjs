// Bundle what an edition holds with the engine that searches it.
// node bundle.mjs STATIC < CONTENT: writes STATIC/book-search-HASH.js and prints its name.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const { language, stemmer, digraphs, text, units } = JSON.parse(readFileSync(0, "utf8"));
const segmenter = new Intl.Segmenter(language, { granularity: "sentence" });
const sentences = (block) => [...segmenter.segment(block)].map(({ segment }) => segment.trim());
const content = units.map(([kind, page, place, title, terms, blocks, ...rest]) =>
  [kind, page, place, title, terms, blocks.flatMap(sentences), ...rest]);
const { outputFiles } = await build({
  stdin: {
    contents: `
      import { stemmer as stem } from "@orama/stemmers/${stemmer}";
      import { stopwords as common } from "@orama/stopwords/${stemmer}";
      import { searchIn } from "./engine.mjs";
      globalThis.bookSearch = {
        text: ${JSON.stringify(text)},
        ready: searchIn({ digraphs: ${JSON.stringify(digraphs)}, stem, common }, ${JSON.stringify(content)}),
      };`,
    resolveDir: import.meta.dirname,
  },
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  write: false,
});
const [{ contents }] = outputFiles;
const name = `book-search-${createHash("sha256").update(contents).digest("hex").slice(0, 8)}.js`;
writeFileSync(join(process.argv[2], name), contents);
console.log(name);
