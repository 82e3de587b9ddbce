// The drawings that move: by keyboard and pointer, in both languages and modes, on a phone from disk,
// and what is there without a script.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { CHANGES, LAYERS } from "../../book/drawings/layers.mjs";
import { forward } from "../../book/drawings/norms.mjs";
import { change, colors, differ, EDITIONS, HEADER, OF_COLOR, OTHER, PAGES, SITE, start, violations } from "./site.mjs";

const DRAWINGS = { // where each stands, and what the page has without it
  sphere: ["1_funktionsprinzip", "img"],
  axes: ["1_funktionsprinzip", "img"],
  vector: ["0_zehn_minuten", "table"],
  rates: ["4a_transformer", "img"],
  launches: ["3b_gpu_rueckwaerts", "img"],
  changes: ["5c_invarianzen", "img"],
};
const WITH_CHARTS = new Set(["rates", "launches"]);
const VIEWS = {
  "desktop, dark": { viewport: { width: 1440, height: 900 }, colorScheme: "dark" },
  "phone, light": { viewport: { width: 390, height: 844 }, colorScheme: "light", isMobile: true, hasTouch: true },
};
const FINGER = 11.5; // px that it may miss the middle of what it is to hit
const LIGHTEST = 8 * 1024; // bytes of a script, compressed
const HEAVIEST = 28 * 1024; // with d3 and what it shows

const site = start();

const disk = (edition, page) => pathToFileURL(join(SITE, edition, `${page}.html`)).href;
const open = async (name, { edition = "en", ...options } = {}) => {
  const opened = await site.open(disk(edition, DRAWINGS[name][0]), options);
  return { ...opened, widget: opened.page.locator(`[data-widget=${name}]`) };
};
const numbers = (text) => text.replaceAll("−", "-").replaceAll(",", ".").match(/-?\d+(\.\d+)?/g).map(Number);
const cells = async (widget, row) => numbers((await widget.locator(`tr.${row} td:not([hidden])`).allTextContents()).join(" "));
const near = (found, wanted) => {
  assert.equal(found.length, wanted.length);
  found.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]) < 0.0006, `${found} instead of ${wanted}`));
};

// Step with the keyboard through everything that takes the focus, and use it.
async function useAll(page, widget) {
  const stops = await widget.locator("input, select, button, summary, [tabindex='0']").all();
  for (const stop of stops) {
    if (!(await stop.isVisible())) continue;
    await stop.focus();
    const marked = await stop.evaluate((element) => getComputedStyle(element).outlineStyle);
    assert.notEqual(marked, "none", await stop.evaluate((element) => element.outerHTML));
    await page.keyboard.press((await stop.evaluate((e) => e.matches("summary, button"))) ? "Enter" : "ArrowDown");
  }
}

// The elements that a finger misses that comes down a little beside their middle.
const missed = (all, distance) => all.filter((element) => {
  if (!element.checkVisibility()) return false;
  const target = element.closest("label") ?? element;
  target.scrollIntoView({ block: "center" });
  const { x, y, width, height } = target.getBoundingClientRect();
  const misses = [[-distance, 0], [distance, 0], [0, -distance], [0, distance]];
  return !misses.every(([dx, dy]) => target.contains(document.elementFromPoint(x + width / 2 + dx, y + height / 2 + dy)));
}).map((element) => element.outerHTML);

for (const edition of EDITIONS) {
  for (const [view, options] of Object.entries(VIEWS)) {
    describe(`${edition}, ${view}, from disk`, { concurrency: 2 }, () => {
      for (const name of Object.keys(DRAWINGS)) {
        it(name, async () => {
          const { page, widget, problems, close } = await open(name, { edition, ...options });
          await useAll(page, widget);
          assert.deepEqual(await violations(page, undefined, `[data-widget=${name}]`), []);
          const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          assert.ok(sideways <= 0, `${sideways} px too wide`);
          const small = await widget.locator("input, select, button, summary, [role=button], [role=slider], .handle").evaluateAll(missed, FINGER);
          assert.deepEqual(small, [], "too small for a finger");
          await change(page, OTHER[options.colorScheme]);
          assert.deepEqual(await violations(page, OF_COLOR, `[data-widget=${name}]`), []);
          assert.deepEqual(problems, []);
          await close();
        });
      }
    });
  }
}

