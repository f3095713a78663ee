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
 * @property {Record<string, number>} logprob Natural log of the token's probability at the fork, by model.
 * @property {number|null} [drawn] How often it was drawn, where alternatives were sampled.
 * @property {number} samples
 * @property {number} correct
 * @property {number} unparsed
 * @property {number} timeout
 * @property {number|null} rate Null without samples.
 * @property {[number, number]} interval Of the rate, at 95%.
 * @property {Record<string, number>} pass_at_k
 */

/** @typedef {{samples: number, correct: number, pass_at_k: Record<string, number>}} RolloutPool */

/**
 * @typedef {object} Rollout One completion of the response.
 * @property {number|null} alternative Null for the response's own token, else an index into the alternatives.
 * @property {number} index Number within its token's rollouts.
 * @property {string} text What follows the forced token.
 * @property {number[]} token_ids
 * @property {number} start Byte offset of `text` in the full response.
 * @property {'stop'|'eos'|'length'} finish_reason
 * @property {Verdict} verdict Its span lies in the full response.
 */

/**
 * @typedef {object} Sampling
 * @property {number} temperature
 * @property {number} max_tokens
 * @property {number} [seed]
 */

/**
 * @typedef {object} Rollouts What came of a token and of others in its place.
 * @property {string} id
 * @property {number} created Unix seconds.
 * @property {number} position
 * @property {string} answer
 * @property {ModelRef} model
 * @property {Sampling} sampling
 * @property {'sampled'|'top'|'given'} alternatives_source
 * @property {RolloutGroup} original
 * @property {RolloutGroup[]} alternatives
 * @property {RolloutPool} with_token
 * @property {RolloutPool} without_token
 * @property {Rollout[]} [rollouts] The original's first, then those of each alternative in turn.
 * @property {boolean} [stopped] Whether drawing was stopped before all were there.
 */

/**
 * @typedef {object} SearchPosition A position that a search looked at.
 * @property {number} position
 * @property {number} samples
 * @property {number} correct
 * @property {number} rate
 * @property {[number, number]} interval
 * @property {'hopeful'|'zero'|'tail'|'open'} decided
 */

/**
 * @typedef {object} Search A search for the critical token.
 * @property {string} id
 * @property {number} created Unix seconds.
 * @property {ModelRef} model
 * @property {{samples: number, tail: number, strategy: 'adaptive'|'exhaustive', budget: number, confidence: number,
 *   sampling: Sampling}} settings
 * @property {number|null} critical
 * @property {{id: number, text: string}|null} token
 * @property {'found'|'no_critical'|'last_zero'|'budget_spent'|'stopped'} reason
 * @property {number} confidence
 * @property {SearchPosition[]} positions Ascending.
 * @property {{generated_tokens: number, exhaustive_tokens: number, samples: number, rounds: number}} usage
 */

/**
 * @typedef {object} Run Rollouts or a search that the server draws in the background; its record has the same id.
 * @property {string} id
 * @property {'rollouts'|'search'} kind
 * @property {string} trace_id
 * @property {'running'|'succeeded'|'failed'|'cancelled'} state
 * @property {number} created Unix seconds.
 * @property {number|null} finished
 * @property {number|null} position Of rollouts.
 * @property {number} samples Of each alternative, for each time that it is drawn.
 * @property {number|null} original_samples Of the response's own token.
 * @property {{code: string, message: string}|null} error
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
 * @property {Search[]} [searches] Oldest first; absent while there are none.
 */

/**
 * @typedef {object} TraceSummary A row of GET /v1/traces.
 * @property {string} id
 * @property {number} created Unix seconds.
 * @property {PerModel<ModelRef>} models
 * @property {string} prompt_excerpt
 * @property {string} response_excerpt
 * @property {string|null} verdict
 * @property {number} critical_count
 * @property {string[]} tags
 * @property {{prompt_tokens: number, response_tokens: number}} usage
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
 * @property {number} memory_bytes
 */

export {};
