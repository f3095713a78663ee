// Speaks to the server: requests, the API key, and errors in words. Knows the contract, nothing of the page.

/** @typedef {import('./types.js').Trace} Trace */
/** @typedef {import('./types.js').ModelCard} ModelCard */

const KEY = 'linchpin.key';

/** A request that failed: `message` is fit to be shown. */
export class ApiError extends Error {
  /** @param {number} status 0 when no answer came @param {{message?: string, type?: string, param?: string|null, code?: string|null}} detail @param {number|null} [retryAfter] seconds */
  constructor(status, detail, retryAfter = null) {
    super(detail.message || `The server answered ${status}.`);
    this.status = status;
    this.code = detail.code ?? null;
    this.param = detail.param ?? null;
    this.retryAfter = retryAfter;
  }
}

/** @type {(rejected: boolean) => Promise<string|null>} */
let askForKey = async () => null;
/** @type {Promise<string|null>|null} */
let asking = null;

/** Sets what asks the reader for a key when the server wants one. @param {(rejected: boolean) => Promise<string|null>} ask */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** @type {() => void} */
let sayStarting = () => {};

/** Sets what is told that the server is still loading its models. @param {() => void} say */
export function onStarting(say) {
  sayStarting = say;
}

/** Waits; rejects once the signal is aborted. @param {number} ms @param {AbortSignal} [signal] */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** The key of this tab's session, if any. */
export function key() {
  return sessionStorage.getItem(KEY);
}

/** @param {string|null} value */
export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** @param {Response} response */
async function failure(response) {
  const retryAfter = Number(response.headers.get('retry-after')) || null;
  let detail = {};
  try {
    detail = (await response.json()).error ?? {};
  } catch {
    // A proxy's page, not the server's error: the status has to do.
  }
  return new ApiError(response.status, detail, retryAfter);
}

/** The answer to what first.js has asked already; given once. @param {string} path @returns {Promise<Response>|null} */
function takeEarly(path) {
  const page = /** @type {any} */ (window);
  if (page.linchpinEarly?.path !== path) return null;
  const { answer } = page.linchpinEarly;
  delete page.linchpinEarly;
  return answer;
}

/**
 * One request, asked again with a key when the server wants one, and once its models are loaded.
 * @param {string} method @param {string} path
 * @param {{json?: unknown, text?: Blob|string, type?: string, signal?: AbortSignal, more?: Record<string, string>}} [options]
 *   `more` are further headers
 * @returns {Promise<Response>}
 */
export async function send(method, path, { json, text, type, signal, more } = {}) {
  let early = method === 'GET' ? takeEarly(path) : null;
  for (;;) {
    const used = key();
    /** @type {Record<string, string>} */
    const headers = { ...more };
    if (used) headers.authorization = `Bearer ${used}`;
    if (json !== undefined) headers['content-type'] = 'application/json';
    else if (type) headers['content-type'] = type;
    let response;
    try {
      const body = json === undefined ? text : JSON.stringify(json);
      response = await (early ?? fetch(path, { method, headers, signal, body }));
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, { message: 'The server cannot be reached. Is it still running?' });
    } finally {
      early = null;
    }
    if (response.ok) return response;
    const error = await failure(response);
    if (response.status === 401 && error.code !== 'host_not_allowed') {
      // Several requests may fail at once: they share one question.
      asking ??= askForKey(used !== null).finally(() => (asking = null));
      const given = await asking;
      if (given) {
        setKey(given);
        continue;
      }
    }
    if (method === 'GET' && error.code === 'models_not_ready') {
      // The server answers before its models are loaded: what only reads waits for them.
      sayStarting();
      await pause((error.retryAfter ?? 1) * 1000, signal);
      continue;
    }
    throw error;
  }
}

/** The JSON that a request is answered with. @param {string} method @param {string} path @param {Parameters<typeof send>[2]} [options] */
export async function ask(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

/** @param {string} id */
const traceAt = (id) => `/v1/traces/${encodeURIComponent(id)}`;

/** The loaded models, base first. @param {AbortSignal} [signal] @returns {Promise<ModelCard[]>} */
export async function models(signal) {
  return (await ask('GET', '/v1/models', { signal })).data;
}

/** @param {{positive: string|null, negative: string|null}} roles */
export function setRoles(roles) {
  return ask('PUT', '/v1/roles', { json: roles });
}

/** @param {string} id @param {string} path inside the server's adapters folder */
export function loadAdapter(id, path) {
  return ask('POST', '/v1/adapters', { json: { id, path } });
}

/** @param {string} id */
export function unloadAdapter(id) {
  return ask('DELETE', `/v1/adapters/${encodeURIComponent(id)}`);
}

/** @param {object} request @param {AbortSignal} [signal] @returns {Promise<Trace>} */
export function score(request, signal) {
  return ask('POST', '/v1/score', { json: request, signal });
}

/** @param {string} id @param {AbortSignal} [signal] @returns {Promise<Trace>} */
export function trace(id, signal) {
  return ask('GET', traceAt(id), { signal });
}

/** @param {string} id */
export function deleteTrace(id) {
  return ask('DELETE', traceAt(id));
}

/**
 * Some trace summaries, and how many there are in all.
 * @param {Record<string, string>} query the API's parameters: filters, sort and order, offset and limit
 * @param {AbortSignal} [signal] @returns {Promise<{data: import('./types.js').TraceSummary[], total: number}>}
 */
export function traces(query, signal) {
  return ask('GET', `/v1/traces?${new URLSearchParams(query)}`, { signal });
}

/** @param {string} id @param {'jsonl'|'csv'|'html'} format */
export function exportAddress(id, format) {
  return `${traceAt(id)}/export?format=${format}`;
}

/** An exported trace, for when a plain link could not carry the key. @param {string} id @param {'jsonl'|'csv'|'html'} format */
export async function exported(id, format) {
  return (await send('GET', exportAddress(id, format))).blob();
}

/** @param {Blob} file JSONL as exported */
export function importTraces(file) {
  return ask('POST', '/v1/traces/import', { text: file, type: 'application/x-ndjson' });
}
