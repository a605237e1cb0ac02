/**
 * Use the page as somebody with a phone would; JSON on stdout says what was seen.
 *
 *     node browse.js CHROMIUM URL GOLDEN_URL [FOLDER]
 *
 * FOLDER receives screenshots. Without GOLDEN_URL ("") the page runs without a bundle.
 */

import { createRequire } from "node:module";

const require = createRequire(new URL("../../examples/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const [executablePath, url, golden, folder] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  args: [
    ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  ],
});
const context = await browser.newContext({
  viewport: { width: 390, height: 844 },
  deviceScaleFactor: 2,
});
const page = await context.newPage();
const errors = [];
const foreign = [];
page.on("pageerror", (error) => errors.push(error.message));
page.on("request", (request) => {
  if (!request.url().startsWith(new URL(url).origin) && !request.url().startsWith("data:")) {
    foreign.push(request.url());
  }
});

const seen = async (count) => {
  await page.waitForSelector(`body[data-shown="${count}"]`);
  return page.evaluate(() => ({
    model: document.getElementById("model").textContent,
    latency: document.getElementById("latency").textContent,
    count: document.getElementById("count").textContent,
    history: [...document.querySelectorAll("#history .name")].map((item) => item.textContent),
    predictions: [...document.querySelectorAll("#predictions .name")].map((item) => item.textContent),
    shares: [...document.querySelectorAll("#predictions .share")].map((item) => item.textContent),
  }));
};
/** A minute passes: the same event in the same second would count once. */
let now = Date.now();
const aMinutePasses = () => page.clock.setFixedTime((now += 60_000));
const picture = (name) => folder && page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });

const report = {};
await page.goto(url);
report.first = await seen(0);
await page.waitForSelector("body[data-ready]");
await picture("first");
const buttons = page.locator("#events button");
let count = 0;
for (const [button, location] of [[0, "home"], [1, "work"], [0, "home"], [1, "work"], [0, "home"]]) {
  await aMinutePasses();
  await page.selectOption("#location", location);
  await buttons.nth(button).click();
  await seen((count += 1));
}
await aMinutePasses();
await page.fill("#name", "my own thing");
await page.click("#other button");
await seen((count += 1));
await aMinutePasses();
await buttons.nth(0).click();
report.tapped = await seen((count += 1));
report.buttons = await buttons.evaluateAll((all) => all.map((one) => one.textContent));
await picture("tapped");

await page.reload();
report.reloaded = await seen(count);
await page.waitForSelector("body[data-ready]");

await context.setOffline(true);
await aMinutePasses();
await buttons.nth(1).click();
report.offline = await seen((count += 1));
await page.reload();
report.offlineReloaded = await seen(count);
await context.setOffline(false);

await page.click("#forget");
report.forgotten = await seen(0);
await page.reload();
report.forgottenReloaded = await seen(0);

if (golden) {
  const started = performance.now();
  report.golden = await page.evaluate(async (file) => {
    const { checkGolden, readGolden } = await import("edgebehave/golden");
    const response = await fetch(file);
    return checkGolden(globalThis.edgebehave.bundle, await readGolden(await response.arrayBuffer()));
  }, golden);
  report.golden.seconds = Math.round(performance.now() - started) / 1000;
}
report.runtime = `Chromium ${browser.version()}`;
await page.emulateMedia({ colorScheme: "dark" });
await picture("dark");
console.log(JSON.stringify({ ...report, errors, foreign }));
await browser.close();
