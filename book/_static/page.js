// What every page does: switch languages in place, say its color mode, print in black on white.
const root = document.documentElement;

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

let theme;
addEventListener("beforeprint", () => {
  theme = root.dataset.theme;
  root.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  root.dataset.theme = theme;
});
