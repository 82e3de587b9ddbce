// Bundle the drawings of a page with what they say and show: node bundle.mjs FILE < DRAWINGS.
import { readFileSync } from "node:fs";
import { build } from "esbuild";

const drawings = JSON.parse(readFileSync(0, "utf8"));
const lines = drawings.flatMap(({ name, words, data }) => [
  `import ${name} from "./${name}.mjs";`,
  `show(${[JSON.stringify(name), name, JSON.stringify(words), JSON.stringify(data)].join(", ")});`,
]);
await build({
  stdin: {
    contents: ['import { show } from "./controls.mjs";', ...lines].join("\n"),
    resolveDir: import.meta.dirname,
  },
  outfile: process.argv[2],
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  logLevel: "error",
});
