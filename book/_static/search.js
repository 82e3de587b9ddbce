// The fields of the search: results appear while one writes. What finds them is loaded when a reader
// first enters a field.
{
  const load = onDemand(document.currentScript.dataset.engine, "bookSearch"); // of page.js
  const PAUSE = 150; // ms without a key
  const SHOWN = { page: 40, dialog: 8 };

  const element = (name, attributes = {}, ...children) => {
    const made = Object.assign(document.createElement(name), attributes);
    made.append(...children);
    return made;
  };

  const item = ({ page, title, url, excerpt }) => {
    const place = page ? [page, element("span", { ariaHidden: "true", textContent: " › " }), title] : [title];
    const pieces = excerpt().map(({ text, marked }) => (marked ? element("mark", { textContent: text }) : text));
    return element("li", {}, element("a", { href: url }, ...place), element("p", {}, ...pieces));
  };

  const attach = (form) => {
    const field = form.elements.q;
    const dialog = form.closest("dialog");
    const status = element("p", { role: "status" });
    const list = element("ol");
    const results = element("div", { className: "search-results" }, status, list);
    let asked, timer;
    form.after(results);

    const show = async () => {
      const query = (asked = field.value.trim());
      const { text, ready } = await load();
      const found = query ? (await ready)(query) : [];
      if (query !== asked) return; // the reader went on writing
      const shown = found.slice(0, dialog ? SHOWN.dialog : SHOWN.page);
      const count = shown.length < found.length ? "best" : ["none", "one"][found.length] ?? "many";
      const counted = query && text[count].replace("{all}", found.length).replace("{shown}", shown.length);
      status.innerHTML = found.length ? counted : `${counted} ${text.help}`;
      list.replaceChildren(...shown.map(item));
      if (!dialog) history.replaceState(null, "", query ? `?q=${encodeURIComponent(query)}` : location.pathname);
    };

    field.addEventListener("focus", load, { once: true });
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(show, PAUSE);
    });
    form.parentElement.addEventListener("keydown", (event) => {
      const stops = [field, ...list.querySelectorAll("a")];
      const next = stops.indexOf(document.activeElement) + { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (stops[next]) stops[next].focus();
      if (stops[next]) event.preventDefault();
    });
    if (dialog) return;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      show();
    });
    field.value = new URLSearchParams(location.search).get("q") ?? "";
    show();
  };

  const forms = [...document.querySelectorAll("form.bd-search")];
  const persistent = forms.find((form) => !form.closest("dialog"));
  for (const form of persistent ? [persistent] : forms) attach(form);
}
