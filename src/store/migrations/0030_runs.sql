-- Rollouts and searches that are drawn in the background. They belong to a trace and go with it.
CREATE TABLE runs (
    -- That of the record that the run makes.
    id          TEXT PRIMARY KEY NOT NULL,
    -- The part of the id that sorts by time: the ids of rollouts and of searches begin differently.
    made        TEXT NOT NULL,
    trace_id    TEXT NOT NULL REFERENCES traces (id) ON DELETE CASCADE,
    state       TEXT NOT NULL,
    -- Whether somebody asked for its end.
    cancel      BIGINT NOT NULL,
    -- Who draws, and until when in Unix milliseconds; a lease that has run out binds nobody.
    holder      TEXT,
    lease_until BIGINT NOT NULL,
    -- The record and the request as JSON.
    record      TEXT NOT NULL,
    request     TEXT NOT NULL
);

CREATE INDEX runs_trace ON runs (trace_id, made);
CREATE INDEX runs_state ON runs (state, made);

-- What happened to a run. Once it is over and its record is stored, only the last ones are kept.
CREATE TABLE run_events (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    seq    BIGINT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
