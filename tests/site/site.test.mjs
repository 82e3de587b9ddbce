// The built site in a real browser: every page, both editions, light and dark, on a desktop from a server
// and on a phone from disk; colors, figures, formulas, every link to a section. What else holds on a phone, lighthouse.test.mjs asks.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { faultsOfFormulas } from "./formulas.mjs";
import {
  allPages, change, colors, differ, EDITIONS, HEADER, OF_COLOR, OTHER, PAGES, SITE, start, violations,
} from "./site.mjs";

const VIEWS = {
  "desktop, from a server": { width: 1440, colorScheme: "light", pages: allPages(0), at: (path) => `${site.url}/${path}` },
  "phone, from disk": {
    width: 390, colorScheme: "dark", isMobile: true, pages: allPages(1),
    at: (path) => pathToFileURL(join(SITE, path)).href,
  },
};
const CLAIMS = readFileSync("book/claims.yml", "utf8").match(/^- id:/gm).length;

const site = start();

function look() {
  const { lang, scrollWidth, clientWidth, dataset } = document.documentElement;
  return {
    lang,
    scheme: dataset.theme,
    sideways: Math.max(scrollWidth - clientWidth, 0),
    undrawn: [...document.querySelectorAll(".bd-article .math")].filter(
      (math) => !(math.querySelector("math")?.getBoundingClientRect().width > 1),
    ).length,
    broken: document.querySelectorAll("merror, .temml-error").length,
    blank: [...document.images].filter((image) => image.loading !== "lazy" && !image.naturalWidth).length,
  };
}

// The targets of all links to sections, by page; a page's own as well.
function sectionLinks() {
  const links = new Map(PAGES.map((name) => [name, new Set()]));
  for (const name of [...PAGES, ...EDITIONS.map((edition) => `${edition}/genindex.html`)]) {
    const html = readFileSync(join(SITE, name), "utf8");
    for (const [, href] of html.matchAll(/href="([^"]*#[^"]+)"/g)) {
      const url = new URL(href.replaceAll("&amp;", "&"), `http://site/${name}`);
      if (url.host === "site") links.get(url.pathname.slice(1))?.add(decodeURIComponent(url.hash.slice(1)));
    }
  }
  return links;
}

// Click the links to sections of this page; say how far below the top their headings come to stand.
// A section near the end of the page cannot rise to the top.
function follow(ids) {
  const landed = [];
  for (const id of ids) {
    const target = document.getElementById(id);
    const heading = target.matches("section") ? target.querySelector("h1, h2, h3") : target.nextElementSibling;
    if (!heading?.matches("h1, h2, h3")) continue;
    const link = document.querySelector(`a[href="#${CSS.escape(id)}"], a[href="#${encodeURIComponent(id)}"]`);
    if (link) link.click();
    else location.hash = `#${id}`;
    const end = scrollY + innerHeight > document.documentElement.scrollHeight - 2;
    landed.push({ id, top: Math.round(heading.getBoundingClientRect().top), end });
  }
  return landed;
}

const misses = (landed) => landed.filter(({ top, end }) => (end ? top < HEADER - 3 : Math.abs(top - HEADER) > 3));

const SECTIONS = sectionLinks();

// The figures of a dark page that stand on a ground of their own; those of folded solutions have a page.
async function onAGround(page) {
  const found = [];
  for (const figure of await page.locator(".bd-article img:not(.dark-light, .solved img)").all()) {
    await figure.evaluate((image) => image.scrollIntoView({ block: "center" }));
    await figure.evaluate((image) => (image.loading = "eager") && image.decode());
    const { x, y } = await figure.boundingBox();
    const [outside, , , inside] = await colors(page, { x: Math.round(x) - 2, y: Math.ceil(y) + 2, width: 4, height: 1 });
    if (differ(outside, inside) > 2) found.push(`${await figure.getAttribute("src")}: ${inside} on ${outside}`);
  }
  return found;
}

for (const [view, { width, colorScheme, isMobile = false, pages, at }] of Object.entries(VIEWS)) {
  describe(`every page, ${view}, first ${colorScheme}`, { concurrency: 2 }, () => {
    let window;
    before(async () => {
      window = await site.browser.newContext({
        viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce", isMobile, hasTouch: isMobile,
      });
    });
    after(() => window.close());

    for (const path of pages) {
      it(path, async () => {
        const { page, problems, close } = await site.open(at(path), {}, window);
        const good = { lang: path.slice(0, 2), sideways: 0, undrawn: 0, broken: 0, blank: 0 };
        assert.deepEqual(await page.evaluate(look), { ...good, scheme: colorScheme });
        assert.deepEqual(await violations(page), []);
        await change(page, OTHER[colorScheme]);
        assert.deepEqual(await page.evaluate(look), { ...good, scheme: OTHER[colorScheme] });
        if (!isMobile) assert.deepEqual(await violations(page, OF_COLOR), []);
        if (colorScheme === "light") assert.deepEqual(await onAGround(page), []);
        assert.deepEqual(misses(await page.evaluate(follow, [...SECTIONS.get(path)])), []);
        if (!isMobile) assert.deepEqual(await faultsOfFormulas(page), {});
        assert.deepEqual(problems, []);
        await close();
      });
    }
  });
}

