// What all drawings share: elements, numbers in the page's language, controls.

const PAUSE = 300; // ms

export const figure = (x, digits = 2) => {
  if (Number.isNaN(x)) return "0/0";
  const format = { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" };
  return x.toLocaleString(document.documentElement.lang, format).replace("-", "−");
};

export const vector = (values, digits = 2) => {
  const separator = figure(0.5).includes(",") ? "; " : ", ";
  return `(${values.map((value) => figure(value, digits)).join(separator)})`;
};

// A text of languages.yml with its {names} filled in.
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

export function add(parent, name, attributes = {}, text = "") {
  const space = parent.closest("svg") || name === "svg" ? "http://www.w3.org/2000/svg" : null;
  const element = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return parent.appendChild(element);
}

export function slider(parent, name, [min, max, step], value, change) {
  const label = add(parent, "label", {}, `${name} `);
  const input = add(label, "input", { type: "range", min, max, step, value });
  const shown = add(label, "span", { class: "value", "aria-hidden": true }); // an output would be spoken twice
  const show = () => {
    shown.textContent = figure(input.valueAsNumber, step < 1 ? 2 : 0);
  };
  input.addEventListener("input", () => (show(), change(input.valueAsNumber)));
  show();
  return (x) => ((input.value = x), show());
}

export function choice(parent, title, options, chosen, change) {
  const set = add(parent, "fieldset", { class: "choice" });
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

// A field for a number; what is none changes nothing.
export function number(parent, name, value, change, attributes = {}) {
  const input = add(parent, "input", { type: "number", step: "any", "aria-label": name, value, ...attributes });
  input.addEventListener("input", () => input.checkValidity() && input.value && change(input.valueAsNumber));
  return (x) => (input.value = x);
}

// A list of which one is chosen, by its place.
export function pick(parent, title, names, chosen, change) {
  const label = add(parent, "label", {}, `${title} `);
  const list = add(label, "select");
  names.forEach((name, i) => add(list, "option", { value: i }, name));
  list.value = chosen;
  list.addEventListener("change", () => change(Number(list.value)));
  return list;
}

// A line that says what a drawing shows. A screen reader hears of it what is new, once nothing has
// changed for a moment: those of some parts that were not there before, and nothing of the beginning.
export function result(parent) {
  const line = add(parent, "p", { class: "result" });
  const status = add(parent, "p", { class: "visually-hidden", role: "status" });
  let known, timer;
  return (text, parts = [text]) => {
    line.textContent = text;
    known ??= parts;
    clearTimeout(timer);
    timer = setTimeout(() => {
      const news = parts.filter((part) => !known.includes(part));
      known = parts;
      if (news.length) status.textContent = news.join(", ");
    }, PAUSE);
  };
}

export const button = (parent, text, act) =>
  add(parent, "button", { type: "button" }, text).addEventListener("click", act);

// Draw where the page holds a figure with [data-widget=NAME]; the paragraph above it moves into the frame.
export function show(name, draw, words, data) {
  for (const host of document.querySelectorAll(`[data-widget=${name}]`)) {
    host.classList.add("widget");
    host.prepend(host.parentElement.previousElementSibling);
    draw(host, words, data);
  }
}
