// The axes over which each method averages: who shares a mean with whom.
import { add, choice, fill, result, slider } from "./controls.mjs";

const METHODS = { // what two values must have in common to share a mean
  BN: ({ c }) => [c],
  LN: ({ n, p }) => [n, p],
  CHW: ({ n }) => [n],
  IN: ({ n, c }) => [n, c],
  GN: ({ n, c }) => [n, Math.floor(c / 2)],
};

export default function axes(host, words) {
  const size = { n: 3, c: 4, p: 6 };
  const at = { n: 1, c: 1, p: 2 };
  let [method, data] = ["LN", "sequence"];
  const top = add(host, "div", { class: "controls" });
  const options = Object.fromEntries(Object.keys(METHODS).map((key) => [key, words[key]]));
  choice(top, words.method, options, method, (value) => ((method = value), draw()));
  const kinds = { sequence: words.sequences, image: words.images };
  choice(top, words.data, kinds, data, (value) => ((data = value), draw()));
  const picture = add(host, "div", { class: "scroll", tabindex: 0 });
  const svg = add(picture, "svg", { viewBox: "0 0 620 215", role: "img" });
  const cells = [];
  const labels = [];
  for (let n = size.n - 1; n >= 0; n--) { // the farthest sheet first
    for (let c = 0; c < size.c; c++) {
      for (let p = 0; p < size.p; p++) {
        const [x, y] = [40 + 195 * n + 24 * p, 40 + 28 * c];
        const cell = add(svg, "rect", { x, y, width: 21, height: 25, rx: 3 });
        cell.addEventListener("click", () => {
          Object.assign(at, { n, c, p });
          for (const [key, set] of Object.entries(setters)) set(at[key] + 1);
          draw();
        });
        cells.push([cell, { n, c, p }]);
      }
    }
    labels.push(add(svg, "text", { x: 40 + 195 * n + 72, y: 24, "text-anchor": "middle" }));
    labels.at(-1).dataset.n = n + 1;
  }
  const across = add(svg, "text", { x: 112, y: 175, "text-anchor": "middle" });
  const down = add(svg, "text", { x: 26, y: 96, "text-anchor": "middle", transform: "rotate(-90 26 96)" });
  const tell = result(host);
  const bottom = add(host, "div", { class: "controls" });
  const set = add(bottom, "fieldset");
  add(set, "legend", {}, words.value);
  const what = { n: words.example, c: words.channel, p: words.position };
  const setters = Object.fromEntries(
    Object.entries(size).map(([key, count]) => [
      key,
      slider(set, what[key], [1, count, 1], at[key] + 1, (value) => ((at[key] = value - 1), draw())),
    ]),
  );

  function draw() {
    const key = (cell) => String(METHODS[method](cell));
    const means = new Set(cells.map(([, cell]) => key(cell))).size;
    const shared = cells.filter(([, cell]) => key(cell) === key(at));
    for (const [element, cell] of cells) {
      const here = cell.n === at.n && cell.c === at.c && cell.p === at.p;
      element.setAttribute("class", here ? "here" : key(cell) === key(at) ? "shared" : "");
    }
    for (const label of labels) label.textContent = `${what.n} ${label.dataset.n}`;
    across.textContent = data === "sequence" ? words.times : words.positions;
    down.textContent = words.channels;
    const others = shared.some(([, cell]) => cell.n !== at.n);
    const later = shared.some(([, cell]) => cell.p > at.p);
    const notes = [
      fill(words.shared, { shared: shared.length, means }),
      others ? words.others : words.alone,
    ];
    if (data === "sequence") notes.push(later ? words.later : words.causal);
    const told = notes.join(" ");
    tell(told);
    svg.setAttribute("aria-label", `${words[method]}: ${told}`);
  }
  draw();
}
