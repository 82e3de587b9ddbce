// Two drawings that move: the plane and the sphere of layer normalization for H = 3, and the axes
// over which each method averages. Each stands where the page holds an element [data-widget].
(() => {
  const words = JSON.parse(document.currentScript.dataset.words);
  const figure = (x, digits = 2) => {
    const format = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
    return x.toLocaleString(document.documentElement.lang, format).replace("-", "−");
  };
  const SEPARATOR = figure(0.5).includes(",") ? "; " : ", ";

  function add(parent, name, attributes = {}, text = "") {
    const space = parent.closest("svg") || name === "svg" ? "http://www.w3.org/2000/svg" : null;
    const element = space ? document.createElementNS(space, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    return parent.appendChild(element);
  }

  function slider(parent, name, [min, max, step], value, change) {
    const label = add(parent, "label", {}, `${name} `);
    const input = add(label, "input", { type: "range", min, max, step, value });
    const shown = add(label, "output");
    const show = () => {
      shown.textContent = figure(input.valueAsNumber, step < 1 ? 2 : 0);
    };
    input.addEventListener("input", () => (show(), change(input.valueAsNumber)));
    show();
    return (x) => ((input.value = x), show());
  }

  function choice(parent, title, options, chosen, change) {
    const set = add(parent, "fieldset");
    add(set, "legend", {}, title);
    const name = `${title}-${Math.random()}`;
    for (const [value, text] of Object.entries(options)) {
      const label = add(set, "label");
      const input = add(label, "input", { type: "radio", name, value });
      input.checked = value === chosen;
      label.append(` ${text}`);
      input.addEventListener("change", () => change(value));
    }
  }

  // --- The plane and the sphere -----------------------------------------------------------------

  const dot = (p, q) => p.reduce((sum, x, i) => sum + x * q[i], 0);
  const UP = [1, 1, 1].map((x) => x / Math.sqrt(3)); // the diagonal stands upright
  const EAST = [1, -1, 0].map((x) => x / Math.sqrt(2));
  const SOUTH = [1, 1, -2].map((x) => x / Math.sqrt(6));

  function normalize({ x, weight, bias, eps, place }) {
    const mean = (x[0] + x[1] + x[2]) / 3;
    const centered = x.map((entry) => entry - mean);
    const variance = dot(centered, centered) / 3;
    const scale = place === "inside" ? Math.sqrt(variance + eps) : Math.sqrt(variance) + eps;
    const xHat = centered.map((entry) => (scale > 0 ? entry / scale : 0));
    return { mean, centered, xHat, y: xHat.map((entry, i) => weight[i] * entry + bias[i]) };
  }

  function sphere(host) {
    const initial = { x: [2.2, 1.0, 1.3], weight: [1, 1, 1], bias: [0, 0, 0], eps: 0, place: "inside" };
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
    const spoken = add(host, "p", { class: "result", "aria-live": "polite" });
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
      const { centered, xHat, y, mean } = normalize(state);
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
      const vector = (p) => `(${p.map((entry) => figure(entry)).join(SEPARATOR)})`;
      const length = figure(Math.hypot(...xHat));
      spoken.textContent =
        `x = ${vector(state.x)}, μ = ${figure(mean)}, x̂ = ${vector(xHat)}, ‖x̂‖ = ${length}, y = ${vector(y)}`;
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
    const places = { inside: words.inside, outside: words.outside };
    choice(last, words.epsilon, places, "inside", (value) => ((state.place = value), draw()));
    const setEps = slider(last, "ε", [0, 1, 0.01], 0, (value) => ((state.eps = value), draw()));
    const reset = add(last, "button", { type: "button" }, words.reset);
    reset.addEventListener("click", () => {
      Object.assign(state, structuredClone({ ...initial, place: state.place }));
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

  // --- The axes -----------------------------------------------------------------------------------

  const METHODS = { // what two values must have in common to share a mean
    BN: ({ c }) => [c],
    LN: ({ n, p }) => [n, p],
    CHW: ({ n }) => [n],
    IN: ({ n, c }) => [n, c],
    GN: ({ n, c }) => [n, Math.floor(c / 2)],
  };

  function axes(host) {
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
    const spoken = add(host, "p", { class: "result", "aria-live": "polite" });
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
        words.shared.replace("{shared}", shared.length).replace("{means}", means),
        others ? words.others : words.alone,
      ];
      if (data === "sequence") notes.push(later ? words.later : words.causal);
      spoken.textContent = notes.join(" ");
      svg.setAttribute("aria-label", `${words[method]}: ${spoken.textContent}`);
    }
    draw();
  }

  const WIDGETS = { sphere, axes };
  for (const host of document.querySelectorAll("[data-widget]")) {
    host.classList.add("widget");
    WIDGETS[host.dataset.widget](host);
  }
})();
