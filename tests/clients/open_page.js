/**
 * Call functions of a page; JSON on stdout holds their answers.
 *
 *     node open_page.js CHROMIUM URL FUNCTION...
 */

import { createRequire } from "node:module";

const require = createRequire(new URL("../../examples/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const [executablePath, url, ...names] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
const page = await browser.newPage();
page.on("pageerror", (error) => console.error(error));
await page.goto(url);
await page.waitForFunction((name) => name in globalThis, names[0]);
const answers = {};
for (const name of names) answers[name] = await page.evaluate((called) => globalThis[called](), name);
console.log(JSON.stringify(answers));
await browser.close();
