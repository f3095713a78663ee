// The small picture of a trace in the list: its lowest s_t from stretch to stretch, on the same log scale as everywhere.

import { svg } from './dom.js';
import { MEASURES } from './measures.js';

const WIDTH = 52;
const HEIGHT = 20;

/**
 * @param {(number|null)[]} values s_t by stretch; null where not scored
 * @param {number} threshold at and below it a stretch is drawn as suspicious
 */
export function sparkline(values, threshold) {
  const scale = MEASURES[0].toScale;
  const step = WIDTH / Math.max(1, values.length);
  const base = HEIGHT - 1;
  const bars = values.map((value, i) => {
    if (value === null || value === undefined) return null;
    // Drawn from the top, so that a low score is a long bar and catches the eye.
    const length = Math.max(1.5, (1 - scale(value)) * base);
    return svg('rect', {
      class: value <= threshold ? 'bad' : 'good',
      x: (i * step).toFixed(2),
      y: 0,
      width: Math.max(0.6, step - 0.5).toFixed(2),
      height: length.toFixed(2),
    });
  });
  return svg(
    'svg',
    { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, 'aria-hidden': 'true' },
    bars,
  );
}
