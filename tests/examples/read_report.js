/**
 * Open a report in Chromium and look for faults of access; JSON on stdout says what was seen.
 *
 *     node read_report.js CHROMIUM REPORT
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(new URL("../../examples/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [executablePath, file] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage();
const report = { requests: [], faults: [], passes: {}, widest: 0 };
page.on("request", (request) => report.requests.push(request.url()));
const url = pathToFileURL(file).href;
await page.goto(url);
await page.evaluate(axe);
for (const colorScheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme });
  for (const width of [390, 1440]) {
    await page.setViewportSize({ width, height: 900 });
    const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document));
    report.passes[`${width}, ${colorScheme}`] = passes.length;
    for (const { id, impact, nodes } of violations) {
      const where = nodes.map(({ target, failureSummary }) => `${target}: ${failureSummary}`);
      report.faults.push({ width, colorScheme, id, impact, where });
    }
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    report.widest = Math.max(report.widest, over);
  }
}
report.requests = report.requests.filter((asked) => asked !== url);
await browser.close();
console.log(JSON.stringify(report));
