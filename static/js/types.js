// The shapes that the server answers with, as JSDoc types for the other modules. No code.

/**
 * @template T
 * @typedef {{base: T, positive: T|null, negative: T|null}} PerModel One value a model; null while a role is empty.
 */

/** @typedef {'base'|'positive'|'negative'} Role */

/** @typedef {{id: string, sha256: string}} ModelRef */

/**
 * @typedef {object} TopToken An alternative at a position. Natural log probabilities.
 * @property {number} id
 * @property {string} text
 * @property {number} base
 * @property {number|null} positive
 * @property {number|null} negative
 * @property {number|null} score The s_t that it would have had in the token's place.
 */

/**
 * @typedef {object} Token
 * @property {number} position 0 is the response's first token.
 * @property {number} id
 * @property {string} text
 * @property {number} start Byte offset into the UTF-8 response.
 * @property {number} end
 * @property {PerModel<number>} logprob Natural log.
 * @property {PerModel<number>} rank 0 is the greedy choice.
 * @property {PerModel<number>} entropy Nats.
 * @property {number|null} score s_t in (0, 1).
 * @property {boolean} critical
 * @property {TopToken[]} top
 */

/** @typedef {{rule: 'threshold', value: number}|{rule: 'lowest', k: number}|{rule: 'quantile', value: number}} CriticalRule */

/**
 * @typedef {object} Verdict
 * @property {'correct'|'wrong'|'unparsed'|'timeout'} status
 * @property {string|null} extracted
 * @property {string} reference
 * @property {[number, number]|null} span Byte offsets of `extracted` in the response.
 */

/**
 * @typedef {object} RolloutGroup The rollouts after one token.
 * @property {{id: number, text: string}} token
 * @property {number} samples
 * @property {number} correct
 * @property {number|null} rate Null without samples.
 * @property {[number, number]} interval Of the rate, at 95%.
 */

/**
 * @typedef {object} Rollouts What came of a token and of others in its place.
 * @property {string} id
 * @property {number} position
 * @property {string} answer
 * @property {ModelRef} model
 * @property {{temperature: number, max_tokens: number}} sampling
 * @property {RolloutGroup} original
 * @property {RolloutGroup[]} alternatives
 */

/**
 * @typedef {object} Trace
 * @property {string} id
 * @property {number} created Unix seconds.
 * @property {number} beta
 * @property {'exact'|'truncated'} normalizer
 * @property {PerModel<ModelRef>} models
 * @property {{text: string, token_ids: number[]}} prompt
 * @property {{text: string, straddles_boundary: boolean}} response
 * @property {Token[]} tokens
 * @property {CriticalRule} [rule]
 * @property {number[]} critical
 * @property {Verdict|null} verdict
 * @property {string[]} [tags]
 * @property {{prompt_tokens: number, response_tokens: number}} usage
 * @property {{queue_ms: number, compute_ms: number}} timing
 * @property {Rollouts[]} [rollouts] Oldest first; absent while there are none.
 */

/**
 * @typedef {object} TraceSummary A row of GET /v1/traces.
 * @property {string} id
 * @property {number} created Unix seconds.
 * @property {string} prompt_excerpt
 * @property {string} response_excerpt
 * @property {string|null} verdict
 * @property {number} critical_count
 * @property {string[]} tags
 * @property {(number|null)[]} sparkline The lowest s_t from stretch to stretch.
 */

/**
 * @typedef {object} ModelCard A row of GET /v1/models.
 * @property {string} id
 * @property {string[]} roles
 * @property {'checkpoint'|'adapter'} kind
 * @property {string} architecture
 * @property {number} parameters
 * @property {string} dtype
 * @property {string} device
 * @property {string} sha256
 * @property {number} max_context
 */

export {};
