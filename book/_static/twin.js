// The switch between the languages leads to the section one is reading.
const link = document.querySelector("a.language-switch");
const follow = () => {
  const sections = [...document.querySelectorAll(".bd-article section section[data-twin]")];
  const begun = sections.filter((section) => section.getBoundingClientRect().top < innerHeight / 3);
  link.hash = begun.length ? begun.at(-1).dataset.twin : "";
};
for (const event of ["pointerdown", "keydown"]) link?.addEventListener(event, follow);
