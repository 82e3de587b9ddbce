// What a reader does with the pages: follow links, read text, code, figures and claims, copy, print.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { colors, differ, EDITIONS, HEADER, SITE, start, violations } from "./site.mjs";

const DESKTOP = { viewport: { width: 1440, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const WORDS = {
  de: {
    fullSize: "Volle Größe", shut: "Schließen",
    exercise: /^Übung \d+/, solution: /^Lösung zu Übung \d+/, switchTo: "English",
    mode: { light: "Farbmodus: hell", dark: "Farbmodus: dunkel", auto: "Farbmodus: wie das System" },
  },
  en: {
    fullSize: "Full size", shut: "Close",
    exercise: /^Exercise \d+/, solution: /^Solution to Exercise \d+/, switchTo: "Deutsch",
    mode: { light: "Color mode: Light", dark: "Color mode: Dark", auto: "Color mode: System Settings" },
  },
};

const site = start();

const open = (path, options) => site.open(`${site.url}/${path}`, options);

describe("links to sections", () => {
  for (const look of [DESKTOP, PHONE]) {
    it(`an address with a section, and the way back to it, at ${look.viewport.width} px`, async () => {
      const window = await site.browser.newContext({ reducedMotion: "reduce", ...look });
      await window.route("**/*.woff2", (route) => route.abort()); // or the second view may have fonts that the first had not
      const { page } = await site.open(`${site.url}/en/1c_feinheiten.html#before-or-after-the-nonlinearity`, {}, window);
      const top = () => page.evaluate(() => document.querySelector("#before-or-after-the-nonlinearity").getBoundingClientRect().top);
      assert.ok(Math.abs((await top()) - HEADER) < 4, `the section begins at ${await top()}`);
      await page.evaluate(() => scrollBy(0, 300));
      const left = await top();
      await page.evaluate(() => document.querySelector('.bd-article a[href^="1b_numerik.html"]').click());
      await page.waitForURL("**/1b_numerik.html*");
      await page.goBack();
      assert.ok(Math.abs((await top()) - left) < 4, `left at ${left}, came back at ${await top()}`);
      await window.close();
    });
  }
});

describe("the text", () => {
  for (const edition of EDITIONS) {
    it(`${edition}: has its own letters, from disk`, async () => {
      const url = pathToFileURL(join(SITE, edition, "1_funktionsprinzip.html")).href;
      const { page, problems, close } = await site.open(url, DESKTOP);
      await page.evaluate(() => document.fonts.ready);
      assert.deepEqual(problems, []); // before the protocol loads the document again, which fails from disk
      const client = await page.context().newCDPSession(page);
      await client.send("DOM.enable");
      await client.send("CSS.enable");
      const { root } = await client.send("DOM.getDocument");
      for (const [selector, family] of [
        ["h1", "Source Serif"], [".bd-article p", "Source Serif"], [".bd-article figcaption .caption-text", "Source Sans"], [".bd-article math mi", "STIX"],
      ]) {
        const { nodeId } = await client.send("DOM.querySelector", { nodeId: root.nodeId, selector });
        const { fonts } = await client.send("CSS.getPlatformFontsForNode", { nodeId });
        const [{ familyName, isCustomFont }] = fonts.toSorted((a, b) => b.glyphCount - a.glyphCount);
        assert.ok(isCustomFont && familyName.startsWith(family), `${selector}: ${familyName}`);
      }
      await close();
    });

    it(`${edition}: a full line holds 65 to 75 characters`, async () => {
      const { page, close } = await open(`${edition}/1_funktionsprinzip.html`, DESKTOP);
      await page.evaluate(() => document.fonts.ready);
      const lengths = await page.evaluate(() => {
        const full = [];
        for (const paragraph of document.querySelectorAll(".bd-article section > p")) {
          if (paragraph.querySelector("math")) continue;
          const texts = document.createTreeWalker(paragraph, NodeFilter.SHOW_TEXT);
          const lines = new Map();
          while (texts.nextNode()) {
            const range = document.createRange();
            for (let at = 0; at < texts.currentNode.length; at++) {
              range.setStart(texts.currentNode, at);
              range.setEnd(texts.currentNode, at + 1);
              const { bottom, width } = range.getBoundingClientRect();
              const line = [...lines.keys()].find((other) => Math.abs(other - bottom) < 9) ?? bottom;
              if (width) lines.set(line, (lines.get(line) ?? 0) + 1);
            }
          }
          full.push(...[...lines.values()].slice(0, -1));
        }
        return full.sort((a, b) => a - b);
      });
      assert.ok(lengths.length > 20, `${lengths.length} lines`);
      const median = lengths[lengths.length >> 1];
      assert.ok(65 <= median && median <= 75, `${median} characters`);
      await close();
    });
  }

  it("has a rule at the left of claims only", async () => {
    for (const name of ["1a_rueckwaertspass", "3a_gpu_kernel", "referenz_identify"]) {
      const { page, close } = await open(`en/${name}.html`, DESKTOP);
      const ruled = await page.evaluate(() => {
        for (const details of document.querySelectorAll("details")) details.open = true;
        return [...document.querySelectorAll(".bd-article :not(blockquote, .claim, table *)")].filter((element) => {
          const { borderLeftWidth, borderRightWidth } = getComputedStyle(element);
          return parseFloat(borderLeftWidth) > parseFloat(borderRightWidth);
        }).map(({ tagName, className }) => `${tagName} ${className}`);
      });
      assert.deepEqual(ruled, [], name);
      await close();
    }
  });
});

describe("copying", () => {
  // Select from one place to another, copy, and return what the clipboard holds.
  const copy = async (page, ...ends) => {
    await page.evaluate((ends) => {
      const [from, to] = ends.map(([selector, index, offset]) => [document.querySelectorAll(selector)[index], offset]);
      getSelection().setBaseAndExtent(...from, ...to);
    }, ends);
    await page.keyboard.press("Control+C");
    return page.evaluate(() => navigator.clipboard.readText());
  };
  const view = { ...DESKTOP, permissions: ["clipboard-read", "clipboard-write"] };
  const ITEM = ".bd-article ol > li > p";

  it("a formula is copied as TeX, the text around it as it is", async () => {
    const { page, problems, close } = await open("en/1_funktionsprinzip.html", view);
    const before = await page.locator(".bd-article").innerHTML();
    const [plain, held] = await page.evaluate((item) => {
      const items = [...document.querySelectorAll(item)].slice(0, 2);
      const formulas = items.flatMap((p) => [...p.querySelectorAll("math")]);
      const copies = items.map((p) => {
        const copy = p.cloneNode(true);
        for (const math of copy.querySelectorAll("math")) math.replaceWith(`$${math.parentElement.dataset.tex}$`);
        return copy.textContent.replaceAll(/\s+/g, " ");
      });
      return [copies.join(" "), formulas.length];
    }, ITEM);
    assert.ok(held >= 3);
    const copied = await copy(page, [ITEM, 0, 0], [ITEM, 2, 0]);
    assert.match(copied, /\n/); // between the items
    assert.equal(copied.normalize("NFKC").replaceAll(/\s+/g, " ").trim(), plain.trim());
    assert.match(copied, /\$\\sqrt ?\{?3\}?\$/);
    assert.equal(await page.locator(".bd-article").innerHTML(), before);
    assert.ok(await page.evaluate(() => getSelection().toString().includes("Subtracting the mean")));
    assert.deepEqual(problems, []);
    await close();
  });

  it("so is a part of it, and one on lines of its own; what holds none stays", async () => {
    const { page, close } = await open("en/1_funktionsprinzip.html", view);
    const tex = await page.locator("div.math").first().getAttribute("data-tex");
    assert.equal(await copy(page, ["div.math math", 0, 0], ["div.math math", 0, 1]), `$$${tex}$$`);
    const html = await page.evaluate(async () => {
      const [item] = await navigator.clipboard.read();
      return (await item.getType("text/html")).text();
    });
    assert.match(html, /<math/);
    const text = await page.locator(".bd-article h1").evaluate((heading) => heading.lastElementChild.previousSibling.data);
    assert.equal(await copy(page, ["h1", 0, 1], ["h1 .headerlink", 0, 0]), text);
    await close();
  });
});

it("the sign at a heading copies its address by finger, and takes no room", async () => {
  const { page, close } = await open("de/1a_rueckwaertspass.html", { ...PHONE, permissions: ["clipboard-read", "clipboard-write"] });
  const signs = await page.evaluate(() =>
    [...document.querySelectorAll(":is(h1, h2, h3) > .headerlink")].map((sign) => {
      const heading = sign.parentElement.getBoundingClientRect();
      const { top, bottom, left, right } = sign.getBoundingClientRect();
      sign.style.display = "none";
      const moved = sign.parentElement.getBoundingClientRect().height !== heading.height;
      sign.style.display = "";
      return {
        moved, beside: top < heading.bottom && bottom > heading.top,
        large: bottom - top >= 44 && Math.min(right, document.documentElement.clientWidth) - left >= 24,
      };
    }),
  );
  assert.ok(signs.length > 8);
  assert.deepEqual(signs.filter(({ moved, beside, large }) => moved || !beside || !large), []);
  const sign = page.locator("h2 > .headerlink").first();
  assert.deepEqual(await violations(page, ["color-contrast"], "h2"), []);
  await sign.tap();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await sign.evaluate((a) => a.href));
  await close();
});

describe("code", () => {
  for (const width of [1280, 1440]) {
    it(`88 characters fit on a desktop of ${width} pixels`, async () => {
      const { page, close } = await open("en/1_funktionsprinzip.html", { viewport: { width, height: 900 } });
      const narrow = await page.evaluate(() => {
        for (const details of document.querySelectorAll(".cell details")) details.open = true;
        const blocks = [...document.querySelectorAll(".cell_input pre, .cell_output pre")];
        for (const pre of blocks) pre.textContent = "x".repeat(88);
        return blocks.map((pre) => pre.scrollWidth - pre.clientWidth).filter((hidden) => hidden > 0);
      });
      assert.deepEqual(narrow, []);
      await close();
    });
  }

  for (const colorScheme of ["light", "dark"]) {
    it(`on a phone an edge shows that more is hidden, ${colorScheme}`, async () => {
      const { page, close } = await open("en/4a_transformer.html", { ...PHONE, colorScheme });
      for (const selector of [".cell_input pre", ".cell_output pre", ".pst-scrollable-table-container"]) {
        const boxes = await page.locator(selector, { visible: true }).all();
        const wide = await Promise.all(boxes.map((box) => box.evaluate((e) => e.scrollWidth > e.clientWidth + 40)));
        const box = boxes[wide.indexOf(true)];
        const row = selector.endsWith("pre") ? box : box.locator("tbody tr").nth(1);
        await row.evaluate((element) => element.scrollIntoView({ block: "center" }));
        const { y } = await row.boundingBox();
        const { x, width } = await box.boundingBox();
        const edge = async () => {
          const strip = await colors(page, { x: Math.floor(x + width) - 30, y: Math.ceil(y) + 3, width: 29, height: 1 });
          return differ(strip[0], strip.at(-1));
        };
        assert.ok((await edge()) > 20, `${selector}: ${await edge()}`);
        await box.evaluate((element) => (element.scrollLeft = element.scrollWidth));
        assert.ok((await edge()) <= 3, `${selector}, at the end: ${await edge()}`);
      }
      await close();
    });
  }

  it("can be copied by finger and by keyboard", async () => {
    const opacity = (page) => page.locator(".cell_input .copybtn").nth(1).evaluate((button) => getComputedStyle(button).opacity);
    const phone = await open("en/1a_rueckwaertspass.html", PHONE);
    assert.equal(await opacity(phone.page), "1");
    await phone.close();
    const { page, close } = await open("en/1a_rueckwaertspass.html", DESKTOP);
    assert.equal(await opacity(page), "0");
    await page.locator(".cell_input .copybtn").nth(1).focus();
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Tab");
    await page.waitForFunction(() => getComputedStyle(document.activeElement).opacity === "1");
    await close();
  });
});

it("a letter looks alike in the text and in a formula", async () => {
  const { page, close } = await open("en/1a_rueckwaertspass.html");
  await page.evaluate(() => document.fonts.ready);
  const [text, formula] = await page.evaluate(() =>
    [".bd-article p > .symbol", ".bd-article p math mi"].map((selector) => {
      const letter = [...document.querySelectorAll(selector)].find((element) => element.textContent === "γ");
      return letter.getBoundingClientRect().width;
    }),
  );
  assert.ok(Math.abs(text - formula) < 0.1, `${text} and ${formula} px wide`);
  await close();
});

for (const [edition, { exercise, solution, switchTo, mode, fullSize, shut }] of Object.entries(WORDS)) {
  describe(`${edition}: names and ways`, () => {
    it("exercises and solutions are headings below their section", async () => {
      for (const [name, kind, title] of [["1a_rueckwaertspass", ".exercise", exercise], ["loesungen", ".solution", solution]]) {
        const { page, close } = await open(`${edition}/${name}.html`, DESKTOP);
        const count = await page.locator(kind).count();
        assert.ok(count > 3);
        assert.equal(await page.getByRole("heading", { level: 3, name: title }).count(), count);
        await close();
      }
    });

    for (const colorScheme of ["light", "dark"]) {
      it(`a figure opens at its full size on a phone, ${colorScheme}`, async () => {
        const { page, problems, close } = await open(`${edition}/1_funktionsprinzip.html`, { ...PHONE, colorScheme });
        const figure = page.locator("figure:has(> .open-full-size)").first();
        const number = (await figure.locator(".caption-number").textContent()).trim();
        const opener = page.getByRole("button", { name: `${fullSize}: ${number}`, exact: true });
        const dialog = page.getByRole("dialog", { name: `${fullSize}: ${number}` });
        await opener.tap();
        const [shown, drawn, scrolls, filter, outside] = await dialog.evaluate((box) => {
          const [image, original] = [box, box.parentElement].map((part) => part.querySelector("img"));
          const { right, bottom } = box.getBoundingClientRect();
          return [
            image.width, Number(image.getAttribute("width")), box.scrollWidth > box.clientWidth,
            getComputedStyle(image).filter === getComputedStyle(original).filter, right > innerWidth || bottom > innerHeight,
          ];
        });
        assert.equal(shown, drawn);
        assert.deepEqual([scrolls, filter, outside], [true, true, false]);
        assert.deepEqual(await violations(page), []);
        await page.getByRole("button", { name: shut, exact: true }).tap();
        assert.equal(await dialog.count(), 0);
        assert.ok(await opener.evaluate((button) => button === document.activeElement));
        await figure.locator("> img").tap();
        await page.keyboard.press("Escape");
        assert.equal(await dialog.count(), 0);
        assert.deepEqual(problems, []);
        await page.emulateMedia({ media: "print" });
        assert.ok(!(await opener.isVisible()));
        await close();
      });
    }

    it("a desktop shows figures at their size and offers no other", async () => {
      const { page, close } = await open(`${edition}/1_funktionsprinzip.html`, DESKTOP);
      const openers = page.locator(".open-full-size");
      assert.ok((await openers.count()) > 2);
      assert.equal(await page.locator(".open-full-size:visible").count(), 0);
      assert.equal(await page.locator(".cell_output figure > img").first().evaluate(({ width }) => width >= 650), true);
      await close();
    });

    it("the other language is the second stop of the keyboard", async () => {
      const { page, close } = await open(`${edition}/1b_numerik.html`, DESKTOP);
      for (let stop = 0; stop < 2; stop++) await page.keyboard.press("Tab");
      const stop = page.locator(":focus");
      assert.equal(await stop.textContent(), switchTo);
      assert.equal(await stop.getAttribute("href"), await page.locator("a.language-switch").getAttribute("href"));
      assert.ok((await stop.boundingBox()).y >= 0);
      await close();
    });

    it("the button of the color mode says which one is on", async () => {
      const { page, close } = await open(`${edition}/1b_numerik.html`, DESKTOP);
      const names = new Set();
      for (let press = 0; press < 3; press++) {
        const button = page.getByRole("button", { name: mode[await page.locator("html").getAttribute("data-mode")] });
        await button.press("Enter");
        names.add(await button.count());
      }
      assert.deepEqual([...names], [0]);
      await close();
    });

    it("the cell of a claim says so and is outlined, below the bar", async () => {
      for (const look of [DESKTOP, PHONE]) {
        const { page, close } = await open(`${edition}/behauptungen.html`, look);
        await page.click('#ledger-c11 a[href$="#claim-C11"]');
        await page.waitForURL("**/1c_feinheiten.html#claim-C11");
        const label = page.locator(".cell:target > .shows");
        assert.match(await label.textContent(), /\bC11$/);
        const bar = await page.locator(".bd-header-article").boundingBox();
        assert.ok((await label.boundingBox()).y >= bar.y + bar.height);
        assert.equal(await page.locator(".cell:target").evaluate((cell) => getComputedStyle(cell).outlineStyle), "solid");
        await label.getByText("C11").click();
        await page.waitForURL("**/behauptungen.html#ledger-c11");
        await close();
      }
    });

    for (const sheet of ["6f_entscheidung", "formeln"]) {
      it(`${sheet}: one printed sheet`, async () => {
        const { page, close } = await open(`${edition}/${sheet}.html`, DESKTOP);
        const margin = { top: "15mm", bottom: "15mm", left: "15mm", right: "15mm" };
        const sheets = (await page.pdf({ format: "A4", margin })).toString("latin1").match(/\/Type *\/Page\b/g);
        assert.equal(sheets.length, 1);
        await close();
      });
    }

    it("the index fits the narrowest screen", async () => {
      const { page, close } = await open(`${edition}/genindex.html`, { viewport: { width: 320, height: 640 } });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 320);
      await close();
    });

    it("paper shows the title once, all code, no bars; black on white", async () => {
      const { page, close } = await open(`${edition}/1_funktionsprinzip.html`, { ...DESKTOP, colorScheme: "dark" });
      await page.emulateMedia({ media: "print", colorScheme: "dark" });
      await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
      const shown = await page.evaluate(() => {
        const count = (selector) => [...document.querySelectorAll(selector)].filter((e) => e.checkVisibility()).length;
        return {
          titles: count("h1"), bars: count("summary"), widgets: count("[data-widget]"), folded: count("details.hide pre"),
          furniture: count(".bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, #pst-back-to-top"),
        };
      });
      const folded = await page.locator("details.hide pre").count();
      assert.deepEqual(shown, { titles: 1, bars: 0, widgets: 0, folded, furniture: 0 });
      const look = () => page.evaluate(() => {
        const { color } = getComputedStyle(document.querySelector(".bd-article p"));
        const { filter } = getComputedStyle(document.querySelector(".cell_output img"));
        return [Math.max(...color.match(/\d+/g)) < 80, filter];
      });
      assert.deepEqual(await look(), [true, "none"]);
      await page.evaluate(() => dispatchEvent(new Event("afterprint")));
      assert.notDeepEqual(await look(), [true, "none"]);
      await close();
    });
  });
}
