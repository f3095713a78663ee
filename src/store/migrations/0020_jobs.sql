-- Data sets; their lines are files beside the database.
CREATE TABLE datasets (
    name    TEXT PRIMARY KEY NOT NULL,
    -- The name of the file: another upload under the same name gets another.
    file    TEXT NOT NULL,
    -- What is known of it, as JSON.
    body    TEXT NOT NULL
);

CREATE TABLE jobs (
    id          TEXT PRIMARY KEY NOT NULL,
    kind        TEXT NOT NULL,
    state       TEXT NOT NULL,
    -- Whether somebody asked for its end while it was held.
    cancel      BIGINT NOT NULL,
    -- Who holds it, and until when in Unix milliseconds; a lease that has run out binds nobody.
    holder      TEXT,
    lease_until BIGINT NOT NULL,
    -- The record and the configuration as JSON.
    record      TEXT NOT NULL,
    config      TEXT NOT NULL
);

CREATE INDEX jobs_state ON jobs (state, id);

CREATE TABLE job_events (
    job_id  TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq     BIGINT NOT NULL,
    created BIGINT NOT NULL,
    kind    TEXT NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (job_id, seq)
);
