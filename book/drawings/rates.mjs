// Two arms of the transformer sweep: loss over learning rate, every seed, and their difference in pairs.
import { scaleLinear, scaleLog } from "d3-scale";
import { axes, chart } from "./chart.mjs";
import { add, figure, fill, pick, result } from "./controls.mjs";
import { paired, summary } from "./pairs.mjs";

const CEILING = 3.6; // nats per byte; what lies above is drawn at the edge
const SHIFT = 5; // px, so that two arms do not cover each other
const LOOKS = { A: "arm-A", B: "arm-B" };

export default function rates(host, words, { arms, first }) {
  const chosen = [...first];
  const names = arms.map(({ name }) => name);
  const all = arms.flatMap(({ losses }) => losses.flat()).filter((loss) => loss !== null);
  const marks = [...new Set(arms.flatMap(({ rates }) => rates))].sort((a, b) => a - b);
  const controls = add(host, "div", { class: "controls" });
  Object.entries(LOOKS).forEach(([name, look], i) =>
    pick(controls, name, names, chosen[i], (arm) => ((chosen[i] = arm), draw())).parentNode.classList.add(look));
  const upper = chart(add(host, "div"), 330, curves);
  const lower = chart(add(host, "div"), 120, differences);
  const tell = result(host);
  const details = add(host, "details");
  add(details, "summary", {}, words.numbers);
  const table = add(add(details, "div", { class: "scroll", tabindex: 0 }), "table");

  const told = (rate) => figure(rate, rate < 0.001 ? 4 : 3);
  const finite = (losses) => losses.filter((loss) => loss !== null);
  const written = ({ mean, error, n }) => `${figure(mean, 3)} ± ${figure(error, 3)} (n = ${n})`;

  function curves(svg, box) {
    const x = scaleLog([marks[0] * 0.8, marks.at(-1) * 1.25], [box.left, box.right]);
    const y = scaleLinear([Math.min(...all) - 0.02, CEILING], [box.bottom, box.top]);
    const height = (loss) => y(loss < CEILING && loss !== null ? loss : CEILING);
    const ticks = marks.filter((_, i) => box.width > 480 || i % 2 === 0);
    axes(svg, box,
      { scale: x, name: words.rate, ticks, format: told },
      { scale: y, name: words.loss, ticks: 6, format: (loss) => figure(loss, 1) });
    const path = ({ rates, losses }, shift = 0) =>
      rates.map((rate, i) => `${x(rate) + shift},${height(summary(finite(losses[i])).mean)}`).join(" ");
    for (const arm of arms) add(svg, "polyline", { class: "other", points: path(arm) });
    Object.entries(LOOKS).forEach(([name, look], i) => {
      const [arm, shift] = [arms[chosen[i]], i ? SHIFT : -SHIFT];
      const group = add(svg, "g", { class: look });
      add(group, "polyline", { points: path(arm, shift) });
      arm.rates.forEach((rate, k) => {
        const cx = x(rate) + shift;
        for (const loss of arm.losses[k]) {
          const lost = loss === null || loss > CEILING;
          add(group, "circle", { cx, cy: height(loss), r: 3, class: lost ? "lost" : "seed" });
        }
        const { mean, error, n } = summary(finite(arm.losses[k]));
        if (n > 1) add(group, "line", { x1: cx, x2: cx, y1: height(mean - error), y2: height(mean + error) });
        if (k === arm.own) add(group, "circle", { cx, cy: height(mean), r: 9, class: "own" });
      });
      const at = arm.rates.length - 1;
      add(group, "text", { x: x(arm.rates[at]) + shift, y: height(arm.losses[at][0]) - 14, "text-anchor": "end" }, name);
    });
    svg.setAttribute("aria-label", `${words.loss}, ${words.rate}: ${chosen.map((i) => names[i]).join("; ")}`);
  }

  function differences(svg, box) {
    const found = paired(arms[chosen[0]], arms[chosen[1]]);
    const seen = found ? [0, ...found.differences, found.mean - 3 * found.error, found.mean + 3 * found.error] : [-1, 1];
    const x = scaleLinear([Math.min(...seen), Math.max(...seen) + 1e-6], [box.left, box.right]).nice();
    const y = (box.top + box.bottom) / 2;
    axes(svg, box, { scale: x, name: words.difference, ticks: 5, format: (value) => figure(value, 2) },
      { scale: scaleLinear([0, 1], [box.bottom, box.top]), name: "", ticks: [], format: String });
    if (x.domain()[0] <= 0) add(svg, "line", { class: "zero", x1: x(0), x2: x(0), y1: box.top, y2: box.bottom });
    if (!found) return svg.setAttribute("aria-label", words.lost);
    const { mean, error } = found;
    for (const value of found.differences) add(svg, "circle", { cx: x(value), cy: y, r: 4, class: "pair" });
    add(svg, "line", { class: "three", x1: x(mean - 3 * error), x2: x(mean + 3 * error), y1: y, y2: y });
    add(svg, "line", { class: "one", x1: x(mean - error), x2: x(mean + error), y1: y, y2: y });
    add(svg, "circle", { cx: x(mean), cy: y, r: 6, class: "mean" });
    svg.setAttribute("aria-label", `${words.difference}: ${written(found)}`);
  }

  function draw() {
    upper();
    lower();
    const [a, b] = chosen.map((index) => arms[index]);
    const found = paired(a, b);
    const clear = found && Math.abs(found.mean) > 3 * found.error;
    const facts = { a: a.name, b: b.name, rateA: told(a.rates[a.own]), rateB: told(b.rates[b.own]) };
    const verdict = clear ? (found.mean > 0 ? words.ahead : words.behind) : words.open;
    if (found) {
      const difference = written(found);
      tell(`${fill(words.result, { ...facts, difference })} ${verdict}`, [`${difference}. ${verdict}`]);
    } else tell(words.lost);
    table.replaceChildren();
    const head = add(add(table, "thead"), "tr");
    for (const name of [words.rate, a.name, b.name]) add(head, "th", { scope: "col" }, name);
    const body = add(table, "tbody");
    for (const rate of marks) {
      const line = add(body, "tr");
      add(line, "th", { scope: "row" }, told(rate));
      for (const arm of [a, b]) {
        const losses = arm.losses[arm.rates.indexOf(rate)];
        const kept = losses && finite(losses);
        const gone = kept && kept.length < losses.length ? fill(words.gone, { n: losses.length - kept.length }) : "";
        add(line, "td", {}, !kept ? "–" : [kept.length > 1 ? written(summary(kept)) : "", gone].join(" ").trim());
      }
    }
  }
  draw();
}
