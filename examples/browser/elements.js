/** Small parts that the cards of the page share. All text goes through `textContent`, so names stay text. */

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export const percent = (share) => (share > 0 && share < 0.005 ? "<1 %" : `${Math.round(100 * share)} %`);

export const whole = (number) => number.toLocaleString("en-US");

/** "1 event", "2 events". */
export const counted = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;

/** The clock of an event where it happened, as 08:05. */
export function clockOf({ at, utcOffsetMin }) {
  return new Date(1000 * (at + 60 * utcOffsetMin)).toISOString().slice(11, 16);
}

/** The day and the clock of an event where it happened, as "2 Mar 08:05". */
export function momentOf(event) {
  const local = new Date(1000 * (event.at + 60 * event.utcOffsetMin));
  const day = local.toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  return `${day} ${clockOf(event)}`;
}

/** Resolves to whether the question of a dialog was answered with its button of the value "yes". */
export function ask(question, yes) {
  const dialog = $("question");
  $("question-text").textContent = question;
  $("question-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
  });
}
