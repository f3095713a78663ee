-- Types and statements here and in the code stay within what SQLite and PostgreSQL share.
CREATE TABLE traces (
    id             TEXT PRIMARY KEY NOT NULL,
    created        BIGINT NOT NULL,
    verdict        TEXT,
    base_model     TEXT NOT NULL,
    positive_model TEXT,
    negative_model TEXT,
    min_score      DOUBLE PRECISION,
    critical_count BIGINT NOT NULL,
    -- Prompt and response in lower case: SQLite's LIKE folds ASCII only.
    search_text    TEXT NOT NULL,
    -- The list row as JSON, so that a list reads no bodies.
    summary        TEXT NOT NULL,
    -- The whole trace as JSON, exactly as it is exported.
    body           TEXT NOT NULL
);

CREATE INDEX traces_verdict ON traces (verdict, id);

CREATE TABLE trace_tags (
    trace_id TEXT NOT NULL REFERENCES traces (id) ON DELETE CASCADE,
    tag      TEXT NOT NULL,
    PRIMARY KEY (trace_id, tag)
);

CREATE INDEX trace_tags_tag ON trace_tags (tag, trace_id);
