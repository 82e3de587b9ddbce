// Which exercises are done and what was read last. It is kept on this device alone, and nothing is
// sent anywhere; the landing page shows it and forgets it on request.
(() => {
  const words = JSON.parse(document.currentScript.dataset.words);
  const KEY = "layer-normalization";
  const NOT_READ = /^(index|search|genindex|404|referenz.*)$/;
  const language = document.documentElement.lang;
  const stem = (path) => path.split("/").at(-1).replace(".html", "") || "index";
  const here = stem(location.pathname);

  // { last: { page, section: { language: id } }, pages: { page: { all, done: [labels] } } }
  const load = () => {
    try {
      return { pages: {}, ...JSON.parse(localStorage.getItem(KEY)) };
    } catch { // the browser does not let this page keep anything
      return { pages: {} };
    }
  };
  const save = (change) => {
    try {
      localStorage.setItem(KEY, JSON.stringify({ ...load(), ...change }));
    } catch { /* then nothing is kept */ }
  };
  const say = (text, done, all) => text.replace("{done}", done).replace("{all}", all);
  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  // The sidebar: how many exercises are done, at each page with one.
  const entries = [...document.querySelectorAll(".bd-links li > a.internal")].map((link) => [
    link.getAttribute("href").startsWith("#") ? here : stem(link.pathname), link,
  ]);
  const mark = () => {
    const { pages } = load();
    for (const [page, link] of entries) {
      link.querySelector(".solved-count")?.remove();
      const { all, done = [] } = pages[page] ?? {};
      if (!done.length) continue;
      const text = say(words.count, done.length, all);
      const count = element("span", { className: "solved-count", title: text }, `${done.length}/${all}`);
      count.setAttribute("role", "img");
      count.setAttribute("aria-label", text);
      link.append(" ", count);
    }
  };

  // Each exercise: a box to tick.
  const exercises = [...document.querySelectorAll(".bd-article .exercise[id]")];
  for (const exercise of exercises) {
    const box = element("input", { type: "checkbox", checked: load().pages[here]?.done.includes(exercise.id) });
    const [number] = exercise.querySelector(".admonition-title").textContent.split("(");
    box.setAttribute("aria-label", `${words.done}: ${number.trim()}`);
    box.addEventListener("change", () => {
      const { pages } = load();
      const done = (pages[here]?.done ?? []).filter((label) => label !== exercise.id);
      if (box.checked) done.push(exercise.id);
      save({ pages: { ...pages, [here]: { all: exercises.length, done } } });
      mark();
    });
    exercise.append(element("label", { className: "done", title: words.kept }, box, words.done));
  }

  // The landing page: the way back to what was read last, and how much is done.
  const start = document.querySelector(".bd-article .sd-btn")?.closest("p");
  const { last, pages } = load();
  const [, entry] = entries.find(([page]) => page === last?.page) ?? [];
  if (here === "index" && start && entry) {
    const hash = last.section[language] ? `#${last.section[language]}` : "";
    const done = Object.values(pages).reduce((sum, page) => sum + page.done.length, 0);
    const forget = element("button", { type: "button", className: "btn btn-sm" }, words.forget);
    const link = element("a", { href: `${last.page}.html${hash}` }, [...entry.childNodes].find((part) => part.data?.trim()).data.trim());
    const box = element("p", { className: "continue" }, `${words.continue} `, link, done ? ` · ${say(words.solved, done)}` : "", " · ", forget);
    forget.addEventListener("click", () => {
      localStorage.removeItem(KEY);
      mark();
      box.replaceChildren(words.forgotten);
      box.tabIndex = -1;
      box.focus();
    });
    start.after(box);
  }
  mark();

  addEventListener("pagehide", () => {
    if (NOT_READ.test(here) || !entries.some(([page]) => page === here)) return;
    const sections = [...document.querySelectorAll(".bd-article section section[id]")];
    const begun = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3).at(-1);
    save({ last: { page: here, section: begun ? { ...begun.dataset, [language]: begun.id } : {} } });
  });
})();
