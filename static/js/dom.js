// Builds elements. The one door through which text enters the page: strings become text nodes, never markup, so a
// model's output cannot run or restyle anything. Styles are set as CSS variables only (the page's policy forbids
// style attributes in markup).

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @typedef {Record<string, any>} Props `class`, `data` (dataset), `vars` (CSS variables), `on` (listeners), anything
 *   else is an attribute: false and null leave it out, true sets it empty.
 */

/** @param {Element} element @param {Props} props */
function apply(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === 'class') element.setAttribute('class', value);
    else if (name === 'data') Object.assign(/** @type {HTMLElement} */ (element).dataset, value);
    else if (name === 'vars') setVars(/** @type {HTMLElement} */ (element), value);
    else if (name === 'on')
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === 'value' && 'value' in element) /** @type {HTMLInputElement} */ (element).value = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
}

/** @param {Element} element @param {any[]} children */
function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/**
 * An HTML element.
 * @param {string} tag @param {Props} [props] @param {...any} children strings, nodes, nested arrays; null is skipped
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  // Children first: a select takes its value only once its options are there.
  append(element, children);
  apply(element, props);
  return element;
}

/**
 * An SVG element.
 * @param {string} tag @param {Props} [props] @param {...any} children
 * @returns {any}
 */
export function svg(tag, props = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  append(element, children);
  apply(element, props);
  return element;
}

/** @param {HTMLElement} element @param {Record<string, string|number>} vars */
export function setVars(element, vars) {
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, String(value));
}

/** Replaces what an element holds. @param {Element} element @param {...any} children */
export function fill(element, ...children) {
  element.textContent = '';
  append(element, children);
}

/** Whether the reader asked for less motion. */
export function calm() {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}
