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
  return page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((item) => item.textContent);
    const text = (id) => document.getElementById(id).textContent;
    return {
      model: text("model"),
      latency: text("latency"),
      count: text("count"),
      spoken: text("spoken"),
      set: document.getElementById("set").hidden ? null : text("set"),
      history: texts("#history .name"),
      predictions: texts("#predictions .name"),
      shares: texts("#predictions .share"),
      why: texts("#predictions .why"),
    };
  });
};
const picture = (name) => folder && page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });

/** The table of hits, once `number` events have been asked for. */
const hits = async (number) => {
  const isCounted = (text) => document.getElementById("hits-text").textContent.includes(`each of ${text} event`);
  await page.waitForFunction(isCounted, number);
  return page.locator("#hits-table tbody tr").evaluateAll((rows) => rows.map((row) => row.innerText.split(/\s*\t\s*/)));
};

const report = {};
await page.goto(url);
report.first = await seen(0);
await page.waitForSelector("body[data-ready]");
await picture("first");
const buttons = page.locator("#events button");
report.places = await page.locator("#location option").allTextContents();
let count = 0;
for (const [button, place] of [[0, 0], [1, 1], [0, 0], [1, 1], [0, 0]]) {
  await page.selectOption("#location", { index: place + 1 });
  await buttons.nth(button).click();
  await seen((count += 1));
}
await page.fill("#name", "my own thing");
await page.click("#other button");
await seen((count += 1));
await buttons.nth(0).click();
report.tapped = await seen((count += 1));
report.hits = await hits(6);
report.buttons = await buttons.evaluateAll((all) => all.map((one) => one.textContent));
await picture("tapped");
await page.locator("#when").fill("24");
await page.waitForFunction(() => document.getElementById("when-text").textContent !== "now");
report.later = { ...(await seen(count)), when: await page.textContent("#when-text") };
await buttons.nth(1).click();
await seen(count + 1);
report.nowAgain = await page.textContent("#when-text");
await page.click("#undo");
report.undone = await seen(count);

await page.reload();
report.reloaded = await seen(count);
report.hitsReloaded = await hits(6);
await page.waitForSelector('body[data-offline="yes"]');

await context.setOffline(true);
await buttons.nth(1).click();
report.offline = await seen((count += 1));
await page.reload();
report.offlineReloaded = await seen(count);
await context.setOffline(false);

await page.click("#forget");
report.question = await page.textContent("#question-text");
await page.keyboard.press("Escape");
report.notForgotten = await seen(count);
await page.click("#forget");
await page.click("#question-yes");
report.forgotten = await seen(0);
await page.reload();
report.forgottenReloaded = await seen(0);

if (golden) {
  const started = performance.now();
  report.golden = await page.evaluate(async (file) => {
    const { checkGolden, readGolden } = await import("./node_modules/edgebehave/src/golden.js");
    const response = await fetch(file);
    return checkGolden(globalThis.edgebehave.bundle, await readGolden(await response.arrayBuffer()));
  }, golden);
  report.golden.seconds = Math.round(performance.now() - started) / 1000;
}
// Two users at the same time get what each gets alone.
report.together = await page.evaluate(async () => {
  const { Predictor } = await import("./node_modules/edgebehave/index.js");
  const users = ["ab", "ba"].map((names) => {
    const predictor = new Predictor(globalThis.edgebehave.bundle);
    for (let i = 0; i < 30; i += 1) predictor.observe(names[i % 2], { at: 1_772_438_400 + 600 * i });
    return predictor;
  });
  const answer = (predictor) => predictor.predict({ k: 3, at: 1_772_460_000 });
  const together = await Promise.all([0, 1, 0, 1].map((user) => answer(users[user])));
  const alone = [await answer(users[0]), await answer(users[1])];
  return [0, 1, 0, 1].every((user, i) => JSON.stringify(together[i]) === JSON.stringify(alone[user]));
});
report.runtime = `Chromium ${browser.version()}`;
await page.emulateMedia({ colorScheme: "dark" });
await picture("dark");
console.log(JSON.stringify({ ...report, errors, foreign }));
await browser.close();
