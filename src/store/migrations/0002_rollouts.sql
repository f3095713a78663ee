-- Rollouts belong to a trace and go with it.
CREATE TABLE rollouts (
    id       TEXT PRIMARY KEY NOT NULL,
    trace_id TEXT NOT NULL REFERENCES traces (id) ON DELETE CASCADE,
    created  BIGINT NOT NULL,
    position BIGINT NOT NULL,
    -- The whole set as JSON, exactly as it is exported.
    body     TEXT NOT NULL
);

CREATE INDEX rollouts_trace ON rollouts (trace_id, id);
