/** Before packing: copy what the package shares with the rest of the repository, the universal bundle and the license. */

import { cp } from "node:fs/promises";

const root = new URL("../../", import.meta.url);
await cp(new URL("edgebehave/universal_bundle", root), new URL("universal", import.meta.url), { recursive: true });
await cp(new URL("LICENSE", root), new URL("LICENSE", import.meta.url));
