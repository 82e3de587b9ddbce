// MathML for the formulas [[TeX, is a block], ...] on standard input.
import { readFileSync } from "node:fs";
import temml from "temml";

const formulas = JSON.parse(readFileSync(0, "utf8"));
const options = { throwOnError: true, trust: false, wrap: "tex" };
const rendered = formulas.map(([tex, displayMode]) => {
  try {
    return temml.renderToString(tex, { ...options, displayMode });
  } catch (error) {
    throw new Error(`${error.message}\nin the formula\n${tex}`);
  }
});
console.log(JSON.stringify(rendered));
