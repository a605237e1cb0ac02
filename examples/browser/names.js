/** Names for people: "camera.open" reads "Camera", "com.spotify.music" reads "Spotify music". */

const GENERIC = new Set(["open", "opened", "launch", "launched", "start", "started", "main"]);
const OF_PACKAGES = new Set(["android", "app", "apps", "mobile", "client", "main"]);
const TOP_LEVEL = "com|org|net|io|dev|edu|gov|info|eu|de|at|ch|fr|uk|nl|es|it|pl|se|jp|cn|in|us|ca|au|br";
const DOMAIN = new RegExp(`^([a-z0-9-]+\\.)+(${TOP_LEVEL})$`);
const PACKAGE = /^(com|org|net|io|de|us)\.[a-z0-9_]+(\.[a-z0-9_]+)*$/;
const FOR_DEVELOPERS = /^[a-z0-9]+([._:/-]+[a-z0-9]+)*$/;
const CAMEL = /^[a-z]{3,}([A-Z][a-z0-9]+)+$/;

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A name with a capital, unless its first word has one somewhere, as "iPhone". */
function plain(name) {
  const first = name.split(" ", 1)[0];
  return first === first.toLowerCase() ? capital(name) : name;
}

function ofPackage(name) {
  const segments = name.split(".").slice(1);
  const told = segments.filter((segment, i) => !OF_PACKAGES.has(segment) && segments.indexOf(segment) === i);
  return capital((told.length ? told : segments).join(" ").replaceAll("_", " "));
}

/** all: keep the parts that say nothing, to tell names apart. */
function derived(name, all) {
  const bare = name.replace(/\.exe$/i, "");
  if (DOMAIN.test(bare)) return bare.replace(/^www\./, "");
  if (PACKAGE.test(bare)) return ofPackage(bare);
  if (CAMEL.test(bare)) return derived(bare.replace(/[A-Z]/g, (letter) => `.${letter.toLowerCase()}`), all);
  if (!FOR_DEVELOPERS.test(bare)) return plain(bare);
  const [head, ...rest] = bare.split(/[.:/]+/).map((part) => part.replace(/[_-]+/g, " "));
  if (!all && rest.length > 0 && GENERIC.has(rest.at(-1))) rest.pop();
  return rest.length ? `${capital(head)}: ${rest.join(", ")}` : capital(head);
}

export class DisplayNames {
  #shown = new Map(); // name => display name
  #taken = new Set(); // display names

  /** names: those that may look alike are told apart by all of their parts; others may come later. */
  constructor(names = []) {
    const uses = new Map();
    for (const name of names) uses.set(derived(name), (uses.get(derived(name)) ?? 0) + 1);
    for (const name of names) if (uses.get(derived(name)) === 1) this.of(name);
    for (const name of names) if (!this.#shown.has(name)) this.#keep(name, derived(name, true));
  }

  /** The display name of a name: always the same, and of no other name. */
  of(name) {
    return this.#shown.get(name) ?? this.#keep(name, derived(name));
  }

  #keep(name, shown) {
    const candidates = [shown, derived(name, true), name].filter((candidate) => candidate !== "");
    let free = candidates.find((candidate) => !this.#taken.has(candidate));
    for (let number = 2; free === undefined; number += 1) {
      if (!this.#taken.has(`${name} (${number})`)) free = `${name} (${number})`;
    }
    this.#taken.add(free);
    this.#shown.set(name, free);
    return free;
  }
}

/** A place for people: "new_york.park_14" reads "New York: park 14". */
export function placeName(name) {
  if (!FOR_DEVELOPERS.test(name)) return plain(name);
  const [head, ...rest] = name.split(/[.:/]+/).map((part) => part.replace(/[_-]+/g, " "));
  const city = head.split(" ").map(capital).join(" ");
  return rest.length ? `${city}: ${rest.join(", ")}` : city;
}
