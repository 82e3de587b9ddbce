// Formulas of a page: seen whole, well spaced, with their punctuation, in one typeface.
const WIDTHS = [320, 390, 768, 1440];
const PHONE = 390; // from this width on, no formula needs scrolling, no punctuation stands alone

// What is wrong with a page's formulas, by fault and width of the window.
export async function faultsOfFormulas(page) {
  const all = {};
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    const { wide, parted, ...faults } = await page.evaluate(examine);
    if (width >= PHONE) Object.assign(faults, { wide, parted });
    for (const [fault, found] of Object.entries(faults)) if (found.length) all[`${fault} at ${width} px`] = found;
  }
  return all;
}

// What is wrong with a page's formulas; runs in the page.
function examine() {
  const BLOCK = "p, li, td, th, dt, dd, figcaption, h1, h2, h3, h4";
  const NOT_PROSE = "math, .symbol, pre, code, svg, script, style, .citation, .widget";
  const name = (element) => element.textContent.trim().slice(0, 60);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const edges = (math) => {
    const rects = [...math.querySelectorAll("*")].map((part) => part.getBoundingClientRect());
    return [Math.min(...rects.map((r) => r.left)), Math.max(...rects.map((r) => r.right))];
  };
  const within = (math, box) => {
    const { left, right } = box.getBoundingClientRect();
    return edges(math)[0] >= left - 1 && edges(math)[1] <= right + 1;
  };
  const wide = [], hidden = [];
  for (const math of all("div.math > math")) {
    const box = math.parentElement;
    if (within(math, box)) continue;
    wide.push(name(math));
    const { left, right } = box.getBoundingClientRect();
    const [start] = edges(math);
    box.scrollLeft = 1e6;
    const [, end] = edges(math);
    if (start < left - 1 || end > right + 1) hidden.push(name(math));
  }
  const inline = all("span.math > math");
  const outside = inline.filter((math) => !within(math, math.closest(BLOCK)));
  const gaps = all("msqrt").filter(
    (root) => Math.abs(root.getBoundingClientRect().right - root.lastElementChild.getBoundingClientRect().right) > 2,
  );

  // A character beside a formula, and where it stands.
  const beside = (math, step, end) => {
    const walker = document.createTreeWalker(math.closest(BLOCK), NodeFilter.SHOW_TEXT);
    walker.currentNode = end;
    let text = walker[step]();
    while (text && !text.length) text = walker[step]();
    if (!text || text.parentElement.closest("math")) return null;
    const at = step === "nextNode" ? 0 : text.length - 1;
    if (/\s/.test(text.data[at])) return null;
    const range = document.createRange();
    range.setStart(text, at);
    range.setEnd(text, at + 1);
    return range.getBoundingClientRect();
  };
  const last = (node) => (node.lastChild ? last(node.lastChild) : node);
  const parted = inline.filter((math) => {
    const { left, right } = math.getBoundingClientRect();
    const next = beside(math, "nextNode", last(math)), previous = beside(math, "previousNode", math);
    return (next && next.left < right - 1) || (previous && previous.right > left + 1);
  });

  const lone = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    if (/[α-ω](?![A-Za-z])/.test(data) && !parentElement.closest(NOT_PROSE)) lone.push(data.trim());
  }
  return {
    wide, hidden, lone,
    outside: outside.map(name), gaps: gaps.map(name), parted: parted.map((math) => name(math.closest(".together") ?? math)),
  };
}
