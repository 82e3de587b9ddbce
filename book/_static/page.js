// What every page does: switch languages in place, copy links to sections and formulas, open figures
// at their full size, say its color mode, print in black on white.
const root = document.documentElement;
const { copied, full_size: fullSize, close: shut } = JSON.parse(document.currentScript.dataset.words);

// A function that loads a script when first called, and promises what the script puts under a name.
const onDemand = (src, name) => {
  let loading;
  return () =>
    (loading ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.addEventListener("load", () => resolve(window[name]));
      script.addEventListener("error", reject);
      script.src = src;
      document.head.append(script);
    }));
};

// The switch to another language leads to the section one is reading.
for (const link of document.querySelectorAll("a.language-switch")) {
  const twin = `data-${link.hreflang}`;
  const follow = () => {
    const sections = [...document.querySelectorAll(`.bd-article section section[${twin}]`)];
    const begun = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
    link.hash = begun.length ? begun.at(-1).getAttribute(twin) : "";
  };
  for (const event of ["pointerdown", "keydown"]) link.addEventListener(event, follow);
}

// The sign at a heading copies the address of its section, besides leading there.
const said = document.createElement("span");
said.className = "visually-hidden";
said.role = "status";
document.body.append(said);
for (const link of document.querySelectorAll(".bd-article a.headerlink")) {
  link.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link.href);
    } catch { // the browser does not let this page copy; the address bar has it
      return;
    }
    said.textContent = link.dataset.copied = copied;
    setTimeout(() => {
      said.textContent = "";
      delete link.dataset.copied;
    }, 2000);
  });
}

// A formula is copied as its TeX, even where only a part of it is selected.
document.addEventListener("copy", (event) => {
  const selection = getSelection();
  if (selection.isCollapsed) return;
  const range = selection.getRangeAt(0);
  const isHeld = (formula) => {
    if (!range.intersectsNode(formula)) return false;
    const part = document.createRange();
    part.selectNodeContents(formula);
    if (formula.contains(range.startContainer)) part.setStart(range.startContainer, range.startOffset);
    if (formula.contains(range.endContainer)) part.setEnd(range.endContainer, range.endOffset);
    return part.toString().trim();
  };
  const formulas = [...document.querySelectorAll("[data-tex] > math")].filter(isHeld);
  if (!formulas.length) return;
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection;
  if (formulas[0].contains(range.startContainer)) range.setStartBefore(formulas[0]);
  if (formulas.at(-1).contains(range.endContainer)) range.setEndAfter(formulas.at(-1));
  const { startContainer, startOffset, endContainer, endOffset } = range;
  const html = document.createElement("div");
  html.append(range.cloneContents());
  const texts = formulas.map(({ parentElement: { tagName, dataset } }) => {
    const mark = tagName === "DIV" ? "$$" : "$";
    return new Text(mark + dataset.tex + mark);
  });
  formulas.forEach((formula, i) => formula.replaceWith(texts[i])); // until the selection is read
  selection.setBaseAndExtent(startContainer, startOffset, endContainer, endOffset);
  event.clipboardData.setData("text/plain", selection.toString());
  event.clipboardData.setData("text/html", html.innerHTML);
  formulas.forEach((formula, i) => texts[i].replaceWith(formula));
  selection.setBaseAndExtent(anchorNode, anchorOffset, focusNode, focusOffset);
  event.preventDefault();
});

// A figure can be opened at its full size where the window is too narrow for it.
{
  const button = (textContent, className, action) => {
    const made = Object.assign(document.createElement("button"), { className: `btn btn-sm ${className}`, textContent });
    made.addEventListener("click", action);
    return made;
  };
  for (const image of document.querySelectorAll(".bd-article .cell_output img:not(.solved img)")) {
    const figure = image.closest("figure");
    const name = `${fullSize}: ${figure.querySelector(".caption-number").textContent.trim()}`;
    const open = () => {
      const dialog = Object.assign(document.createElement("dialog"), { className: "full-size", ariaLabel: name });
      dialog.append(button(shut, "shut", () => dialog.close()), image.cloneNode());
      dialog.addEventListener("close", () => dialog.remove());
      figure.append(dialog);
      dialog.showModal();
    };
    const opener = Object.assign(button(fullSize, "open-full-size", open), { ariaLabel: name });
    figure.append(opener);
    image.addEventListener("click", () => opener.checkVisibility() && opener.click());
  }
}

// The button of the color mode is named after the mode that is on.
for (const button of document.querySelectorAll(".theme-switch-button")) {
  const name = button.getAttribute("aria-label");
  const say = () => {
    const { title } = button.querySelector(`[data-mode="${root.dataset.mode}"]`);
    button.setAttribute("aria-label", `${name}: ${title}`);
  };
  new MutationObserver(say).observe(root, { attributeFilter: ["data-mode"] });
  say();
}

// The address of the claims says which of them are shown: behauptungen.html#only-wrong.
const choices = [...document.querySelectorAll(".ledger-filter input")];
const choose = () => {
  for (const id of location.hash.slice(1).split("+")) {
    for (const choice of choices) choice.checked ||= choice.id === id;
  }
};
for (const choice of choices) {
  choice.addEventListener("change", () => {
    const ids = choices.filter(({ id, checked }) => id && checked).map(({ id }) => id);
    history.replaceState(null, "", ids.length ? `#${ids.join("+")}` : location.pathname);
  });
}
if (choices.length) addEventListener("hashchange", choose);
choose();

let theme;
addEventListener("beforeprint", () => {
  theme = root.dataset.theme;
  root.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  root.dataset.theme = theme;
});
