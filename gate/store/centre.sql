-- What the ledgers of earlier versions lack, each beside the chain and in nobody's way there.

-- The centre's newest receipt: it holds every record of `epoch` up to `upto`, and that one has this hash.
-- One row, or none as long as none has come; at_ms unix milliseconds.
CREATE TABLE IF NOT EXISTS receipt (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    epoch TEXT NOT NULL,
    upto  INTEGER NOT NULL,
    hash  BLOB NOT NULL,
    at_ms INTEGER NOT NULL
);
-- Records up to this one were deleted after their receipt; the chain goes on from its hash. One row, or none.
CREATE TABLE IF NOT EXISTS pruned (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash BLOB NOT NULL
);
-- What the centre has said last: the number of its newest command, and why visitors are not served ("" while
-- they are). Written in the transaction of the record of the command. One row, or none.
CREATE TABLE IF NOT EXISTS word (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    counter   INTEGER NOT NULL,
    suspended TEXT NOT NULL
);
-- What only the centre can read, beside the record that declares its SHA-256, and deleted with it.
CREATE TABLE IF NOT EXISTS sealed (
    seq  INTEGER PRIMARY KEY,
    blob BLOB NOT NULL
);
-- The ledger that this one has followed on, its size and its newest hash, and why. One row, or none.
CREATE TABLE IF NOT EXISTS previous (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    epoch  TEXT NOT NULL,
    size   INTEGER NOT NULL,
    hash   TEXT NOT NULL,
    reason TEXT NOT NULL
);
-- The few records that are abnormal are found without reading all others. These bytes are "abnormal":true.
CREATE INDEX IF NOT EXISTS abnormal ON records (seq) WHERE instr(body, x'2261626e6f726d616c223a74727565');
