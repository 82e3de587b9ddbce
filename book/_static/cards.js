// Cards: what a link to a work, a term or a claim leads to, beside the link, while the pointer or the
// keyboard is there. A finger's first tap shows the card, whose last line leads on.
if ("showPopover" in HTMLElement.prototype) {
  const load = onDemand(document.currentScript.dataset.cards, "bookCards"); // of page.js
  const PAUSE = { before: 250, after: 300 }; // ms that the pointer rests on a link, or may be elsewhere
  const GAP = 6; // px
  const card = Object.assign(document.createElement("div"), { className: "card-beside", id: "card-beside", popover: "manual" });
  let owner, timer, dismissed;

  const later = (action, pause) => {
    clearTimeout(timer);
    timer = setTimeout(action, pause);
  };

  const hide = () => {
    clearTimeout(timer);
    owner?.removeAttribute("aria-details");
    owner = undefined;
    card.remove(); // which hides it
  };

  // Below the line of the link that the pointer is on, or above it if there is more room.
  const place = (link, at) => {
    const lines = [...link.getClientRects()];
    const line = lines.find(({ top, bottom }) => top <= at && at <= bottom) ?? lines[0];
    const { clientWidth, clientHeight } = document.documentElement;
    const { offsetWidth: width } = card;
    const below = clientHeight - line.bottom - 3 * GAP;
    const above = line.top - 3 * GAP - (document.querySelector(".bd-header-article")?.getBoundingClientRect().bottom ?? 0);
    const fits = card.scrollHeight <= below || below >= above;
    card.style.maxHeight = `${Math.max(fits ? below : above, 100)}px`;
    card.style.left = `${scrollX + Math.max(GAP, Math.min(line.left, clientWidth - width - 2 * GAP))}px`;
    if (fits) card.style.top = `${scrollY + line.bottom + GAP}px`;
    else card.style.bottom = `${clientHeight - scrollY - line.top + GAP}px`; // it may grow, its fonts come later
  };

  const show = async (link, at) => {
    clearTimeout(timer);
    if (owner === link) return;
    hide();
    owner = link;
    const file = link.pathname.split("/").at(-1);
    const html = (await load())[`${file}${decodeURIComponent(link.hash)}`];
    await document.fonts.ready; // which moves the link
    if (owner !== link) return; // the reader went on
    card.removeAttribute("style");
    card.innerHTML = html;
    link.after(card);
    link.setAttribute("aria-details", card.id);
    card.showPopover();
    place(link, at);
  };

  const linkAt = ({ target }) => (card.contains(target) ? null : target.closest?.("a.carded"));
  const inUse = () => owner === document.activeElement || card.contains(document.activeElement);

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = linkAt(event);
    if (card.contains(event.target) || (owner && link === owner)) clearTimeout(timer);
    else if (link) later(() => show(link, event.clientY), PAUSE.before);
    else if (owner && !inUse()) later(hide, PAUSE.after);
    else if (!owner) clearTimeout(timer);
  });
  document.addEventListener("focusin", (event) => {
    const link = linkAt(event);
    if (dismissed) return;
    if (link?.matches(":focus-visible")) show(link);
    else if (!card.contains(event.target)) hide();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !owner) return;
    const link = owner;
    const inside = card.contains(document.activeElement);
    hide();
    dismissed = true; // the focus that comes back shows nothing
    if (inside) link.focus();
    dismissed = false;
  });
  document.addEventListener("pointerdown", (event) => !card.contains(event.target) && !linkAt(event) && hide());
  document.addEventListener("click", (event) => {
    if (card.contains(event.target)) return event.target.closest("a") && setTimeout(hide);
    const link = event.pointerType === "touch" && linkAt(event);
    if (!link || link === owner) return;
    event.preventDefault();
    show(link, event.clientY);
  });
}
