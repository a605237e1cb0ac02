/**
 * First visits of new users, after each of which the server is gone; JSON on stdout says what worked.
 *
 *     node first_visits.js CHROMIUM FOLDER PAGE VISITS
 *
 * FOLDER is served, each time at an address of its own, so that nothing is left from the visit before.
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";

const require = createRequire(new URL("../../examples/browser/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const [executablePath, folder, path, visits] = process.argv.slice(2);
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".mjs": "text/javascript" };
TYPES[".wasm"] = "application/wasm";

/** A server of the folder; changed: { end of an address: text in place of the file, null for a failure };
 * whenSaving: the same from the time on at which the page has loaded and begins to be saved. */
async function serve(whenSaving = {}) {
  const changed = {};
  const server = createServer(async (request, response) => {
    const address = new URL(request.url, "http://localhost").pathname;
    const other = Object.keys(changed).find((end) => address.endsWith(end));
    if (other && changed[other] === null) return response.writeHead(503).end();
    const file = join(folder, normalize(decodeURIComponent(address)));
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    if (other) return response.writeHead(200, { "Content-Type": type, ETag: '"changed"' }).end(changed[other]);
    if (address.endsWith("/offline.js")) Object.assign(changed, whenSaving);
    const known = await stat(file).catch(() => null);
    if (!known?.isFile()) return response.writeHead(404).end();
    const modified = known.mtime.toUTCString();
    const headers = { "Content-Type": type, "Last-Modified": modified, "Content-Length": known.size };
    if (request.headers["if-modified-since"] === modified) return response.writeHead(304, headers).end();
    createReadStream(file).pipe(response.writeHead(200, headers));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${server.address().port}${path}`, changed, stop };
}

const browser = await chromium.launch({
  executablePath,
  args: [
    ...["--no-sandbox", "--disable-gpu", "--no-first-run"],
    ...["--disable-background-networking", "--disable-component-update"],
  ],
});

/** Visit, and do something once the page says how it stands with the network. */
async function visit(site, then) {
  const context = await browser.newContext();
  context.setDefaultTimeout(120_000); // of a busy machine
  const page = await context.newPage();
  try {
    await page.goto(site.url);
    await page.waitForSelector('body[data-offline="yes"], body[data-offline="no"]');
    return await then(page);
  } finally {
    await context.close();
    site.stop();
  }
}

const textOf = (page, id) => page.evaluate((name) => document.getElementById(name).textContent, id);

/** What is wrong after a reload without a server, "" if nothing is. */
async function withoutServer(page, site) {
  const said = await textOf(page, "offline");
  if (said !== "Works offline") return said;
  const model = await textOf(page, "model");
  site.stop();
  await page.reload();
  await page.waitForSelector('body[data-shown="0"]');
  await page.click("#events button");
  await page.waitForSelector('body[data-shown="1"]');
  if ((await textOf(page, "model")) !== model) return await textOf(page, "model");
  return (await page.locator("#predictions .name").count()) > 0 ? "" : "no predictions";
}

const report = { wrong: [] };
for (let number = 0; number < Number(visits); number += 1) {
  const site = await serve();
  const wrong = await visit(site, (page) => withoutServer(page, site)).catch((error) => error.message);
  if (wrong) report.wrong.push(wrong);
}
report.works = Number(visits) - report.wrong.length;

// The page has loaded the runtime, but it cannot be saved.
const broken = await serve({ ".wasm": null });
report.broken = await visit(broken, (page) => textOf(page, "offline"));

const updated = await serve();
report.updated = await visit(updated, async (page) => {
  const isReady = async () => {
    await page.waitForSelector('body[data-offline="yes"]');
    return page.locator("#update").isVisible();
  };
  const states = [await isReady()];
  updated.changed["style.css"] = "body { color: rgb(1, 2, 3) }";
  await page.reload();
  states.push(await isReady());
  await page.click("#update");
  await page.waitForLoadState();
  states.push(await isReady());
  return { states, color: await page.evaluate(() => getComputedStyle(document.body).color) };
});
console.log(JSON.stringify(report));
await browser.close();
