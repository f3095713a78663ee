-- Searches for the critical token belong to a trace and go with it.
CREATE TABLE searches (
    id       TEXT PRIMARY KEY NOT NULL,
    trace_id TEXT NOT NULL REFERENCES traces (id) ON DELETE CASCADE,
    created  BIGINT NOT NULL,
    -- The whole search as JSON, exactly as it is exported.
    body     TEXT NOT NULL
);

CREATE INDEX searches_trace ON searches (trace_id, id);
