// What a reader keeps on the device: exercises done, the page read last, the link to a section.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { EDITIONS, SITE, start, violations } from "./site.mjs";

const WORDS = {
  de: { done: "Erledigt: Übung", count: "1 von 6 Übungen erledigt", go: "Weiterlesen:", title: "Rückwärtspass", forget: "Vergessen", copied: "Link kopiert" },
  en: { done: "Done: Exercise", count: "1 of 6 exercises done", go: "Continue with:", title: "The backward pass", forget: "Forget", copied: "Link copied" },
};
const PAGE = "1a_rueckwaertspass.html";
const OF_COLOR = ["color-contrast"]; // from disk, axe cannot ask for the style sheet that other rules need
const VIEWS = {
  "desktop, from a server": { viewport: { width: 1440, height: 900 }, colorScheme: "light" },
  "phone, from disk": { viewport: { width: 390, height: 844 }, colorScheme: "dark", isMobile: true, hasTouch: true },
};

const site = start();
const at = (view, path) => (view.includes("disk") ? pathToFileURL(join(SITE, path)).href : `${site.url}/${path}`);
const kept = (page) => page.evaluate(() => JSON.parse(localStorage.getItem("layer-normalization")));

for (const edition of EDITIONS) {
  const words = WORDS[edition];
  for (const [view, options] of Object.entries(VIEWS)) {
    describe(`${edition}, ${view}`, () => {
      it("an exercise is ticked by keyboard and stays so; the first page leads back and forgets", async () => {
        const { page, problems, requests, close } = await site.open(at(view, `${edition}/${PAGE}`), options);
        const boxes = page.getByRole("checkbox", { name: words.done });
        assert.equal(await boxes.count(), 6);
        assert.equal(await page.locator(".solved-count").count(), 0);
        await boxes.nth(1).focus();
        await page.keyboard.press("Space");
        assert.deepEqual(await violations(page, view.includes("disk") ? OF_COLOR : undefined), []);
        const count = page.locator(`.bd-links a[href="#"] .solved-count`);
        assert.equal(await count.getAttribute("aria-label"), words.count);
        await page.reload();
        assert.deepEqual(await Promise.all((await boxes.all()).map((box) => box.isChecked())), [false, true, false, false, false, false]);
        assert.equal(await count.textContent(), "1/6");

        const section = page.locator('section:has(> span#sec-backward-picture), section#sec-backward-picture').first();
        await section.evaluate((element) => element.scrollIntoView());
        const id = await section.getAttribute("id");
        await page.goto(at(view, `${edition}/index.html`));
        const way = page.locator(".continue");
        assert.match(await way.textContent(), new RegExp(`^${words.go} ${words.title} · .*1 · ${words.forget}$`));
        assert.deepEqual(await violations(page, view.includes("disk") ? OF_COLOR : undefined), []);
        await way.getByRole("link").click();
        await page.waitForURL((url) => decodeURIComponent(url.hash) === `#${id}`);
        assert.ok(requests.every((url) => !url.includes("exercise")));

        await page.goto(at(view, `${edition}/index.html`));
        await way.getByRole("button", { name: words.forget }).press("Enter");
        assert.equal(await way.evaluate((element) => element === document.activeElement), true);
        assert.equal(await page.locator(".solved-count").count(), 0);
        assert.equal(await kept(page), null);
        await page.reload();
        assert.equal(await way.count(), 0);
        assert.deepEqual(problems, []);
        await close();
      });
    });
  }

  it(`${edition}: the other edition knows the exercise and the section`, async () => {
    const other = EDITIONS.find((code) => code !== edition);
    const { page, close } = await site.open(`${site.url}/${edition}/${PAGE}`);
    await page.getByRole("checkbox", { name: words.done }).first().check();
    const section = page.locator(`.bd-article section section[data-${other}]`).nth(2);
    await section.evaluate((element) => element.scrollIntoView());
    const twin = await section.getAttribute(`data-${other}`);
    await page.goto(`${site.url}/${other}/index.html`);
    const href = await page.locator(".continue a").getAttribute("href");
    assert.equal(decodeURIComponent(href), `${PAGE}#${twin}`);
    await page.goto(`${site.url}/${other}/${PAGE}`);
    assert.equal(await page.getByRole("checkbox", { name: WORDS[other].done }).first().isChecked(), true);
    await close();
  });

  it(`${edition}: nothing of it without scripts`, async () => {
    const { page, close } = await site.open(`${site.url}/${edition}/${PAGE}`, { javaScriptEnabled: false });
    assert.equal(await page.locator(".exercise .done").count(), 0);
    await close();
  });

  it(`${edition}: the sign at a heading copies the address of its section`, async () => {
    const permissions = ["clipboard-read", "clipboard-write"];
    const { page, problems, close } = await site.open(`${site.url}/${edition}/${PAGE}`, { permissions });
    const link = page.locator(".bd-article h2 .headerlink").nth(1);
    await link.focus();
    await page.keyboard.press("Enter");
    await page.locator(".headerlink[data-copied]").waitFor();
    assert.equal(await page.getByRole("status").filter({ hasText: words.copied }).count(), 1);
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await link.evaluate((a) => a.href));
    assert.equal(await page.evaluate(() => location.href), await link.evaluate((a) => a.href));
    assert.deepEqual(problems, []);
    await close();
  });

  it(`${edition}: the way to the citation opens it, and it can be copied`, async () => {
    const permissions = ["clipboard-read", "clipboard-write"];
    const { page, problems, close } = await site.open(`${site.url}/${edition}/${PAGE}`, { permissions });
    await page.locator(".dropdown-download-buttons > button").click();
    await page.locator(".btn-cite-button").click();
    const citation = page.locator("#citation");
    assert.ok(await citation.isVisible());
    await citation.locator(".copybtn").click();
    await page.waitForFunction(async () => (await navigator.clipboard.readText()).includes("@incollection"));
    assert.deepEqual(problems, []);
    await close();
  });
}
