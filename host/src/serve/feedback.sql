CREATE TABLE feedback (
    id           TEXT PRIMARY KEY, -- SHA-256 of the suggestion: the same one twice is kept once
    received_ms  INTEGER NOT NULL, -- milliseconds since 1970
    text         TEXT NOT NULL,
    languages    TEXT NOT NULL,    -- JSON list
    community_id TEXT,
    client_token TEXT,
    session_id   TEXT,
    key_name     TEXT
) STRICT;

CREATE INDEX feedback_by_time ON feedback (received_ms, id);

CREATE TABLE feedback_score (
    feedback_id TEXT NOT NULL REFERENCES feedback (id) ON DELETE CASCADE,
    label       TEXT NOT NULL,
    score       REAL NOT NULL,
    span_start  INTEGER, -- UTF-16 code units; null means the whole text
    span_end    INTEGER
) STRICT;

CREATE INDEX feedback_score_by_feedback ON feedback_score (feedback_id);
