/**
 * Parts of the page without a browser; JSON on stdout.
 *
 *     node page_parts.js read FILE [COLUMNS]     the events of each user, and what was left out
 *     node page_parts.js names NAME...           their display names
 *     node page_parts.js leader BEHAVIOR...      of each moment the first three of every predictor and of the leader
 *     node page_parts.js why PAST MOMENT PLACE BEHAVIOR...
 *     node page_parts.js sample                  the made-up month
 */

import { readFileSync } from "node:fs";
import { basename } from "node:path";

import { FollowTheLeader } from "../../examples/browser/follow_the_leader.js";
import { openLog, usersOfTable } from "../../examples/browser/log_files.js";
import { DisplayNames, placeName } from "../../examples/browser/names.js";
import { reasons } from "../../examples/browser/reasons.js";
import { sampleLog } from "../../examples/browser/sample_log.js";

const [part, ...given] = process.argv.slice(2);

const parts = {
  async read(path, columns) {
    try {
      let log = await openLog(new File([readFileSync(path)], basename(path)));
      if (log.table) log = await usersOfTable(log.table, columns ? JSON.parse(columns) : log.table.guess);
      const rows = (events) => events.map((event) => [event.event, event.location, event.at, event.utcOffsetMin]);
      const users = Object.fromEntries([...log.users].map(([user, events]) => [user, rows(events)]));
      return { users, leftOut: Object.fromEntries(log.leftOut) };
    } catch (error) {
      return { error: error.message, kind: error.constructor.name };
    }
  },
  names(...names) {
    const shown = new DisplayNames(names);
    return names.map((name) => [shown.of(name), placeName(name)]);
  },
  leader(...behaviors) {
    const counted = new FollowTheLeader();
    return behaviors.map((behavior) => {
      const first = [undefined, 0, 1, 2, 3, 4].map((which) => counted.first(3, which));
      counted.observe(behavior);
      return first;
    });
  },
  why(past, moment, place, ...behaviors) {
    const why = reasons(JSON.parse(past), JSON.parse(moment), place || null, (behavior) => behavior.toUpperCase());
    return behaviors.map((behavior) => [why(behavior), why(behavior, false)]);
  },
  sample() {
    return sampleLog(new Date(2026, 2, 30, 12));
  },
};
console.log(JSON.stringify(await parts[part](...given)));
