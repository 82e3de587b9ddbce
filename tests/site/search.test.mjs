// The search of the built site: what each question finds first, live, by keyboard, from disk as well.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { gzipSync } from "node:zlib";
import { EDITIONS, SITE, start, violations } from "./site.mjs";


// What a reader who asks this wants to read first.
const FIRST = {
  en: {
    epsilon: "1c_feinheiten.html#when-does-take-over",
    "ε": "1c_feinheiten.html#when-does-take-over",
    eps: "1c_feinheiten.html#when-does-take-over",
    gamma: "1_funktionsprinzip.html#and",
    RMSNorm: "6a_rmsnorm.html",
    "Pre-LN": "4a_transformer.html#where-does-the-norm-go",
    "layer normalization backward pass": "1a_rueckwaertspass.html",
    "batch size": "2a_batchgroesse.html",
    "batch normalization": "7_verwandte_themen.html#term-batch-normalization",
    "QK norm": "4a_transformer.html#a-norm-inside-attention",
    "which norm for my transformer": "6f_entscheidung.html#a-norm-for-a-transformer-an-image-net-and-more",
    "half precision": "1b_numerik.html#half-precision",
    bf16: "1b_numerik.html#half-precision",
    "weight decay": "7_verwandte_themen.html#term-weight-decay",
    backward: "1a_rueckwaertspass.html",
    install: "index.html#how-to-run-it",
    citation: "index.html#license-and-citation",
    license: "index.html#license-and-citation",
    exercise: "0_zehn_minuten.html#exercises",
    C11: "behauptungen.html#ledger-c11",
    M3: "behauptungen.html#ledger-m03",
  },
  de: {
    epsilon: "1c_feinheiten.html#unter-welchem-ubernimmt",
    "Rückwärtspass": "1a_rueckwaertspass.html",
    Rueckwaertspass: "1a_rueckwaertspass.html",
    "Rückwärtspässe": "1a_rueckwaertspass.html",
    Jacobi: "1c_feinheiten.html#die-ableitung-im-bild",
    "Übung": "0_zehn_minuten.html#ubungen",
    C11: "behauptungen.html#ledger-c11",
    "Batchgröße": "2a_batchgroesse.html",
    RMSNorm: "6a_rmsnorm.html",
    "Pre-LN": "4a_transformer.html#wo-steht-die-norm",
    "QK-Norm": "4a_transformer.html#eine-norm-in-der-attention",
    Schichtnormalisierung: "7_verwandte_themen.html#term-Layer-Normalization",
    "ohne Normalisierung": "6e_ohne_normalisierung.html",
    "halbe Genauigkeit": "1b_numerik.html#halbe-genauigkeit-was-float16-und-bfloat16-verlieren",
    "ε": "1c_feinheiten.html#unter-welchem-ubernimmt",
    backward: "1a_rueckwaertspass.html",
    "batch size": "2a_batchgroesse.html",
    "QK norm": "4a_transformer.html#eine-norm-in-der-attention",
    "welche Norm für meinen Transformer": "6f_entscheidung.html#eine-norm-fur-transformer-bildnetz-und-mehr",
    installieren: "index.html#wie-man-es-ausfuhrt",
    zitieren: "index.html#lizenz-und-zitat",
    Lizenz: "index.html#lizenz-und-zitat",
  },
};
// Names of the library, in every edition alike.
const NAMES = {
  "lnlib.RMSNorm": "referenz_lnlib.html#lnlib.RMSNorm",
  "lnlib.functional": "referenz_functional.html",
  "functional.layer_norm": "referenz_functional.html#lnlib.functional.layer_norm",
  "lnlib.reference.layer_norm": "referenz_reference.html#lnlib.reference.layer_norm",
  layer_norm_backward: "referenz_reference.html#lnlib.reference.layer_norm_backward",
  weight_norm_forward: "referenz_reference.html#lnlib.reference.variants.weight_norm_forward",
  ConditionalLayerNorm: "referenz_variants.html#lnlib.variants.ConditionalLayerNorm",
  QueryKeyNorm: "referenz_variants.html#lnlib.variants.QueryKeyNorm",
  add_rms_norm: "referenz_kernels.html#lnlib.kernels.add_rms_norm",
  "traffic.Operations": "referenz_kernels.html#lnlib.kernels.traffic.Operations",
  LSTMCell: "referenz_recurrent.html#lnlib.recurrent.LSTMCell",
  "lnlib.experiments.paired": "referenz_experiments.html#lnlib.experiments.paired",
};
for (const questions of Object.values(FIRST)) Object.assign(questions, NAMES);
const MORE = [
  "a", "the", "der", "norm", "Norm", "normalizat", "Varianz", "variance", "transformer", "Vaswani", "lnlib.RMSNorm",
  "F.layer_norm", "σ² + ε", "γ and β", "(x − μ)/σ", "dropout", "Keras", "Triton kernel", "GPU", "numericly", "<b>", "\\", "%",
];
const TEXT = {
  en: { none: "Nothing found.", some: /^\d+ results?\b/ },
  de: { none: "Nichts gefunden.", some: /^\d+ Treffer\b/ },
};
const HEAVIEST = 250 * 1024; // bytes of the search's script, compressed

