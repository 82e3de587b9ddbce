// Print a page as a PDF. node pdf.mjs URL FILE WIDTH HEIGHT MARGIN, of the paper, in mm; fails if
// something is wider than it.
import { chromium } from "playwright-core";
import { BROWSER } from "./browser.mjs";

const [url, file, wide, high, rim] = process.argv.slice(2);
const margin = Object.fromEntries(["top", "bottom", "left", "right"].map((side) => [side, `${rim}mm`]));
const width = Math.floor(((wide - 2 * rim) / 25.4) * 96); // of the text, in CSS pixels
const browser = await chromium.launch(BROWSER);
try {
  const page = await browser.newPage({ viewport: { width, height: 1000 } });
  await page.emulateMedia({ media: "print" });
  await page.goto(url, { waitUntil: "load" });
  await page.evaluate(() => document.fonts.ready);
  const clipped = await page.evaluate(() => {
    const right = document.documentElement.clientWidth;
    const wide = (element) => element.scrollWidth > element.clientWidth + 1;
    return [...document.querySelectorAll("pre, .math math, table, img")]
      .filter((e) => e.getBoundingClientRect().right > right + 1 || (e.tagName === "PRE" && wide(e)))
      .map((e) => `${e.closest("[id]")?.id}: ${(e.textContent || e.alt).trim().slice(0, 60)}`);
  });
  if (clipped.length) throw new Error(`wider than the paper:\n${clipped.join("\n")}`);
  const footerTemplate =
    '<div style="font-size: 8pt; width: 100%; text-align: center"><span class="pageNumber"></span></div>';
  await page.pdf({
    path: file, width: `${wide}mm`, height: `${high}mm`, margin, outline: true, tagged: true, printBackground: true,
    displayHeaderFooter: true, headerTemplate: "<span></span>", footerTemplate,
  });
} finally {
  await browser.close();
}
