/**
 * Call `check()` of a page; JSON on stdout is its answer.
 *
 *     node open_page.js CHROMIUM URL
 */

import { createRequire } from "node:module";

const require = createRequire(new URL("../../examples/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const [executablePath, url] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(error));
await page.goto(url);
await page.waitForFunction(() => "check" in globalThis);
console.log(JSON.stringify(await page.evaluate(() => globalThis.check())));
await browser.close();
