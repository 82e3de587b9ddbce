// The plane and the sphere of layer normalization for H = 3, which one turns and drags.
import { add, button, choice, figure, result, slider, vector } from "./controls.mjs";
import { dot, forward } from "./norms.mjs";

const UP = [1, 1, 1].map((x) => x / Math.sqrt(3)); // the diagonal stands upright
const EAST = [1, -1, 0].map((x) => x / Math.sqrt(2));
const SOUTH = [1, 1, -2].map((x) => x / Math.sqrt(6));

export default function sphere(host, words) {
  const initial = { x: [2.2, 1.0, 1.3], weight: [1, 1, 1], bias: [0, 0, 0], eps: 0, norm: "LN" };
  const state = structuredClone(initial);
  let turn = 0.45;
  const [unit, tilt, cx, cy] = [62, 0.4, 310, 220];
  const circle = Array.from({ length: 97 }, (_, i) => {
    const [c, s] = [Math.cos((i * Math.PI) / 48), Math.sin((i * Math.PI) / 48)];
    return EAST.map((e, k) => Math.sqrt(3) * (c * e + s * SOUTH[k]));
  });
  const project = (p) => {
    const [u, v, w] = [dot(p, EAST), dot(p, SOUTH), dot(p, UP)];
    const [c, s] = [Math.cos(turn), Math.sin(turn)];
    const depth = u * s + v * c;
    return [cx + unit * (u * c - v * s), cy - unit * (w * Math.cos(tilt) - depth * Math.sin(tilt))];
  };
  const lift = (dx, dy) => { // the shift of x, parallel to the screen, behind one of the pointer
    const [c, s] = [Math.cos(turn), Math.sin(turn)];
    const right = EAST.map((e, k) => c * e - s * SOUTH[k]);
    const toward = EAST.map((e, k) => s * e + c * SOUTH[k]);
    const up = UP.map((e, k) => Math.cos(tilt) * e - Math.sin(tilt) * toward[k]);
    return right.map((e, k) => (dx * e - dy * up[k]) / unit);
  };
  const path = (points) => points.map((p) => project(p).map((z) => z.toFixed(1)).join(",")).join(" ");

  const svg = add(host, "svg", {
    viewBox: "60 10 500 350", role: "group", tabindex: 0,
    "aria-label": words.space,
  });
  const marks = add(add(svg, "defs"), "marker", {
    id: "widget-arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6,
    orient: "auto-start-reverse",
  });
  add(marks, "path", { d: "M0 0 8 4 0 8z", fill: "context-stroke" });
  const plane = add(svg, "polygon", { class: "plane" });
  const ring = add(svg, "polygon", { class: "ring" });
  const ellipse = add(svg, "polygon", { class: "ellipse" });
  const lines = Object.fromEntries(
    ["axis0", "axis1", "axis2", "diagonal", "center", "scale", "affine"].map((name) => [
      name, add(svg, "line", { class: name.replace(/\d/, ""), "marker-end": "url(#widget-arrow)" }),
    ]),
  );
  const names = Object.fromEntries(
    ["e₁", "e₂", "e₃", "𝟏", "x", "x̂", "y"].map((name) => [name, add(svg, "text", {}, name)]),
  );
  const dots = { xHat: add(svg, "circle", { class: "x-hat", r: 5 }), y: add(svg, "circle", { class: "y", r: 5 }) };
  const handle = add(svg, "circle", {
    class: "handle", r: 9, tabindex: 0, role: "button",
    "aria-label": words.handle,
  });
  const tell = result(host);
  const controls = add(host, "div", { class: "controls" });

  const line = (element, from, to) => {
    const [[x1, y1], [x2, y2]] = [project(from), project(to)];
    for (const [key, value] of Object.entries({ x1, y1, x2, y2 })) element.setAttribute(key, value);
    element.toggleAttribute("hidden", Math.hypot(x2 - x1, y2 - y1) < 3);
  };
  const at = (element, p, [dx, dy] = [0, 0]) => {
    const [x, y] = project(p);
    const keys = element.tagName === "text" ? ["x", "y"] : ["cx", "cy"];
    element.setAttribute(keys[0], x + dx);
    element.setAttribute(keys[1], y + dy);
  };
  function draw() {
    const { difference: centered, mean: [mean], ...steps } = forward(state.x, state.norm, state);
    const [xHat, y] = [steps.xHat, steps.y].map((point) => point.map((entry) => entry || 0)); // not 0/0
    const corner = ([a, b]) => EAST.map((e, k) => 3 * (a * e + b * SOUTH[k]));
    plane.setAttribute("points", path([[1, 1], [1, -1], [-1, -1], [-1, 1]].map(corner)));
    ring.setAttribute("points", path(circle));
    const image = circle.map((p) => p.map((entry, i) => state.weight[i] * entry + state.bias[i]));
    ellipse.setAttribute("points", path(image));
    [0, 1, 2].forEach((i) => {
      const tip = [0, 0, 0].map((_, k) => (k === i ? 1.9 : 0));
      line(lines[`axis${i}`], [0, 0, 0], tip);
      at(names[["e₁", "e₂", "e₃"][i]], tip, [6, -4]);
    });
    line(lines.diagonal, [0, 0, 0], [1.7, 1.7, 1.7]);
    at(names["𝟏"], [1.7, 1.7, 1.7], [7, 6]);
    line(lines.center, state.x, centered);
    line(lines.scale, centered, xHat);
    line(lines.affine, xHat, y);
    at(handle, state.x);
    at(names.x, state.x, [13, 4]);
    at(dots.xHat, xHat);
    at(names["x̂"], xHat, [8, 18]);
    at(dots.y, y);
    at(names.y, y, [9, -8]);
    const moved = Math.hypot(...y.map((entry, i) => entry - xHat[i])) > 0.02;
    for (const part of [ellipse, dots.y, names.y]) part.toggleAttribute("hidden", !moved);
    const normalized = [`x̂ = ${vector(xHat)}`, `‖x̂‖ = ${figure(Math.hypot(...xHat))}`];
    const output = `y = ${vector(y)}`;
    tell(
      [`x = ${vector(state.x)}`, `μ = ${figure(mean)}`, ...normalized, output].join(", "),
      [...normalized, moved ? output : "y = x̂"],
    );
  }

  const setters = { x: [], weight: [], bias: [] };
  const titles = { x: "x", weight: "γ", bias: "β" };
  const ranges = { x: [-4, 4, 0.05], weight: [-1.5, 1.5, 0.05], bias: [-1.5, 1.5, 0.05] };
  for (const [key, title] of Object.entries(titles)) {
    const set = add(controls, "fieldset");
    add(set, "legend", {}, title);
    state[key].forEach((value, i) => {
      const change = (entry) => ((state[key][i] = entry), draw());
      setters[key][i] = slider(set, `${title}${"₁₂₃"[i]}`, ranges[key], value, change);
    });
  }
  const last = add(controls, "div");
  const places = { LN: words.inside, outside: words.outside };
  choice(last, words.epsilon, places, "LN", (value) => ((state.norm = value), draw()));
  const setEps = slider(last, "ε", [0, 1, 0.01], 0, (value) => ((state.eps = value), draw()));
  button(last, words.reset, () => {
    Object.assign(state, structuredClone({ ...initial, norm: state.norm }));
    for (const key of Object.keys(setters)) setters[key].forEach((set, i) => set(state[key][i]));
    setEps(0);
    draw();
  });

  const move = (dx, dy) => {
    const shift = lift(dx, dy);
    state.x = state.x.map((entry, i) => Math.min(4, Math.max(-4, entry + shift[i])));
    setters.x.forEach((set, i) => set(state.x[i]));
    draw();
  };
  let held = null;
  svg.addEventListener("pointerdown", (event) => {
    held = event.target === handle ? "x" : "space";
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", ({ movementX, movementY }) => {
    const zoom = 500 / svg.getBoundingClientRect().width;
    if (held === "x") move(movementX * zoom, movementY * zoom);
    else if (held) ((turn += movementX / 150), draw());
  });
  for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => (held = null));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    if (event.target === handle) move(6 * step[0], 6 * step[1]);
    else ((turn += 0.1 * step[0]), draw());
  });
  draw();
}
