// The search for a kernel: the speed of every launch over occupancy and over the bytes under way.
import { scaleLinear, scaleLog } from "d3-scale";
import { axes, chart } from "./chart.mjs";
import { add, choice, figure, fill, pick, result } from "./controls.mjs";

const FEW = 24; // KiB under way
const REACH = 40; // px from the pointer to a launch
const AXES = {
  occupancy: { scale: (range) => scaleLinear([0, 1.02], range), ticks: 5, format: (part) => figure(part, 1) },
  underWay: {
    scale: (range) => scaleLog([8, 420], range).base(2), ticks: [8, 16, 32, 64, 128, 256], format: (kib) => figure(kib, 0),
  },
};

export default function launches(host, words, all) {
  const lengths = [...new Set(all.map(({ columns }) => columns))].sort((a, b) => a - b);
  const state = { norm: "both", columns: null, at: 0 };
  let found = all;
  const places = {};
  const controls = add(host, "div", { class: "controls" });
  const norms = { both: words.both, layer_norm: "LN", rms_norm: "RMSNorm" };
  choice(controls, words.norm, norms, state.norm, (norm) => ((state.norm = norm), select()));
  const names = [words.all, ...lengths];
  pick(controls, words.length, names, 0, (i) => ((state.columns = lengths[i - 1] ?? null), select()));
  const panels = add(host, "div", { class: "panels" });
  const redraw = Object.keys(AXES).map((key) => panel(key));
  const label = add(host, "label", { class: "rank" }, `${words.rank} `);
  const rank = add(label, "input", { type: "range", min: 0, step: 1, value: 0 });
  rank.addEventListener("input", () => ((state.at = rank.valueAsNumber), draw()));
  const tell = result(host);

  function panel(key) {
    const frame = add(panels, "div");
    const again = chart(frame, 300, (svg, box) => {
      const { scale, ...rest } = AXES[key];
      const x = scale([box.left, box.right]);
      const y = scaleLinear([0.45, 1.01], [box.bottom, box.top]);
      axes(svg, box, { scale: x, name: words[key], ...rest },
        { scale: y, name: words.ofCopy, ticks: 6, format: (part) => figure(part, 1) });
      const place = (launch) => [x(launch[key]), y(Math.max(launch.ofCopy, 0.45))];
      places[key] = place;
      const among = new Set(found);
      for (const launch of [...all].sort((a, b) => among.has(a) - among.has(b))) {
        const [cx, cy] = place(launch);
        const look = !among.has(launch) ? "other" : launch.underWay < FEW ? "few" : "enough";
        add(svg, "circle", { cx, cy, r: 3.5, class: look });
      }
      const [cx, cy] = place(found[state.at]);
      add(svg, "line", { class: "cross", x1: cx, x2: cx, y1: cy, y2: box.bottom });
      add(svg, "line", { class: "cross", x1: box.left, x2: cx, y1: cy, y2: cy });
      add(svg, "circle", { cx, cy, r: 8, class: "here" });
      svg.setAttribute("aria-label", `${words.ofCopy}, ${words[key]}: ${told(found[state.at])}`);
    });
    const point = ({ clientX, clientY }) => {
      const { left, top } = frame.querySelector("svg").getBoundingClientRect();
      const distance = (launch) => Math.hypot(...places[key](launch).map((z, i) => z - [clientX - left, clientY - top][i]));
      const far = found.map(distance);
      const nearest = Math.min(...far);
      if (nearest > REACH) return;
      state.at = far.indexOf(nearest);
      draw();
    };
    for (const event of ["pointermove", "pointerdown"]) frame.addEventListener(event, point);
    return again;
  }

  function select() {
    const { norm, columns } = state;
    found = all.filter((one) => (norm === "both" || one.norm === norm) && (columns ?? one.columns) === one.columns);
    state.at = 0;
    draw();
  }

  const told = (launch) => fill(words.launch, {
    ...launch,
    norm: norms[launch.norm],
    underWay: figure(launch.underWay, 0),
    occupancy: figure(100 * launch.occupancy, 0),
    ofCopy: figure(launch.ofCopy, 2),
  });

  function draw() {
    for (const again of redraw) again();
    rank.max = found.length - 1;
    rank.value = state.at;
    const place = fill(words.place, { rank: state.at + 1, count: found.length });
    const launch = told(found[state.at]);
    rank.setAttribute("aria-valuetext", place);
    tell(`${place}: ${launch}`, [launch]);
  }
  draw();
}
