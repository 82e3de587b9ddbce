// What a reader does with the pages: follow links, read code, figures and claims, print.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { colors, differ, HEADER, start } from "./site.mjs";

const DESKTOP = { viewport: { width: 1440, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const WORDS = {
  de: {
    exercise: /^Übung \d+/, solution: /^Lösung zu Übung \d+/, switchTo: "English",
    mode: { light: "Farbmodus: hell", dark: "Farbmodus: dunkel", auto: "Farbmodus: wie das System" },
  },
  en: {
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

for (const [edition, { exercise, solution, switchTo, mode }] of Object.entries(WORDS)) {
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
