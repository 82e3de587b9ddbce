// The table of invariances: one change, five norms, and which of their outputs notice it.
import { add, choice, figure, pick, result, slider } from "./controls.mjs";
import { CHANGES, compare, LAYERS } from "./layers.mjs";

const SAME = 1e-10; // as in the table of the page
const EPSILONS = { 0: "0", 1e-5: "10⁻⁵", 0.3: "0.3" };
const [WIDTH, HEIGHT] = [320, 56];

export default function changes(host, words, { X, W }) {
  const keys = Object.keys(CHANGES);
  const state = { change: "oneExample", c: 3, eps: 0 };
  const controls = add(host, "div", { class: "controls" });
  const names = keys.map((key) => words.changes[key]);
  pick(controls, words.change, names, keys.indexOf(state.change), (i) => ((state.change = keys[i]), draw()));
  slider(controls, "c", [-3, 3, 0.25], state.c, (c) => ((state.c = c), draw()));
  const epsilons = { ...EPSILONS, 0.3: figure(0.3, 1) };
  choice(controls, "ε", epsilons, "0", (eps) => ((state.eps = Number(eps)), draw()));
  const table = add(host, "table", { class: "layers" });
  for (const name of ["name", "bars", "same"]) add(table, "col", { class: name });
  const head = add(add(table, "thead"), "tr");
  for (const text of [words.layer, words.output, words.same]) add(head, "th", { scope: "col" }, text);
  const body = add(table, "tbody");
  const rows = Object.keys(LAYERS).map((layer) => {
    const line = add(body, "tr");
    add(line, "th", { scope: "row" }, words[layer]);
    const svg = add(add(line, "td"), "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img" });
    return { layer, line, svg, mark: add(line, "td") };
  });
  const tell = result(host);

  function draw() {
    const same = [];
    for (const { layer, line, svg, mark } of rows) {
      const { before, after, apart } = compare(layer, state.change, X, W, state.c, state.eps);
      const kept = apart < SAME;
      if (kept) same.push(words[layer]);
      line.className = kept ? "same" : "";
      const size = apart < 0.005 ? apart.toExponential(0).replace("-", "−") : figure(apart);
      mark.textContent = kept ? `● ${words.yes}` : `○ ${size}`;
      bars(svg, before[0], after[0]);
      svg.setAttribute("aria-label", kept ? words.yes : words.no);
    }
    tell(same.length ? `${words.kept} ${same.join(", ")}.` : words.nobody);
  }

  // The first example: its output before as an outline, and after as a filled bar.
  function bars(svg, before, after) {
    const all = [...before, ...after].filter(Number.isFinite).map(Math.abs);
    const scale = (HEIGHT / 2 - 2) / Math.max(...all);
    const step = WIDTH / before.length;
    svg.replaceChildren();
    [before, after].forEach((values, k) => values.forEach((value, i) => {
      const height = Math.abs(value) * scale || 0;
      const y = HEIGHT / 2 - (value > 0 ? height : 0);
      add(svg, "rect", { class: k ? "after" : "before", x: i * step + 4, y, width: step - 8, height });
    }));
    add(svg, "line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 });
  }
  draw();
}
