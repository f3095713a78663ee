// Trajectories to begin with. The second and third end wrong; their slips are named for the reader, not for the model.

/** @typedef {{name: string, prompt: string, response: string, answer: string, note: string}} Example */

/** @type {Example[]} */
export const EXAMPLES = [
  {
    name: 'Jam jars (an arithmetic slip)',
    prompt:
      'Question: Mara fills 14 jars with plum jam and sells them at the market for $6 each. The jars cost her $1 each and the sugar cost $12 in all. How much does she keep after these costs?\nAnswer:',
    response:
      ' Mara sells 14 jars for $6 each, so she takes 14 * 6 = $94.\nThe jars cost 14 * 1 = $14 and the sugar costs $12, so she spends 14 + 12 = $26.\nShe keeps 94 - 26 = $68.\nThe answer is 68.',
    answer: '58',
    note: '14 × 6 is 84, not 94; everything after follows from it.',
  },
  {
    name: 'Two trains (a wrong step)',
    prompt:
      'Question: A slow train covers 180 km in 3 hours. A fast train is twice as fast as the slow one. How long does the fast train take for 360 km?\nAnswer:',
    response:
      ' The slow train runs at 180 / 3 = 60 km/h.\nThe fast train is twice as fast, so it runs at 60 + 2 = 62 km/h.\nIt takes 360 / 62 = 5.8 hours.\nThe answer is 5.8.',
    answer: '3',
    note: 'Twice as fast is 60 × 2, not 60 + 2.',
  },
  {
    name: 'Library shelves (all right)',
    prompt:
      'Question: A library has 5 shelves with 24 books each. On Monday 17 books are lent out and 9 come back. How many books stand on the shelves?\nAnswer:',
    response:
      ' There are 5 * 24 = 120 books on the shelves.\nAfter 17 are lent out, 120 - 17 = 103 are left.\nWith the 9 that come back there are 103 + 9 = 112.\nThe answer is 112.',
    answer: '112',
    note: 'Nothing is wrong here: compare how it looks.',
  },
];
