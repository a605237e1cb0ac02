/** The card that opens a log of the user's own and shows what would have been predicted. */

import { AskedBeforeTold, inSlices } from "./asked_before_told.js";
import { $, counted, element, momentOf, percent, whole } from "./elements.js";
import { LogError, openLog, usersOfTable } from "./log_files.js";
import { placeName } from "./names.js";
import { sampleLog } from "./sample_log.js";

const NUM_LATEST = 6;
const DRAW_EVERY_MS = 300;
const ROLES = [
  ["time", "Time"],
  ["event", "Event"],
  ["user", "User"],
  ["location", "Place"],
];

/**
 * Bring the card to life.
 *
 * newPredictor  () => a Predictor without a history.
 * vocabulary    of the bundle, or undefined.
 * names         the DisplayNames of the page.
 * adopt         async (events) => whether they have become the history of the page.
 */
export function startLogCard({ newPredictor, vocabulary, names, adopt }) {
  let running = new AbortController();
  let turn = 0; // the number of the latest attempt

  const stop = () => running.abort();
  const clear = () => {
    stop();
    running = new AbortController(); // what was running shows nothing any more
    for (const id of ["log-error", "log-columns", "log-running", "log-result", "log-close"]) $(id).hidden = true;
    $("log-result").replaceChildren();
    $("log-spoken").textContent = "";
    delete $("log").dataset.done;
  };
  const fail = (error) => {
    $("log-running").hidden = true;
    $("log-error").hidden = false;
    $("log-error").textContent =
      error instanceof LogError ? `${error.message}.` : `This file cannot be read: ${error.message}.`;
    if (!(error instanceof LogError)) console.error(error);
  };
  /** Do something that may take long; what it throws is shown, unless something else has been begun since. */
  const attempt = async (action) => {
    turn += 1;
    const mine = turn;
    try {
      await action();
    } catch (error) {
      if (mine === turn) fail(error);
    }
    if (mine === turn) $("log").dataset.done = ""; // for tests
  };

  const open = (file) =>
    attempt(async () => {
      clear();
      $("log-close").hidden = false;
      $("log-running").hidden = false;
      $("log-progress").removeAttribute("value");
      $("log-progress-text").textContent = `Reading ${file.name}…`;
      const log = await openLog(file);
      if (!log.table) return showLog(file.name, log);
      return askColumns(log.table, (columns) =>
        attempt(async () => showLog(file.name, await usersOfTable(log.table, columns))),
      );
    });

  const showLog = async (title, log, user = log.users.keys().next().value) => {
    stop();
    const events = log.users.get(user);
    const asked = new AskedBeforeTold(newPredictor(), vocabulary);
    const latest = [];
    running = new AbortController();
    const { signal } = running;
    $("log-error").hidden = true;
    $("log-running").hidden = false;
    $("log-result").hidden = false;
    let drawn = 0;
    const draw = (number) => {
      if (signal !== running.signal) return;
      $("log-progress").value = number / events.length;
      $("log-progress-text").textContent = `Asked and told ${whole(number)} of ${counted(events.length, "event")}`;
      if (performance.now() - drawn < DRAW_EVERY_MS && number < events.length) return;
      drawn = performance.now();
      const others = { users: log.users, user, choose: (name) => attempt(() => showLog(title, log, name)) };
      const isStopped = signal.aborted;
      $("log-result").replaceChildren(
        ...resultOf({ title, log, events, number, asked, latest, names, isStopped, others, use: () => use(events) }),
      );
    };
    draw(0);
    const step = async (event) => {
      const one = await asked.tell(event);
      if (one === null) return;
      latest.push(one);
      if (latest.length > NUM_LATEST) latest.shift();
    };
    const number = await inSlices(events, step, { progress: draw, signal });
    if (signal === running.signal) $("log-running").hidden = true;
    drawn = 0;
    draw(number);
    if (signal === running.signal && asked.numAsked > 0) $("log-spoken").textContent = verdict(asked.rows, asked.numAsked);
  };

  const use = async (events) => {
    if (!(await adopt(events))) return;
    clear();
    $("next").scrollIntoView({ block: "start" });
    $("next-title").focus({ preventScroll: true }); // the button that was pressed is gone
  };

  $("log-open").onclick = () => $("log-file").click();
  $("log-file").onchange = () => {
    const [file] = $("log-file").files;
    if (file) open(file);
    $("log-file").value = "";
  };
  $("log-sample").onclick = () =>
    attempt(async () => {
      clear();
      $("log-close").hidden = false;
      const users = new Map([["me", sampleLog(new Date())]]);
      const used = "drawn by a simple rule, so the shares say nothing about people";
      await showLog("The month", { title: "made up", used, users, leftOut: new Map(), hasOwnZone: false });
    });
  $("log-cancel").onclick = stop;
  $("log-close").onclick = () => {
    clear();
    $("log-open").focus();
  };
  startDropping(open, fail);
}

