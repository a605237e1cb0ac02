/**
 * Open logs in the page, and look for faults of access; JSON on stdout says what was seen.
 *
 *     node open_logs.js CHROMIUM URL LOG... [--pictures FOLDER]
 *
 * The first log is dropped, the others are chosen as files. The last one must be long: it is stopped.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename } from "node:path";

const require = createRequire(new URL("../../examples/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const [executablePath, url, ...rest] = process.argv.slice(2);
const where = rest.indexOf("--pictures");
const [logs, folder] = where < 0 ? [rest, null] : [rest.slice(0, where), rest[where + 1]];

const browser = await chromium.launch({
  executablePath,
  args: [
    ...["--no-sandbox", "--disable-gpu", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update"],
  ],
});
const context = await browser.newContext({ viewport: { width: 390, height: 844 } });
context.setDefaultTimeout(120_000); // of a busy machine
const page = await context.newPage();
const errors = [];
page.on("pageerror", (error) => errors.push(error.message));
const report = { logs: {}, faults: [], checked: {}, widest: 0 };

const seen = async () => {
  await page.waitForSelector("#log[data-done]");
  return page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((item) => item.innerText);
    const error = document.getElementById("log-error");
    return {
      error: error.hidden ? null : error.textContent,
      columns: !document.getElementById("log-columns").hidden,
      verdict: texts("#log-result .verdict")[0],
      scores: texts("#log-result tbody tr").map((row) => row.split(/\s*\t\s*/)),
      account: texts("#log-result .columns p.quiet")[0],
      hours: document.querySelector(".hours")?.getAttribute("aria-label"),
      latest: texts(".latest .name"),
    };
  });
};
const choose = async (file) => {
  await page.evaluate(() => delete document.getElementById("log").dataset.done);
  await page.setInputFiles("#log-file", file);
};

await page.goto(url);
await page.waitForSelector("body[data-ready]");
await page.evaluate(
  ([name, text]) => {
    const files = new DataTransfer();
    files.items.add(new File([text], name));
    for (const kind of ["dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
    }
  },
  [basename(logs[0]), readFileSync(logs[0], "utf8")],
);
report.logs[basename(logs[0])] = await seen();
for (const log of logs.slice(1, -1)) {
  await choose(log);
  report.logs[basename(log)] = await seen();
}
report.isHacked = await page.evaluate(() => "hacked" in globalThis);

await choose(logs.at(-1));
await page.waitForSelector("#log-result tbody tr");
await page.click("#name"); // the page answers while it counts
await page.keyboard.type("alive");
report.typed = await page.inputValue("#name");
report.isRunning = await page.locator("#log-cancel").isVisible();
await page.click("#log-cancel");
report.stopped = await seen();
await page.fill("#name", "");

await choose(logs[0]);
await seen();
await page.click("text=Predict from this log");
await page.waitForSelector('body:not([data-shown="0"])');
report.adopted = await page.evaluate(() => ({
  count: document.getElementById("count").textContent,
  buttons: [...document.querySelectorAll("#events button")].map((button) => button.textContent),
  why: [...document.querySelectorAll("#predictions .why")].map((item) => item.textContent),
}));
await page.waitForSelector("#hits:not([hidden])");
await choose(logs[0]);
await seen();
await page.click("#forget");
await page.evaluate(axe);
const check = async (state) => {
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document));
  report.checked[state] = passes.length;
  for (const { id, impact, nodes } of violations) {
    const where = nodes.map(({ target, failureSummary }) => `${target}: ${failureSummary}`);
    report.faults.push({ state, id, impact, where });
  }
};
for (const colorScheme of ["light", "dark"]) {
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  if (!(await page.locator("#question").isVisible())) await page.click("#forget");
  await check(`question, ${colorScheme}`);
  await page.keyboard.press("Escape");
  for (const width of [390, 1440]) {
    await page.setViewportSize({ width, height: 900 });
    await check(`${width}, ${colorScheme}`);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    report.widest = Math.max(report.widest, over);
    if (folder) await page.screenshot({ path: `${folder}/${width}-${colorScheme}.png`, fullPage: true });
  }
}

// The keyboard alone reaches every control, and the policy lets no request to another host out.
report.focused = [];
await page.evaluate(() => document.activeElement.blur());
for (let i = 0; i < 40; i += 1) {
  await page.keyboard.press("Tab");
  report.focused.push(await page.evaluate(() => document.activeElement.id || document.activeElement.textContent));
}
report.leaks = await page.evaluate(async () => {
  const got = [];
  await fetch("http://127.0.0.1:9/").then(() => got.push("fetch"), () => {});
  const refused = [];
  addEventListener("securitypolicyviolation", ({ effectiveDirective }) => refused.push(effectiveDirective));
  new Image().src = "http://127.0.0.1:9/picture.png";
  await fetch("http://127.0.0.1:9/").catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  return { got, refused: refused.sort() };
});
console.log(JSON.stringify({ ...report, errors }));
await browser.close();