describe("the book as a whole", { concurrency: 2 }, () => {
  for (const [locale, edition] of [["de-AT", "de"], ["en-GB", "en"], ["fr-FR", "en"]]) {
    it(`the root page sends a reader with ${locale} to ${edition}`, async () => {
      const { page, close } = await site.open(`${site.url}/`, { locale });
      await page.waitForURL(`**/${edition}/**`);
      await close();
    });
  }

  for (const edition of EDITIONS) {
    const twin = EDITIONS.find((other) => other !== edition);
    const to = (language) => `a.language-switch[hreflang=${language}]`;
    it(`${edition}: the switch leads to the twin and back, without scripts too`, async () => {
      for (const javaScriptEnabled of [true, false]) {
        const start = `${site.url}/${edition}/1b_numerik.html`;
        const { page, close } = await site.open(start, { javaScriptEnabled }).catch(() => ({}));
        await page.click(to(twin));
        await page.waitForURL(`**/${twin}/1b_numerik.html`);
        await page.click(to(edition));
        await page.waitForURL(start);
        await close();
      }
    });

    it(`${edition}: the switch leads to the same section`, async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/1b_numerik.html`);
      const sections = page.locator(`section section[data-${twin}]`);
      for (const index of [1, (await sections.count()) - 1]) {
        await page.goto(`${site.url}/${edition}/1b_numerik.html`);
        await page.goto(`${page.url()}#${await sections.nth(index).getAttribute("id")}`);
        const expected = await sections.nth(index).getAttribute(`data-${twin}`);
        const at = await page.locator(to(twin)).boundingBox();
        await page.mouse.click(at.x + at.width / 2, at.y + at.height / 2); // without scrolling to it
        await page.waitForURL(`**/${twin}/1b_numerik.html#${encodeURIComponent(expected)}`);
        const { y } = await page.locator(`section[id="${expected}"]`).boundingBox();
        assert.ok(0 <= y && y < 450, `the section begins at ${y}`);
      }
      await close();
    });

    it(`${edition}: the ledger shows what is asked for, without scripts`, async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/behauptungen.html`, { javaScriptEnabled: false });
      const claims = page.locator(".ledger .claim");
      const count = (filter = "") => page.locator(`.ledger .claim${filter}:visible`).count();
      assert.equal(await claims.count(), CLAIMS);
      assert.equal(await count(), CLAIMS);
      for (const [group, claim] of [["section", "X .claim"], ["verdict", ".claimX"]]) {
        const ids = await page.locator(`input[name=${group}][id]`).evaluateAll((all) => all.map((i) => i.id));
        assert.ok(ids.length >= 4);
        for (const id of ids) {
          const asked = page.locator(claim.replace("X", id.replace("only-", ".")));
          await page.check(`#${id}`);
          assert.equal(await count(), await asked.count(), id);
          assert.ok(await asked.first().isVisible(), id);
        }
        await page.check(`input[name=${group}]:not([id])`);
      }
      await page.check("#only-wrong");
      assert.equal(await count(":not(.wrong)"), 0);
      await page.check("#only-introduction");
      assert.equal(await count(), 0);
      assert.ok(await page.locator(".introduction .none").isVisible());
      await close();
    });

    it(`${edition}: the address says what of the ledger is shown`, async () => {
      const start = `${site.url}/${edition}/behauptungen.html`;
      const { page, close } = await site.open(`${start}#only-wrong+only-theory`);
      assert.equal(await page.locator(".ledger .claim:visible").count(), await page.locator(".theory .claim.wrong").count());
      await page.check("input[name=section]:not([id])");
      assert.equal(page.url(), `${start}#only-wrong`);
      assert.equal(await page.locator(".ledger .claim:visible").count(), await page.locator(".claim.wrong").count());
      await page.check("input[name=verdict]:not([id])");
      assert.equal(page.url(), start);
      await close();
    });

    it(`${edition}: the ledger leads to the very cell, and the quotation back`, async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/behauptungen.html`);
      for (const [name, target] of [["quote-c13", "blockquote"], ["claim-C13", ".cell"]]) {
        await page.click(`#ledger-c13 a[href$="#${name}"]`);
        await page.waitForURL(`**/1_funktionsprinzip.html#${name}`);
        assert.equal(await page.locator(`${target}:has([id="${name}"]), ${target}[id="${name}"]`).count(), 1);
        await page.click('a[href="behauptungen.html#ledger-c13"]');
        await page.waitForURL("**/behauptungen.html#ledger-c13");
        assert.ok(await page.locator("#ledger-c13").isVisible());
      }
      await close();
    });
  }
});

