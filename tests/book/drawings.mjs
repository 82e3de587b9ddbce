// Compute what drawings show, for test_drawings.py: node drawings.mjs < CASES.
import { readFileSync } from "node:fs";
import { compare, LAYERS } from "../../book/drawings/layers.mjs";
import { forward } from "../../book/drawings/norms.mjs";
import { paired } from "../../book/drawings/pairs.mjs";

const KINDS = {
  norm: ({ x, norm, dy, ...rest }) => {
    const { backward, ...steps } = forward(x, norm, rest);
    return { ...steps, ...backward(dy) };
  },
  layer: ({ layer, X, W, eps }) => LAYERS[layer](X, W, eps),
  change: ({ layer, change, X, W, c }) => compare(layer, change, X, W, c, 0).apart,
  pair: ({ arm, other }) => paired(arm, other),
};
const { kind, cases } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map(KINDS[kind])));
