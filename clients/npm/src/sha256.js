/**
 * SHA-256 (FIPS 180-4), without waiting: `crypto.subtle` answers later, and on secure pages alone.
 */

const ROUNDS = 64;

/** The first 32 bits of the fractional part of a root of each of the first primes. */
function primeFractions(root, count) {
  const primes = [];
  for (let number = 2; primes.length < count; number += 1) {
    if (primes.every((prime) => number % prime)) primes.push(number);
  }
  return Uint32Array.from(primes, (prime) => (root(prime) % 1) * 2 ** 32);
}

const START = primeFractions(Math.sqrt, 8);
const CONSTANTS = primeFractions(Math.cbrt, ROUNDS);

const turned = (word, bits) => (word >>> bits) | (word << (32 - bits));

/** Hash of bytes as 64 hexadecimal digits. */
export function sha256(bytes) {
  const numBlocks = Math.ceil((bytes.length + 9) / 64);
  const padded = new DataView(new ArrayBuffer(64 * numBlocks));
  new Uint8Array(padded.buffer).set(bytes);
  padded.setUint8(bytes.length, 0x80);
  padded.setBigUint64(64 * numBlocks - 8, 8n * BigInt(bytes.length));
  const hash = START.slice();
  const words = new Uint32Array(ROUNDS);
  for (let block = 0; block < numBlocks; block += 1) {
    for (let i = 0; i < ROUNDS; i += 1) {
      if (i < 16) {
        words[i] = padded.getUint32(64 * block + 4 * i);
        continue;
      }
      const [early, late] = [words[i - 15], words[i - 2]];
      const first = turned(early, 7) ^ turned(early, 18) ^ (early >>> 3);
      const second = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
      words[i] = words[i - 16] + first + words[i - 7] + second;
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let i = 0; i < ROUNDS; i += 1) {
      const sum1 = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      const next = (h + sum1 + ((e & f) ^ (~e & g)) + CONSTANTS[i] + words[i]) | 0;
      const sum0 = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
      const majority = (a & b) ^ (a & c) ^ (b & c);
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + next) | 0, c, b, a, (next + sum0 + majority) | 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => (hash[i] += word));
  }
  return Array.from(hash, (word) => word.toString(16).padStart(8, "0")).join("");
}
