-- One run. Rows of moves, progress and observations share one sequence; the checksum of each follows from its content and from the
-- checksum before it, so flipped, lost or foreign rows are found and named. Values of the other tables carry a checksum of their own.
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum TEXT NOT NULL);
CREATE TABLE stages (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, finished INTEGER NOT NULL, answer TEXT, reason TEXT, checksum TEXT NOT NULL
);
CREATE TABLE moves (
    sequence INTEGER PRIMARY KEY, stage TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, architecture TEXT, judge TEXT,
    fidelity REAL, delivered INTEGER NOT NULL, checksum TEXT NOT NULL, UNIQUE (stage, number)
);
CREATE TABLE progress (
    sequence INTEGER PRIMARY KEY, stage TEXT NOT NULL, number INTEGER NOT NULL, metrics TEXT NOT NULL, snapshot TEXT, sha256 TEXT,
    checksum TEXT NOT NULL, UNIQUE (stage, number)
);
CREATE TABLE observations (
    sequence INTEGER PRIMARY KEY, stage TEXT NOT NULL, number INTEGER NOT NULL, value REAL, cost REAL, metrics TEXT, failure TEXT,
    message TEXT, seconds REAL NOT NULL, checksum TEXT NOT NULL, UNIQUE (stage, number)
);
CREATE TABLE artifacts (name TEXT PRIMARY KEY, path TEXT NOT NULL, sha256 TEXT NOT NULL, checksum TEXT NOT NULL);
-- Monotonic seconds by session; the stage '' is the session as a whole. No checksum: a lost tick costs nothing but itself.
CREATE TABLE clock (session INTEGER NOT NULL, stage TEXT NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (session, stage));