/** Files may be dropped anywhere on the page. */
function startDropping(open, fail) {
  const mark = (isOver) => $("drop").classList.toggle("over", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(false);
    const files = event.dataTransfer?.files ?? [];
    if (files.length > 1) fail(new LogError("Those are several files; open one at a time"));
    else if (files.length === 1) open(files[0]);
  });
}

/** Let the columns of a table be chosen; at once with the guess, if it has time and event. */
function askColumns({ columns, guess }, read) {
  const selects = ROLES.map(([role, label]) => {
    const none = role === "time" || role === "event" ? "choose…" : "none";
    const select = element(
      "select",
      { name: role },
      element("option", { value: "", textContent: none }),
      ...columns.map((column) => element("option", { value: column, textContent: column })),
    );
    select.value = guess[role] ?? "";
    return element("label", {}, element("span", { className: "quiet", textContent: label }), " ", select);
  });
  const form = $("log-columns");
  form.replaceChildren(...selects, element("button", { textContent: "Read" }));
  form.hidden = false;
  const readNow = () => {
    const chosen = Object.fromEntries(ROLES.map(([role]) => [role, form.elements[role].value || null]));
    return read({ ...chosen, offset: guess.offset });
  };
  form.onsubmit = (submitted) => {
    submitted.preventDefault();
    readNow();
  };
  $("log-running").hidden = true;
  if (guess.time !== null && guess.event !== null) return readNow();
  return null;
}

function resultOf({ title, log, events, number, asked, latest, names, isStopped, others, use }) {
  const { numAsked, rows, hours } = asked;
  const shown = [];
  if (others.users.size > 1) {
    const select = element("select", { onchange: () => others.choose(select.value) });
    for (const [user, own] of [...others.users].slice(0, 500)) {
      select.append(element("option", { value: user, textContent: `${user} (${whole(own.length)})` }));
    }
    select.value = others.user;
    shown.push(element("label", { className: "place" }, `One of ${counted(others.users.size, "user")}: `, select));
  }
  if (numAsked > 0) {
    shown.push(
      element("p", { className: "verdict", textContent: verdict(rows, numAsked) }),
      element("button", { className: "main", textContent: "Predict from this log", onclick: use }),
    );
  }
  const table = element("table");
  scoresTable(table, rows, numAsked);
  const scores = element("div", {}, table);
  scores.append(element("p", { className: "quiet", textContent: accountOf(title, log, events, number, isStopped) }));
  const items = latest.slice().reverse().map((one) => latestItem(one, names));
  shown.push(
    element(
      "div",
      { className: "columns" },
      scores,
      element("div", {}, element("h3", { textContent: "The busiest hours" }), ...hoursFigure(hours, numAsked)),
      element(
        "div",
        {},
        element("h3", { textContent: "The last events" }),
        element("ol", { className: "latest" }, ...items),
      ),
    ),
  );
  return shown;
}

/** The best predictor in one sentence. */
function verdict([ours, ...counting], numAsked) {
  const best = counting.reduce((a, b) => (b.first > a.first ? b : a));
  const share = ({ first }) => percent(first / numAsked);
  const cases = `of ${counted(numAsked, "event")}`;
  if (ours.first > best.first) {
    const counted = `with counting alone (${best.name}) for ${share(best)}`;
    return `The first prediction would have been right for ${share(ours)} ${cases}, ${counted}.`;
  }
  const how = ours.first === best.first ? "as good" : `better: ${share(best)} ${cases}`;
  const first = `The first prediction was right for ${share(ours)} ${cases}.`;
  return `Counting alone (${best.name}) would have been ${how}. ${first}`;
}

