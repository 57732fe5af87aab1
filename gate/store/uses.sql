-- Who has passed on which pass: written in the transaction of the record of the passage, and forgotten a day
-- after the pass has ended. `pass` is issuer and pass id; at_ms unix milliseconds, until_s unix seconds.
CREATE TABLE IF NOT EXISTS uses (
    pass      TEXT NOT NULL,
    direction TEXT NOT NULL,
    at_ms     INTEGER NOT NULL,
    until_s   INTEGER,
    step      INTEGER,
    count     INTEGER NOT NULL,
    PRIMARY KEY (pass, direction)
) WITHOUT ROWID;
