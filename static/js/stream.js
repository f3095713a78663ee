// Server-sent events that survive: read over fetch (an EventSource cannot send a key), taken up again behind the last
// event that was seen when the connection breaks or the server restarts, until the server says that all is told.

import { ApiError, pause, send } from './api.js';

/** Milliseconds before the first new try, doubled from try to try up to the longest. */
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 8000;

/** @typedef {'live'|'broken'} Connection */

/**
 * Follows a stream to its end.
 *
 * Resolves at `[DONE]`. Rejects with an ApiError that asking again cannot mend (a 4xx, an error event), and with the
 * signal's reason once it is aborted; aborting ends the following, not what is followed.
 * @param {string} path
 * @param {(event: any) => void} onEvent each event's JSON, in order
 * @param {{signal?: AbortSignal, onConnection?: (state: Connection) => void}} [options]
 */
export async function follow(path, onEvent, { signal, onConnection } = {}) {
  let seen = '';
  let rest = FIRST_PAUSE;
  for (;;) {
    try {
      const more = seen ? { 'last-event-id': seen } : undefined;
      const response = await send('GET', path, { signal, more });
      onConnection?.('live');
      for await (const { id, data } of events(response)) {
        rest = FIRST_PAUSE;
        if (data === '[DONE]') return;
        const event = JSON.parse(data);
        if (event.error && !event.event) {
          // A server that is going down says so: the next one goes on.
          throw new ApiError(event.error.code === 'shutting_down' ? 503 : 422, event.error);
        }
        onEvent(event);
        if (id) seen = id;
      }
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const final = error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
      if (final || !(error instanceof ApiError || error instanceof TypeError)) throw error;
    }
    onConnection?.('broken');
    await pause(rest, signal);
    rest = Math.min(2 * rest, LONGEST_PAUSE);
  }
}

/** @param {Response} response @returns {AsyncGenerator<{id: string, data: string}>} */
async function* events(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let waiting = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      waiting += decoder.decode(value, { stream: true });
      for (let end = waiting.indexOf('\n\n'); end >= 0; end = waiting.indexOf('\n\n')) {
        const event = parse(waiting.slice(0, end));
        waiting = waiting.slice(end + 2);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** One event's lines; null for a comment. @param {string} block */
function parse(block) {
  let id = '';
  const data = [];
  for (const line of block.split('\n')) {
    if (line.startsWith('data:')) data.push(line.slice(5).trimStart());
    else if (line.startsWith('id:')) id = line.slice(3).trim();
  }
  return data.length ? { id, data: data.join('\n') } : null;
}