const site = start();

// Write a question into the page's field and wait for its answer.
async function ask(page, query) {
  await page.fill(".bd-search-container input", query);
  await page.waitForFunction((q) => (new URLSearchParams(location.search).get("q") ?? "") === q, query);
  return page.locator(".search-results li a").evaluateAll((links) => links.map((a) => a.getAttribute("href")));
}

const status = (page) => page.textContent(".search-results [role=status]");
const ways = (page, within) => page.locator(`${within} a`).evaluateAll((links) => links.map((a) => a.getAttribute("href")));

for (const edition of EDITIONS) {
  describe(`the search, ${edition}`, () => {
    const text = TEXT[edition];

    for (const base of ["server", "disk"]) {
      it(`finds first what is looked for, from the ${base}`, async () => {
        const start = base === "disk" ? pathToFileURL(SITE).href : site.url;
        const { page, problems, requests, close } = await site.open(`${start}/${edition}/search.html`);
        const found = {};
        for (const query of Object.keys(FIRST[edition])) [found[query]] = await ask(page, query);
        assert.deepEqual(found, FIRST[edition]);
        assert.deepEqual(problems, []);
        assert.deepEqual(requests.filter((url) => !url.startsWith(start)), []);
        await close();
      });
    }

    it("finds the entry of every name of the library first, and one of its last part among three", async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/search.html`);
      await page.focus(".bd-search-container input");
      await page.waitForFunction(() => window.bookSearch);
      const names = readdirSync(join(SITE, edition)).filter((file) => file.startsWith("referenz_")).flatMap((file) =>
        [...readFileSync(join(SITE, edition, file), "utf8").matchAll(/<section class="entry"[^>]* id="([^"]+)"/g)].map(
          ([, id]) => [id, `${file}#${id}`]));
      assert.ok(names.length > 150);
      const found = await page.evaluate(async (asked) => {
        const find = await window.bookSearch.ready;
        return asked.map(([name]) => [name, find(name)[0]?.url]);
      }, names);
      assert.deepEqual(found, names);
      const ends = names.map(([name]) => name.split(".").at(-1));
      const short = names.map(([, url], i) => [ends[i], url]).filter(([end]) => ends.indexOf(end) === ends.lastIndexOf(end));
      assert.ok(short.length > 120);
      const low = await page.evaluate(async (asked) => {
        const find = await window.bookSearch.ready;
        return asked.filter(([end, entry]) => !find(end).slice(0, 3).some(({ url }) => url === entry));
      }, short);
      assert.deepEqual(low, []);
      const [first, ...others] = await ask(page, "layer_norm");
      assert.match(first, /^referenz_.*\.layer_norm$/);
      assert.ok(others.some((place) => place.startsWith("3_implementierung.html")), others);
      await close();
    });

    it("leads to places that exist, with a sentence of the text", async () => {
      const { page, problems, close } = await site.open(`${site.url}/${edition}/search.html`);
      const places = new Set();
      for (const query of [...Object.keys(FIRST[edition]), ...MORE]) {
        for (const href of await ask(page, query)) places.add(href);
        const excerpts = await page.locator(".search-results li p").allTextContents();
        assert.deepEqual(excerpts.filter((e) => /Show code|Hide code|Code anzeigen|\.ipynb/.test(e)), []);
      }
      assert.ok(places.size > 200, `${places.size} places`);
      const dead = [...places].filter((href) => {
        const [file, id] = href.split("#");
        const html = readFileSync(join(SITE, edition, file), "utf8");
        return id !== undefined && !html.includes(` id="${id}"`);
      });
      assert.deepEqual(dead, []);
      assert.deepEqual(problems, []);
      await close();
    });

    it("leaves out set-up cells and says when there is nothing", async () => {
      const { page, problems, close } = await site.open(`${site.url}/${edition}/search.html`);
      for (const query of ["importlib", "xyzzyqqq"]) {
        assert.deepEqual(await ask(page, query), [], query);
        assert.ok((await status(page)).startsWith(text.none), query);
        assert.deepEqual(await ways(page, "[role=status]"), ["index.html", "genindex.html"]);
      }
      assert.deepEqual(await ask(page, ""), []);
      assert.deepEqual(await ways(page, "[role=status]"), ["index.html", "genindex.html"]);
      assert.deepEqual(problems, []);
      await close();
    });

    it("answers the address, marks what it found, and is led by keys", async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/search.html?q=RMSNorm`);
      const first = page.locator(".search-results li a").first();
      await first.waitFor();
      assert.match(await status(page), text.some);
      assert.equal(await page.inputValue(".bd-search-container input"), "RMSNorm");
      assert.equal(await page.locator(".search-results mark").first().textContent(), "RMSNorm");
      assert.ok(await page.locator(".bd-search-container input").evaluate((e) => e === document.activeElement));
      await page.keyboard.press("ArrowDown");
      assert.ok(await first.evaluate((element) => element === document.activeElement));
      await page.keyboard.press("Enter");
      await page.waitForURL(`**/${edition}/6a_rmsnorm.html`);
      await page.goBack();
      await first.waitFor();
      await close();
    });

    it("opens in a dialog, which leads to the page; loads nothing before", async () => {
      const { page, problems, requests, close } = await site.open(`${site.url}/${edition}/1b_numerik.html`);
      const loaded = () => requests.filter((url) => url.includes("book-search")).length;
      assert.equal(loaded(), 0);
      await page.keyboard.press("Control+k");
      await page.keyboard.type("epsilon");
      await page.waitForFunction( // until the whole word is typed
        (first) => document.querySelector("dialog .search-results li a")?.href.endsWith(first),
        FIRST[edition].epsilon,
      );
      assert.equal(loaded(), 1);
      assert.equal((await ways(page, "dialog .search-results"))[0], FIRST[edition].epsilon);
      await page.keyboard.press("Enter");
      await page.waitForURL(`**/${edition}/search.html?q=epsilon`);
      await page.locator(".search-results li a").first().waitFor();
      assert.deepEqual(problems, []);
      await close();
    });

    it("says without scripts where else to look", async () => {
      const { page, close } = await site.open(`${site.url}/${edition}/search.html`, { javaScriptEnabled: false });
      assert.match(await page.innerText(".bd-search-container noscript"), /JavaScript/);
      assert.deepEqual(await ways(page, ".bd-search-container noscript"), ["index.html", "genindex.html"]);
      await close();
    });

    it("is light", () => {
      const folder = join(SITE, edition, "_static");
      const [name, ...others] = readdirSync(folder).filter((file) => file.startsWith("book-search"));
      assert.deepEqual(others, []);
      const { length } = gzipSync(readFileSync(join(folder, name)));
      assert.ok(length <= HEAVIEST, `${length} bytes`);
    });

    for (const colorScheme of ["light", "dark"]) {
      it(`is accessible, ${colorScheme}, in one frame, with the sign beside the text`, async () => {
        const { page, close } = await site.open(`${site.url}/${edition}/search.html?q=epsilon`, { colorScheme });
        await page.locator(".search-results li a").first().waitFor();
        const field = page.locator(".bd-search-container input");
        const seen = await field.evaluate((input) => {
          const sign = input.form.querySelector(".fa-magnifying-glass").getBoundingClientRect();
          const { outlineStyle, paddingLeft } = getComputedStyle(input);
          const frame = getComputedStyle(input.form);
          return {
            frames: [outlineStyle, frame.outlineStyle].filter((style) => style !== "none").length,
            shadow: frame.boxShadow,
            free: input.getBoundingClientRect().left + parseFloat(paddingLeft) - sign.right,
          };
        });
        assert.equal(seen.frames, 1);
        assert.equal(seen.shadow, "none");
        assert.ok(seen.free > 0, `the sign lies ${-seen.free} px on the text`);
        assert.deepEqual(await violations(page), []);
        await close();
      });
    }
  });
}
