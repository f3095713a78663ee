// Gives the reader a file that the page holds.

import { h } from './dom.js';

/** Milliseconds after which a browser has surely begun to read the file. */
const HANDED_OVER = 10_000;

/** @param {Blob} content @param {string} name the file's */
export function handOver(content, name) {
  const address = URL.createObjectURL(content);
  h('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), HANDED_OVER);
}