/** What was read, and how. */
function accountOf(title, { title: kind, used, leftOut, hasOwnZone }, events, number, isStopped) {
  const parts = [`${title}: ${kind}, ${counted(events.length, "event")}, ${used}`];
  for (const [reason, rows] of leftOut) parts.push(`left out ${whole(rows)} ${reason}`);
  if (isStopped && number < events.length) parts.push(`stopped after ${whole(number)}`);
  const zone = hasOwnZone ? "the log's own zone" : Intl.DateTimeFormat().resolvedOptions().timeZone;
  parts.push(`${momentOf(events[0])} to ${momentOf(events.at(-1))} in the time of ${zone}`);
  return `${parts.join("; ")}. Each event was asked for at its moment, before it was told.`;
}

/** A table of hits: rows { name, first, amongThree } of numAsked. */
export function scoresTable(table, rows, numAsked) {
  const best = Math.max(...rows.map(({ first }) => first));
  const cell = (hits) => {
    const made = element("td", { textContent: numAsked ? percent(hits / numAsked) : "–" });
    made.title = `${whole(hits)} of ${whole(numAsked)}`;
    made.style.setProperty("--share", `${(100 * hits) / Math.max(numAsked, 1)}%`);
    return made;
  };
  const head = (text, title) => element("th", { scope: "col", textContent: text, title });
  table.className = "scores";
  table.replaceChildren(
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        head("Predictor", ""),
        head("First", "HR@1: the first prediction was right"),
        head("First 3", "HR@3: among the first three"),
      ),
    ),
    element(
      "tbody",
      {},
      ...rows.map(({ name, first, amongThree }) =>
        element(
          "tr",
          { className: first === best && numAsked > 0 ? "best" : "" },
          element("th", { scope: "row", textContent: name }),
          cell(first),
          cell(amongThree),
        ),
      ),
    ),
  );
}

/** Bars of the local hours: how many events, and how many of them the first prediction had. */
function hoursFigure(hours, numAsked) {
  const most = Math.max(1, ...hours.map(({ asked }) => asked));
  const busiest = hours.reduce((best, { asked }, hour) => (asked > hours[best].asked ? hour : best), 0);
  const { asked, first } = hours[busiest];
  const [ofAll, hit] = [percent(asked / Math.max(numAsked, 1)), percent(first / Math.max(asked, 1))];
  const sentence = numAsked ? `${busiest}–${busiest + 1} h: ${ofAll} of the events, ${hit} of them predicted first.` : "";
  const bars = hours.map((hour, i) => {
    const bar = element("span", { title: `${i} h: ${whole(hour.asked)} events, ${whole(hour.first)} predicted first` });
    bar.style.setProperty("--all", `${(100 * hour.asked) / most}%`);
    bar.style.setProperty("--hit", `${(100 * hour.first) / most}%`);
    return bar;
  });
  const figure = element("div", { className: "hours" }, ...bars);
  figure.setAttribute("role", "img");
  figure.setAttribute("aria-label", `Events by local hour. Busiest: ${sentence}`);
  const ticks = element("div", { className: "ticks quiet" });
  ticks.setAttribute("aria-hidden", "true");
  ticks.append(...["0 h", "6 h", "12 h", "18 h", "24 h"].map((text) => element("span", { textContent: text })));
  const legend = element("p", { className: "quiet legend" }, element("i", { className: "all" }), " events ");
  legend.append(element("i", { className: "hit" }), " predicted first");
  return [figure, ticks, element("p", { textContent: sentence }), legend];
}

function latestItem({ event, behavior, predictions, rank }, names) {
  const place = ["✓ 1st", "2nd", "3rd"][rank] ?? "✗";
  const list = predictions.map((p) => `${names.of(p.behavior)} ${percent(p.probability)}`).join(", ");
  const where = event.location ? `, ${placeName(event.location)}` : "";
  return element(
    "li",
    { className: rank === 0 ? "hit" : rank > 0 ? "near" : "miss" },
    element("span", { className: "rank", textContent: place }),
    element(
      "span",
      { className: "what" },
      element(
        "span",
        { className: "line" },
        element("span", { className: "name", textContent: names.of(behavior), title: behavior }),
        element("span", { className: "quiet", textContent: `${momentOf(event)}${where}` }),
      ),
      element("span", { className: "why", textContent: `predicted ${list || "nothing yet"}` }),
    ),
  );
}
