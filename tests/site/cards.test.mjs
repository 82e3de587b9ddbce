// Cards beside links to works, terms and claims: by pointer, keyboard and finger, from disk too.
import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { EDITIONS, SITE, start, violations } from "./site.mjs";

const DESKTOP = { viewport: { width: 1440, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
const LINKS = {
  work: ".bd-article p a.carded[href^='literatur.html#']",
  term: ".bd-article p a.carded.term",
  claim: ".bd-article a.carded[href^='behauptungen.html#ledger-']",
};
const NAME = "1c_feinheiten.html";

const site = start();
const CARD = ".card-beside:popover-open";

for (const edition of EDITIONS) {
  describe(`${edition}: a card`, { concurrency: 2 }, () => {
    for (const [kind, link] of Object.entries(LINKS)) {
      it(`of a ${kind} stays under the pointer and leads on`, async () => {
        const { page, requests, problems, close } = await site.open(pathToFileURL(join(SITE, edition, NAME)).href, DESKTOP);
        const before = requests.length;
        const target = page.locator(link).first();
        await target.scrollIntoViewIfNeeded();
        assert.equal(requests.filter((url) => url.includes("book-cards-")).length, 0);
        await target.hover();
        const card = page.locator(CARD);
        await card.waitFor();
        assert.ok(requests.slice(before).every((url) => url.includes("book-cards-") || /\.(svg|woff2)/.test(url)), requests.slice(before));
        assert.ok((await card.innerText()).length > 60);
        const [box, covered] = await card.evaluate((card) => {
          const box = card.getBoundingClientRect();
          const lines = [...card.previousElementSibling.getClientRects()]; // of a link that wraps
          const over = ({ left, right, top, bottom }) => left < box.right && right > box.left && top < box.bottom && bottom > box.top;
          return [box.toJSON(), lines.filter(over).length];
        });
        assert.ok(box.x >= 0 && box.x + box.width <= 1440 && box.y >= 0 && box.y + box.height <= 900, JSON.stringify(box));
        assert.equal(covered, 0, "it covers its link");
        await card.hover();
        await page.waitForTimeout(600);
        assert.ok(await card.isVisible());
        assert.deepEqual(await violations(page, ["color-contrast"]), []);
        await page.mouse.move(2, 2);
        await card.waitFor({ state: "detached" });
        await target.hover();
        await card.waitFor();
        const onward = card.locator(".onward a");
        assert.equal(await onward.evaluate((a) => a.href), await target.evaluate((a) => a.href));
        await onward.click();
        await page.waitForURL(/#/);
        assert.deepEqual(problems, []);
        await close();
      });
    }

    it("opens by keyboard, is the next stop, and Escape closes it", async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/${NAME}`, DESKTOP);
      const links = page.locator(LINKS.work);
      await links.first().focus();
      await page.keyboard.press("Shift+Tab");
      await page.keyboard.press("Tab");
      const card = page.locator(CARD);
      await card.waitFor();
      assert.equal(await links.first().getAttribute("aria-details"), await card.getAttribute("id"));
      assert.deepEqual(await violations(page), []);
      await page.keyboard.press("Tab");
      assert.ok(await card.evaluate((element) => element.contains(document.activeElement)));
      await page.keyboard.press("Escape");
      assert.equal(await card.count(), 0);
      assert.ok(await links.first().evaluate((element) => element === document.activeElement));
      await page.keyboard.press("Tab");
      assert.ok(await links.first().evaluate((element) => element !== document.activeElement));
      await close();
    });

    it("opens at the first tap, and at the second the link leads on", async () => {
      const { page, problems, close } = await site.open(`${site.url}/${edition}/${NAME}`, { ...PHONE, colorScheme: "dark" });
      const link = page.locator(LINKS.term).first();
      await link.tap();
      const card = page.locator(CARD);
      await card.waitFor();
      assert.equal(new URL(page.url()).pathname, `/${edition}/${NAME}`);
      const { x, width } = await card.boundingBox();
      assert.ok(x >= 0 && x + width <= 390);
      assert.deepEqual(await violations(page, ["color-contrast"]), []);
      await page.locator("h1").tap();
      assert.equal(await card.count(), 0);
      await link.tap();
      await card.waitFor();
      await link.tap();
      await page.waitForURL("**/7_verwandte_themen.html#*");
      assert.deepEqual(problems, []);
      await close();
    });

    it("is not printed, and without scripts the link is one", async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/${NAME}`, DESKTOP);
      await page.locator(LINKS.term).first().hover();
      await page.locator(CARD).waitFor();
      await page.emulateMedia({ media: "print" });
      assert.ok(!(await page.locator(".card-beside").isVisible()));
      await close();
      const bare = await site.open(`${site.url}/${edition}/${NAME}`, { ...DESKTOP, javaScriptEnabled: false });
      await bare.page.locator(LINKS.work).first().click();
      await bare.page.waitForURL("**/literatur.html#*");
      await bare.close();
    });
  });
}
