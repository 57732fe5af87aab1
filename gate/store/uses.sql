-- Who has passed on which pass: a row for each use, and one for each that was given back, written in the
-- transaction of its record; a row at the end of a table costs a fraction of one in its middle. The last row of
-- a pass and direction counts. What was overtaken, and passes that ended a day ago, are forgotten at the next
-- start. `pass` is issuer and pass id; at_ms unix milliseconds, until_s unix seconds, count the uses so far.
CREATE TABLE IF NOT EXISTS uses (
    id        INTEGER PRIMARY KEY,
    pass      TEXT NOT NULL,
    direction TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    until_s   INTEGER,
    step      INTEGER,
    count     INTEGER NOT NULL
);
