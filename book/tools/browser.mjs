// The browser that prints and tests the site; a sentence, where there is none.
import { existsSync } from "node:fs";

export const BROWSER = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
};
if (!existsSync(BROWSER.executablePath)) {
  console.error(`no Chromium at ${BROWSER.executablePath}: apt-get install chromium, or set CHROMIUM=/path/to/it`);
  process.exit(1);
}
