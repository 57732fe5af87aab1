-- Who has passed on which pass: one row for each passage, written in the transaction of its record, because a
-- row at the end of a table costs a fraction of one in its middle. What has been overtaken, and passes that
-- ended a day ago, are forgotten at the next start. `pass` is issuer and pass id; at_ms unix milliseconds,
-- until_s unix seconds, count the passages on this pass in this direction so far.
CREATE TABLE IF NOT EXISTS uses (
    id        INTEGER PRIMARY KEY,
    pass      TEXT NOT NULL,
    direction TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    until_s   INTEGER,
    step      INTEGER,
    count     INTEGER NOT NULL
);
