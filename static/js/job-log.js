// A job's log as it comes. It follows its end until the reader scrolls up, and then waits for them.

import { fill, h } from './dom.js';
import { plain, whenFull } from './format.js';
import { stateMark } from './job-words.js';
import { explain } from './states.js';

/** Older lines than these are taken away, or a job of days would fill the page. */
const LONGEST = 2000;
/** Pixels from the end at which the log still counts as being at its end. */
const NEAR = 24;

export class JobLog {
  constructor() {
    /** The number of the newest event that is here: they come again after a break. */
    this.seen = 0;
    this.following = true;
    this.frame = 0;
    this.lines = h('ol', { class: 'log-lines' });
    const follows = { scroll: () => this.#scrolled() };
    const box = { class: 'log', id: 'job-log', role: 'log', tabindex: 0, 'aria-label': 'Log', on: follows };
    this.box = h('div', box, this.lines);
    this.status = h('span', { class: 'hint', role: 'status', id: 'job-connection' });
    this.tail = h(
      'button',
      { type: 'button', class: 'quiet', id: 'log-tail', hidden: true, on: { click: () => this.#follow() } },
      '↓ Newest lines',
    );
    this.root = h(
      'section',
      { class: 'job-part', 'aria-labelledby': 'log-title' },
      h('div', { class: 'part-head' }, h('h2', { id: 'log-title' }, 'Log'), this.status, this.tail),
      this.box,
    );
  }

  /** @param {any} event a state or a line of the log */
  add(event) {
    if (event.seq <= this.seen) return;
    this.seen = event.seq;
    const state = event.event === 'state';
    const { symbol, word } = stateMark(event.state);
    const text = state ? `${symbol} ${word}${event.error ? `: ${event.error.message}` : ''}` : event.message;
    const at = new Date(event.created * 1000);
    this.lines.append(
      h(
        'li',
        { class: state ? 'log-state' : event.level },
        h('time', { datetime: at.toISOString(), title: whenFull(event.created) }, at.toLocaleTimeString('en-GB')),
        ' ',
        event.level === 'warning' ? '⚠ ' : null,
        plain(text),
      ),
    );
    if (this.lines.childElementCount > LONGEST) this.lines.firstElementChild?.remove();
    // Once a frame: a long log that is read again comes in one go.
    if (this.following) this.frame ||= requestAnimationFrame(() => ((this.frame = 0), this.#toEnd()));
  }

  /** @param {import('./stream.js').Connection|'over'} state */
  connection(state) {
    const said = { live: '● live', broken: '○ the connection broke; trying again…', over: '' }[state];
    if (this.status.textContent !== said) fill(this.status, said);
  }

  /** @param {unknown} error @param {() => void} retry */
  failed(error, retry) {
    fill(
      this.status,
      `⚠ The log cannot be followed: ${explain(error)} `,
      h('button', { type: 'button', class: 'quiet', on: { click: retry } }, 'Try again'),
    );
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR;
    this.tail.hidden = this.following;
  }

  #follow() {
    this.following = true;
    this.tail.hidden = true;
    this.box.focus({ preventScroll: true });
    this.#toEnd();
  }

  #toEnd() {
    this.box.scrollTop = this.box.scrollHeight;
  }
}