describe("without a script, and on pages without drawings", () => {
  for (const [name, [page, instead]] of Object.entries(DRAWINGS)) {
    it(`${page} shows no frame of ${name}, but what the page has`, async () => {
      const opened = await open(name, { javaScriptEnabled: false });
      const heights = await opened.page.locator(`#drawing-${name}`).evaluate((figure) => [figure, figure.previousElementSibling].map((e) => e.offsetHeight));
      assert.deepEqual(heights, [0, 0]);
      assert.ok(await opened.page.locator(`article ${instead}`).first().isVisible());
      await opened.close();
    });
  }

  it("each page loads the script of its drawings, of bounded weight, the others none", () => {
    for (const path of PAGES) {
      const loaded = readFileSync(join(SITE, path), "utf8").match(/_static\/drawings-[\w-]+\.js/g) ?? [];
      const stem = path.split("/")[1].replace(".html", "");
      const here = Object.keys(DRAWINGS).filter((name) => DRAWINGS[name][0] === stem);
      assert.deepEqual(loaded, here.length ? [`_static/drawings-${stem}.js`] : [], path);
      for (const script of loaded) {
        const { length } = gzipSync(readFileSync(join(SITE, path.split("/")[0], script)));
        const limit = here.some((name) => WITH_CHARTS.has(name)) ? HEAVIEST : LIGHTEST;
        assert.ok(length < limit, `${script}: ${length} bytes`);
      }
    }
  });
});

for (const edition of EDITIONS) {
  describe(`${edition}: a link to a drawing`, { concurrency: 2 }, () => {
    for (const name of Object.keys(DRAWINGS)) {
      it(`leads to ${name}, and its caption says so`, async () => {
        const { page, close } = await site.open(`${disk(edition, DRAWINGS[name][0])}#drawing-${name}`);
        const { y } = await page.locator(`#drawing-${name}`).boundingBox();
        assert.ok(Math.abs(y - HEADER) < 4, `the drawing begins at ${y}`);
        const link = page.locator(`#drawing-${name} > figcaption a.headerlink`);
        assert.equal(await link.evaluate((a) => a.href), page.url());
        await close();
      });
    }
  });
}

const SAID = { // of what one changes by keys: where, and what a screen reader hears of it
  sphere: [".handle", "ArrowUp", /^x̂ = \([^()]*\)$/],
  axes: ["input:checked >> nth=0", "ArrowDown", /^12 values share one mean and variance; .*influence\. .*say\.$/],
  vector: ["[aria-label='x₂']", "ArrowUp", /^y = \([^()]*\)$/],
  rates: [".arm-A select", "ArrowDown", /^−?\d\.\d{3} ± \d\.\d{3} \(n = \d+\)\. .*three standard errors.*\.$/],
  launches: [".rank input", "ArrowRight", /^\d\.\d\d of the copy\. N = .* KiB\.$/],
  changes: ["select", "ArrowDown", /^y stays the same with: RMSNorm, no norm\.$/],
};

// From now on time passes only where a test says so.
async function stopClock(page) {
  await page.clock.install({ time: 0 });
  await page.clock.pauseAt(1000);
}

describe("a screen reader", { concurrency: 2 }, () => {
  for (const [name, [place, key, news]] of Object.entries(SAID)) {
    it(`hears of ${name} once, after the last of some quick keys, and only what is new`, async () => {
      const { page, widget, close } = await open(name);
      assert.equal(await widget.locator("[aria-live], [role=status], output").count(), 1);
      await stopClock(page);
      const said = await widget.getByRole("status").evaluateHandle((status) => {
        const heard = [];
        new MutationObserver(() => heard.push(status.textContent)).observe(status, { childList: true });
        return heard;
      });
      const control = widget.locator(place);
      await control.focus();
      for (let press = 0; press < 3; press++) {
        await page.keyboard.press(key);
        await page.clock.runFor(250);
      }
      assert.deepEqual(await said.jsonValue(), []);
      await page.clock.runFor(1000);
      const heard = await said.jsonValue();
      assert.equal(heard.length, 1);
      assert.match(heard[0], news);
      await close();
    });
  }

  it("hears nothing of the sphere while the space is turned, and of ε both x̂ and its length", async () => {
    const { page, widget, close } = await open("sphere");
    await stopClock(page);
    const status = widget.getByRole("status");
    await widget.locator("svg").focus();
    await page.keyboard.press("ArrowLeft");
    await page.clock.runFor(1000);
    assert.equal(await status.textContent(), "");
    await widget.getByRole("slider").last().fill("0.5");
    await page.clock.runFor(1000);
    assert.match(await status.textContent(), /^x̂ = \([^()]*\), ‖x̂‖ = [\d.]+$/);
    await close();
  });
});