describe("by keyboard", () => {
  it("the first stop skips to the text, every stop is visible", async () => {
    const { page, close } = await site.open(`${site.url}/en/1b_numerik.html`, {
      viewport: { width: 1280, height: 900 },
    });
    const seen = new Set();
    for (let stop = 0; stop < 60; stop++) {
      await page.keyboard.press("Tab");
      const at = await page.evaluate(() => {
        const { activeElement: here } = document;
        const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(here);
        return {
          name: (here.getAttribute("aria-label") ?? here.textContent ?? "").trim().slice(0, 40),
          tag: here.tagName,
          marked: (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none",
          shown: here.getClientRects().length > 0,
        };
      });
      if (stop === 0) assert.match(at.name, /skip/i);
      assert.ok(at.tag === "BODY" || (at.shown && at.marked), JSON.stringify(at));
      seen.add(at.name);
    }
    assert.ok(seen.has("Deutsch"), [...seen].join(" | "));
    await close();
  });

  it("hidden code opens and the theme changes", async () => {
    const { page, close } = await site.open(`${site.url}/en/1b_numerik.html`);
    const details = page.locator("details.hide").first();
    await details.locator("summary").focus();
    await page.keyboard.press("Enter");
    assert.ok(await details.evaluate((element) => element.open));
    const theme = () => page.evaluate(() => document.documentElement.dataset.mode);
    const before = await theme();
    await page.locator(".theme-switch-button").first().focus();
    await page.keyboard.press("Enter");
    assert.notEqual(await theme(), before);
    await close();
  });
});

describe("drawings that move", () => {
  it("the sphere: x̂ stays on the circle, ε draws it inwards; mouse and keyboard", async () => {
    const { page, problems, close } = await site.open(`${site.url}/en/1_funktionsprinzip.html`);
    const widget = page.locator("[data-widget=sphere]");
    const read = async (name) => {
      const text = await widget.locator(".result").textContent();
      return text.match(new RegExp(`${name} = \\(?([^)]*?)(?:\\)|,|$)`))[1].replaceAll("−", "-");
    };
    const before = await read("x");
    await widget.locator(".handle").focus();
    for (const key of ["ArrowUp", "ArrowRight", "ArrowRight"]) await page.keyboard.press(key);
    assert.notEqual(await read("x"), before);
    assert.equal(await read("‖x̂‖"), "1.73");
    await widget.locator(".handle").scrollIntoViewIfNeeded();
    const { x, y, width, height } = await widget.locator(".handle").boundingBox();
    const dragged = await read("x");
    await page.mouse.move(x + width / 2, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width / 2 + 52, y + height / 2 + 22, { steps: 5 });
    await page.mouse.up();
    assert.notEqual(await read("x"), dragged);
    assert.equal(await read("‖x̂‖"), "1.73");
    await widget.locator("input[type=range]").last().fill("0.5");
    assert.ok(Number(await read("‖x̂‖")) < 1.73);
    await widget.getByRole("button", { name: "Reset" }).click();
    assert.equal(await read("x"), before);
    assert.deepEqual(problems, []);
    await close();
  });
});

it("the axes: who shares a mean, by method, data and chosen value", async () => {
  const { page, problems, close } = await site.open(`${site.url}/en/1_funktionsprinzip.html`);
  const widget = page.locator("[data-widget=axes]");
  const [N, C, P] = [3, 4, 6];
  const groups = {
    "Batch norm": [N * P, C], "Layer norm, per token": [C, N * P], "Layer norm, per example": [C * P, N],
    "Instance norm": [P, N * C], "Group norm, 2 groups": [(C / 2) * P, 2 * N],
  };
  for (const [method, [values, means]] of Object.entries(groups)) {
    await widget.getByLabel(method).check();
    const text = await widget.locator(".result").textContent();
    assert.match(text, new RegExp(`^${values} values .* ${means} means`));
    assert.equal(/Other examples have a say/.test(text), method === "Batch norm");
    assert.equal(/Later times have a say/.test(text), method !== "Layer norm, per token");
    assert.equal(await widget.locator("rect.shared").count(), values - 1);
  }
  await widget.getByLabel("channel").focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await widget.getByLabel("channel").inputValue(), "3");
  await widget.getByLabel("images").check();
  assert.doesNotMatch(await widget.locator(".result").textContent(), /times/);
  assert.deepEqual(problems, []);
  await close();
});

it("with reduced motion nothing moves by itself", async () => {
  const { page, close } = await site.open(`${site.url}/en/1b_numerik.html`);
  const moving = await page.evaluate(() =>
    [document.documentElement, ...document.querySelectorAll("*")].filter((element) => {
      const { animationName, animationDuration, scrollBehavior } = getComputedStyle(element);
      return scrollBehavior === "smooth" || (animationName !== "none" && animationDuration !== "0s");
    }).map((element) => element.outerHTML.slice(0, 80)),
  );
  assert.deepEqual(moving, []);
  await close();
});
