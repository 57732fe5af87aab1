-- One ledger is one epoch. A record is never changed, and deleted only from the beginning on, once the centre
-- has signed for it. What is known about records (how far they are delivered) lives beside them, so that every
-- byte of a record is covered by the chain.
CREATE TABLE records (
    seq  INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    hash BLOB NOT NULL
);
-- The newest record, kept apart so that a cut tail is seen. One row.
CREATE TABLE head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash BLOB NOT NULL
);
CREATE TABLE ledger (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    site  TEXT NOT NULL,
    gate  TEXT NOT NULL
);
-- How far delivery has come: up to where the centre has signed; without a centre, the broker has acknowledged.
-- One row.
CREATE TABLE delivery (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    acknowledged INTEGER NOT NULL
);