const LOOKS = { // which property of what has a color
  sphere: [["polygon.ellipse", "stroke"]],
  vector: [["circle.entry-1", "fill"], ["circle.entry-2", "fill"], ["circle.entry-3", "fill"], ["circle.entry-4", "fill"]],
  rates: [["label.arm-A", "color"], ["label.arm-B", "color"]],
  changes: [[".same rect.after", "fill"], ["tr:not(.same) rect.after", "fill"]],
};
const OF_NORMS = ["--book-accent", "--book-orange", "--book-green"];
const luminance = (color) => {
  const [r, g, b] = color.map((part) => (part <= 10 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [high, low] = [a, b].map(luminance).sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
};

describe("arms, entries, what changes, and γ and β", { concurrency: 2 }, () => {
  for (const [name, looks] of Object.entries(LOOKS)) {
    for (const colorScheme of Object.keys(OTHER)) {
      it(`${name}, ${colorScheme}: no color of a norm; all differ, from the ground and to the color-blind`, async () => {
        const { page, widget, close } = await open(name, { colorScheme });
        const found = await Promise.all(looks.map(([selector, property]) =>
          widget.locator(selector).first().evaluate((element, key) => getComputedStyle(element)[key], property)));
        await page.evaluate(([found, norms]) => { // patches of all colors, from the corner on
          [...found, ...norms.map((name) => `var(${name})`), "var(--pst-color-background)"].forEach((color, i) => {
            const patch = document.body.appendChild(document.createElement("div"));
            patch.style.cssText = `background: ${color}; position: fixed; left: ${9 * i}px; top: 0; width: 9px; height: 9px; z-index: 9999`;
          });
        }, [found, OF_NORMS]);
        const count = found.length + OF_NORMS.length + 1;
        const patches = async () => {
          const row = await colors(page, { x: 0, y: 4, width: 9 * count, height: 1 });
          return Array.from({ length: count }, (_, i) => row[9 * i + 4]);
        };
        const ground = (await patches()).at(-1);
        const client = await page.context().newCDPSession(page);
        for (const type of ["none", "protanopia", "deuteranopia", "tritanopia"]) {
          await client.send("Emulation.setEmulatedVisionDeficiency", { type });
          const all = await patches();
          const [own, norms] = [all.slice(0, found.length), all.slice(found.length, -1)];
          own.forEach((color, i) => {
            if (type === "none") assert.ok(contrast(color, ground) >= 3, `${color} on ${ground}`);
            if (type === "none") for (const norm of norms) assert.ok(differ(color, norm) > 30, `${color} like ${norm}`);
            for (const other of own.slice(i + 1)) assert.ok(differ(color, other) > 40, `${type}: ${color} like ${other}`);
          });
        }
        await close();
      });
    }
  }
});

describe("one vector by hand", () => {
  const given = { eps: 1e-5, weight: [1, 1, 2, 2], bias: [0, 0, 1, 1] };

  it("shows the steps and the gradient of the numbers that one types", async () => {
    const { page, widget, close } = await open("vector");
    await widget.getByLabel("x₂").fill("-4.5");
    await widget.getByLabel("dy₃").fill("2");
    await widget.getByLabel("ε", { exact: true }).fill("0.5");
    for (const [label, norm] of [["LN", "LN"], ["Group norm, 2 groups", "GN"], ["LN, ε outside the root", "outside"], ["RMSNorm", "RMS"]]) {
      await widget.getByLabel(label, { exact: true }).check();
      const bias = norm === "RMS" ? [0, 0, 0, 0] : given.bias;
      const { backward, ...steps } = forward([3, -4.5, 11, 17], norm, { ...given, bias, eps: 0.5 });
      const { dx, dweight } = backward([1, 0, 2, 0]);
      for (const [row, wanted] of Object.entries({ variance: steps.variance, xHat: steps.xHat, y: steps.y, dx, dweight })) {
        near(await cells(widget, row), wanted);
      }
      assert.equal(await widget.locator("tr.mean").isVisible(), norm !== "RMS");
    }
    await close();
  });

  it("by keyboard: LN does not notice scale and shift, RMSNorm does; equal entries without ε give 0/0", async () => {
    const { page, widget, close } = await open("vector");
    const output = () => cells(widget, "y");
    near(await output(), [-1.4, -0.2, 1.4, 3.8]);
    for (const name of ["2 · x", "x + 10"]) {
      await widget.getByRole("button", { name }).focus();
      await page.keyboard.press("Enter");
      near(await output(), [-1.4, -0.2, 1.4, 3.8]);
    }
    near(await cells(widget, "mean"), [30]);
    await widget.getByLabel("LN", { exact: true }).focus();
    await page.keyboard.press("ArrowRight");
    const before = await output();
    await widget.getByRole("button", { name: "x + 10" }).press("Enter");
    assert.notDeepEqual(await output(), before);
    await widget.getByLabel("LN", { exact: true }).check();
    for (const entry of ["x₁", "x₂", "x₃", "x₄"]) await widget.getByLabel(entry, { exact: true }).fill("7");
    near(await output(), [0, 0, 1, 1]);
    await widget.getByLabel("ε", { exact: true }).fill("0");
    assert.equal(await widget.locator("tr.xHat td").first().textContent(), "0/0");
    await close();
  });
});

const RATES = { // what is said of the first two arms, as the page prints it, and of Sandwich
  de: { first: /0,392 ± 0,014 \(n = 8\)\. A ist schlechter/, sandwich: /Sandwich.*0,010 ± 0,003/, row: /^0,002.*\(n = 8\).*\(n = 16\)/, none: "ohne Norm" },
  en: { first: /0\.392 ± 0\.014 \(n = 8\)\. A is worse/, sandwich: /Sandwich.*0\.010 ± 0\.003/, row: /^0\.002.*\(n = 8\).*\(n = 16\)/, none: "no norm" },
};

for (const [edition, { first, sandwich, row, none }] of Object.entries(RATES)) {
  it(`${edition}: two arms by keyboard: every seed, their difference in pairs, and the numbers`, async () => {
    const { page, widget, close } = await open("rates", { edition });
    assert.match(await widget.locator(".result").textContent(), first);
    assert.equal(await widget.locator(".arm-B circle:is(.seed, .lost)").count(), 5 * 16);
    assert.equal(await widget.locator(".pair").count(), 8);
    const list = widget.locator(".arm-A select");
    await list.focus();
    for (const key of "Sandwich") await page.keyboard.press(key);
    assert.match(await widget.locator(".result").textContent(), sandwich);
    await widget.locator("summary").focus();
    await page.keyboard.press("Enter");
    assert.match(await widget.locator("tbody tr").nth(2).textContent(), row);
    await list.selectOption({ label: none });
    assert.equal(await widget.locator(".arm-A .seed").count(), 0);
    await close();
  });
}

describe("the plane and the sphere", () => {
  it("on a phone, who moves the last slider sees what moves", async () => {
    const { page, widget, close } = await open("sphere", { ...VIEWS["phone, light"], viewport: { width: 390, height: 664 } });
    await widget.getByRole("slider").last().evaluate((slider) => slider.scrollIntoView({ block: "end" }));
    const bar = await page.locator(".bd-header-article").boundingBox();
    const drawing = await widget.locator("svg").boundingBox();
    assert.ok(drawing.y >= bar.y + bar.height - 1, `${drawing.y} below ${bar.y + bar.height}`);
    const { y } = await widget.getByRole("slider").last().boundingBox();
    assert.ok(drawing.y + drawing.height <= y, `${drawing.y + drawing.height} above ${y}`);
    await close();
  });
});

const LAUNCHES = {
  de: { copy: /: ([\d,]+) der Kopie/, second: /^2 von \d{3}$/, length: "Zeilenlänge N", shortened: /^1 von \d\d?: .*N = 2048/ },
  en: { copy: /: ([\d.]+) of the copy/, second: /^2 of \d{3}$/, length: "Row length N", shortened: /^1 of \d\d?: .*N = 2048/ },
};

for (const [edition, { copy, second, length, shortened }] of Object.entries(LAUNCHES)) {
  it(`${edition}: the slider goes from the fastest launch down, the pointer finds one, a length leaves its own`, async () => {
    const { page, widget, close } = await open("launches", { edition, viewport: { width: 1440, height: 900 } });
    const told = () => widget.locator(".result").textContent();
    const speed = async () => Number((await told()).match(copy)[1].replace(",", "."));
    const fastest = await speed();
    await widget.getByRole("slider").focus();
    await page.keyboard.press("ArrowRight");
    const place = await widget.getByRole("slider").getAttribute("aria-valuetext");
    assert.match(place, second);
    assert.ok((await told()).startsWith(`${place}: `));
    await page.keyboard.press("End");
    assert.ok((await speed()) < fastest - 0.2);
    await widget.getByLabel(length).selectOption({ label: "2048" });
    assert.match(await told(), shortened);
    const others = await widget.locator("svg").first().locator("circle.other").count();
    assert.ok(others > 200);
    const dot = widget.locator("svg").nth(1).locator("circle:is(.few, .enough)").last();
    await dot.scrollIntoViewIfNeeded();
    const { x, y } = await dot.boundingBox();
    const before = await told();
    await page.mouse.move(x + 4, y + 4);
    assert.notEqual(await told(), before);
    await close();
  });
}

describe("the table of invariances", () => {
  it("says of each layer whether it notices a change, as the page's table does", async () => {
    const { page, widget, close } = await open("changes");
    const same = async () => (await widget.locator("tbody td:last-child").allTextContents()).map((text) => text.includes("same"));
    assert.deepEqual(await same(), [true, true, false, false, false]); // one example · c
    assert.equal(Object.keys(LAYERS).length, (await same()).length);
    await widget.locator("select").focus();
    const seen = new Set();
    await page.keyboard.press("Home");
    for (const _ of Object.keys(CHANGES)) {
      seen.add((await same()).join());
      await page.keyboard.press("ArrowDown");
    }
    assert.ok(seen.size >= 6, [...seen].join("; "));
    assert.deepEqual(await same(), [false, true, false, false, true]); // turned, and turned back
    await widget.locator("select").selectOption({ label: "X → c X" });
    assert.deepEqual(await same(), [true, true, true, false, false]);
    await widget.getByRole("slider").fill("-2");
    assert.deepEqual(await same(), [false, false, false, false, false]);
    await widget.getByRole("slider").fill("2");
    await widget.getByLabel("0.3").check();
    assert.deepEqual(await same(), [false, false, false, false, false]);
    await close();
  });
});

for (const edition of EDITIONS) {
  it(`${edition}: the effects of all experiments, filtered with the claims, lead to their cells, without a script`, async () => {
    const { page, close } = await site.open(disk(edition, "behauptungen"), { javaScriptEnabled: false });
    const rows = page.locator(".effects .effect");
    const count = await rows.count();
    assert.ok(count >= 20);
    assert.ok((await rows.first().boundingBox()).height < 90); // a line or two, no more
    await page.check("#only-contested");
    const contested = await page.locator(".effect.contested").count();
    assert.equal(await page.locator(".effect:visible").count(), contested);
    assert.ok(contested > 3 && contested < count);
    await page.check("#only-wrong");
    assert.ok(await page.locator(".effects .none").isVisible());
    await page.check("#only-refined");
    await page.locator(".effect:has-text('C41')").focus();
    await page.keyboard.press("Enter");
    await page.waitForURL("**/4a_transformer.html#claim-C41");
    await close();
  });
}
