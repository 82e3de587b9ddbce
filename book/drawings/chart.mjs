// Axes by d3, and numbers drawn over them; each chart is as wide as its frame, so that letters stay legible.
import { axisBottom, axisLeft } from "d3-axis";
import { select } from "d3-selection";
import { add } from "./controls.mjs";

const MARGIN = { top: 12, right: 14, bottom: 44, left: 46 };

// Return a drawing area that calls draw again whenever its width changes.
export function chart(parent, height, draw) {
  const svg = add(parent, "svg", { class: "chart", role: "img", height });
  const again = () => {
    const width = parent.clientWidth;
    svg.setAttribute("width", width);
    svg.replaceChildren();
    draw(svg, {
      left: MARGIN.left, right: width - MARGIN.right, top: MARGIN.top, bottom: height - MARGIN.bottom, width, height,
    });
  };
  new ResizeObserver(again).observe(parent);
  return again;
}

// Draw the axes; x and y hold a scale, its name, and what d3 is to mark.
export function axes(svg, box, x, y) {
  const mark = (axis, { ticks, format }) => {
    if (Array.isArray(ticks)) axis.tickValues(ticks);
    else axis.ticks(ticks);
    return axis.tickFormat(format).tickSizeOuter(0);
  };
  const grid = axisLeft(y.scale).tickSizeInner(box.left - box.right);
  select(svg).append("g").attr("transform", `translate(0,${box.bottom})`).call(mark(axisBottom(x.scale), x));
  select(svg).append("g").attr("class", "grid").attr("transform", `translate(${box.left},0)`).call(mark(grid, y));
  add(svg, "text", { x: (box.left + box.right) / 2, y: box.height - 6, "text-anchor": "middle" }, x.name);
  const turn = `translate(12,${(box.top + box.bottom) / 2}) rotate(-90)`;
  add(svg, "text", { transform: turn, "text-anchor": "middle" }, y.name);
}
