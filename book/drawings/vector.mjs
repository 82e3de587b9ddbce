// One vector by hand: every step of a norm and of its gradient, for numbers of the reader's own.
import { add, button, choice, figure, number, result, vector as written } from "./controls.mjs";
import { dot, forward, NORMS, sum } from "./norms.mjs";

const INITIAL = {
  x: [3, 9, 11, 17], weight: [1, 1, 2, 2], bias: [0, 0, 1, 1], dy: [1, 0, 0, 0], eps: 1e-5, norm: "LN",
};
const GIVEN = { x: "x", weight: "γ", bias: "β", dy: "dy" };
const ROOTS = { LN: "√(σ² + ε)", GN: "√(σ² + ε)", outside: "σ + ε", RMS: "√(⟨x²⟩ + ε)" };
const COLORS = ["entry-1", "entry-2", "entry-3", "entry-4"];
const [LEFT, HEIGHT] = [44, 34];

export default function vector(host, words) {
  const state = structuredClone(INITIAL);
  const top = add(host, "div", { class: "controls" });
  const norms = Object.fromEntries(Object.keys(NORMS).map((norm) => [norm, words[norm]]));
  choice(top, words.norm, norms, state.norm, (norm) => ((state.norm = norm), draw()));
  const last = add(top, "div", { class: "buttons" });
  const label = add(last, "label", {}, "ε ");
  const setEps = number(label, "ε", state.eps, (eps) => ((state.eps = eps), draw()), { min: 0 });
  const change = (entry) => ((state.x = state.x.map(entry)), write());
  button(last, words.shift, () => change((value) => value + 10));
  button(last, words.double, () => change((value) => 2 * value));
  button(last, words.reset, () => (Object.assign(state, structuredClone({ ...INITIAL, norm: state.norm })), write()));

  const svg = add(host, "svg", { role: "img", height: 4 * HEIGHT });
  const table = add(host, "table", { class: "steps" });
  add(add(table, "colgroup"), "col");
  const setters = {};
  const cells = {};
  const row = (body, key, count) => {
    const line = add(body, "tr", { class: key });
    const head = add(line, "th", { scope: "row" }, GIVEN[key]);
    if (key in GIVEN) {
      setters[key] = state[key].map((value, i) =>
        number(add(line, "td"), `${GIVEN[key]}${"₁₂₃₄"[i]}`, value, (entry) => ((state[key][i] = entry), draw())));
    } else {
      cells[key] = [head, Array.from({ length: count }, () => add(line, "td"))];
    }
  };
  const part = (title, ...rows) => {
    const body = add(table, "tbody");
    add(add(body, "tr"), "th", { colspan: 5, scope: "rowgroup" }, title);
    for (const [key, count] of rows) row(body, key, count);
  };
  part(words.forward, ["x"], ["mean", 2], ["difference", 4], ["variance", 2], ["root", 2], ["xHat", 4],
    ["weight"], ["bias"], ["y", 4]);
  part(words.gradient, ["dy"], ["g", 4], ["dx", 4], ["dweight", 4], ["dbias", 4]);
  const tell = result(host);
  let output;

  function write() {
    for (const key of Object.keys(GIVEN)) setters[key].forEach((set, i) => set(state[key][i]));
    setEps(state.eps);
    draw();
  }

  function draw() {
    const rms = state.norm === "RMS";
    const bias = rms ? [0, 0, 0, 0] : state.bias;
    const { backward, ...steps } = forward(state.x, state.norm, { ...state, bias });
    const gradients = backward(state.dy);
    const names = {
      mean: "μ", difference: "x − μ", variance: rms ? "⟨x²⟩" : "σ²", root: ROOTS[state.norm], xHat: "x̂",
      y: rms ? "y = γ ⊙ x̂" : "y = γ ⊙ x̂ + β", g: "g = γ ⊙ dy", dx: "dx", dweight: "dγ", dbias: "dβ",
    };
    for (const [key, values] of Object.entries({ ...steps, ...gradients })) {
      const [head, boxes] = cells[key];
      head.textContent = names[key];
      boxes.forEach((box, i) => {
        box.hidden = i >= values.length;
        box.setAttribute("colspan", 4 / values.length);
        if (!box.hidden) box.textContent = figure(values[i], 3);
      });
    }
    for (const key of ["mean", "difference", "bias", "dbias"]) table.querySelector(`.${key}`).hidden = rms;
    picture(steps);
    const across = { sum: figure(sum(gradients.dx), 3), dot: figure(dot(gradients.dx, steps.xHat), 3) };
    const before = output;
    output = `y = ${written(steps.y, 3)}`;
    const news = output === before ? `dx = ${written(gradients.dx, 3)}` : output;
    tell(`${output}, Σ dx = ${across.sum}, dx · x̂ = ${across.dot}`, [news]);
  }

  // Each entry on its way down, from x over x − μ and x̂ to y, all on one scale.
  function picture({ difference, xHat, y }) {
    const lines = { x: state.x, "x − μ": difference, "x̂": xHat, y };
    const all = [0, ...Object.values(lines).flat().filter(Number.isFinite)];
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const width = svg.clientWidth - LEFT;
    const across = (value) => LEFT + 8 + ((value - low) / (high - low || 1)) * (width - 16);
    const down = (line) => HEIGHT * (line + 0.5);
    svg.replaceChildren();
    svg.setAttribute("aria-label", `x = ${written(state.x)}, x̂ = ${written(xHat)}, y = ${written(y)}`);
    add(svg, "line", { class: "zero", x1: across(0), x2: across(0), y1: 0, y2: 4 * HEIGHT });
    const found = Object.values(lines);
    Object.keys(lines).forEach((name, line) => {
      add(svg, "text", { x: LEFT - 6, y: down(line) + 5, "text-anchor": "end" }, name);
      add(svg, "line", { class: "axis", x1: LEFT, x2: LEFT + width, y1: down(line), y2: down(line) });
    });
    COLORS.forEach((color, i) => {
      const points = found.map((values, line) => [across(values[i]), down(line)]).filter(([x]) => Number.isFinite(x));
      add(svg, "polyline", { class: color, points: points.join(" ") });
      for (const [cx, cy] of points) add(svg, "circle", { class: color, cx, cy, r: 5 });
    });
  }
  draw();
}
