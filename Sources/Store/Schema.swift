internal import GRDB

/// The tables, by version. A released migration is never edited; a change is a new one.
enum Schema {
  /// "cora" in ASCII, in the file's header: what `file(1)` and we recognise a store by.
  static let applicationID = 0x636f_7261
  /// The newest schema this build reads and writes; the file keeps it as `user_version`.
  static let version = 1

  static func migrate(_ writer: some DatabaseWriter) throws {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("v1") { db in
      try db.execute(sql: v1)
      try db.execute(sql: "PRAGMA application_id = \(applicationID)")
      try db.execute(sql: "PRAGMA user_version = 1")
    }
    try migrator.migrate(writer)
  }

  // All tables are STRICT: a value of another type is refused when written. Text compares byte for byte
  // (BINARY, the default). Times are milliseconds since 1970 UTC. Digests are texts "sha256:<hex>". JSON is
  // text that the store does not read. Bytes stand in tables of their own, so that listings never page
  // over them.
  private static let v1 = """
    -- Base models whose records this store holds.
    CREATE TABLE bases (
      digest TEXT NOT NULL PRIMARY KEY,
      name TEXT NOT NULL,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Subspaces are immutable and found by digest; the same bytes are one row whoever makes them again.
    CREATE TABLE subspaces (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      digest TEXT NOT NULL UNIQUE,
      base TEXT NOT NULL,
      source TEXT NOT NULL,
      rank INTEGER NOT NULL,
      settings TEXT NOT NULL,
      summary TEXT NOT NULL,
      bytes_count INTEGER NOT NULL,
      job TEXT,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX subspaces_by_base ON subspaces (base, sequence);
    CREATE TABLE subspace_bytes (
      subspace INTEGER PRIMARY KEY REFERENCES subspaces (sequence) ON DELETE CASCADE,
      bytes BLOB NOT NULL
    ) STRICT;
    -- Names move; digests do not. "default" is a name like any other.
    CREATE TABLE subspace_names (
      base TEXT NOT NULL,
      name TEXT NOT NULL,
      digest TEXT NOT NULL REFERENCES subspaces (digest) ON DELETE CASCADE,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (base, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX subspace_names_by_digest ON subspace_names (digest);

    -- A deleted task leaves its row (deleted_at set), because last_version must never go back.
    CREATE TABLE tasks (
      name TEXT NOT NULL PRIMARY KEY,
      kind TEXT NOT NULL,
      base TEXT NOT NULL,
      active_version INTEGER,
      last_version INTEGER NOT NULL,
      version_count INTEGER NOT NULL,
      bytes_count INTEGER NOT NULL,
      pinned INTEGER NOT NULL DEFAULT 0,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      deleted_at INTEGER,
      FOREIGN KEY (name, active_version) REFERENCES versions (task, version)
        DEFERRABLE INITIALLY DEFERRED
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX tasks_live ON tasks (name) WHERE deleted_at IS NULL;
    CREATE TABLE versions (
      task TEXT NOT NULL REFERENCES tasks (name),
      version INTEGER NOT NULL,
      digest TEXT NOT NULL,
      base TEXT NOT NULL,
      subspace TEXT REFERENCES subspaces (digest),
      method TEXT NOT NULL,
      rank INTEGER NOT NULL,
      metrics TEXT NOT NULL,
      labels TEXT NOT NULL,
      settings TEXT NOT NULL,
      bytes_count INTEGER NOT NULL,
      job TEXT,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (task, version)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX versions_by_digest ON versions (digest);
    CREATE INDEX versions_by_subspace ON versions (subspace) WHERE subspace IS NOT NULL;
    CREATE TABLE version_bytes (
      key INTEGER PRIMARY KEY,
      task TEXT NOT NULL,
      version INTEGER NOT NULL,
      bytes BLOB NOT NULL,
      UNIQUE (task, version),
      FOREIGN KEY (task, version) REFERENCES versions (task, version) ON DELETE CASCADE
    ) STRICT;
    -- What was active, oldest first: rollback pops.
    CREATE TABLE activations (
      task TEXT NOT NULL,
      sequence INTEGER NOT NULL,
      version INTEGER NOT NULL,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (task, sequence),
      FOREIGN KEY (task, version) REFERENCES versions (task, version) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX activations_by_version ON activations (task, version);

    -- A data set is invisible until committed_at is set. One with an owner is a job's inline data.
    CREATE TABLE datasets (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      name TEXT,
      kind TEXT NOT NULL,
      summary TEXT NOT NULL,
      row_count INTEGER NOT NULL,
      bytes_count INTEGER NOT NULL,
      owner_job TEXT,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      committed_at INTEGER
    ) STRICT;
    CREATE INDEX datasets_listed ON datasets (sequence)
      WHERE committed_at IS NOT NULL AND owner_job IS NULL;
    CREATE INDEX datasets_uncommitted ON datasets (sequence) WHERE committed_at IS NULL;
    CREATE TABLE dataset_rows (
      dataset INTEGER NOT NULL REFERENCES datasets (sequence) ON DELETE CASCADE,
      position INTEGER NOT NULL,
      content TEXT NOT NULL,
      PRIMARY KEY (dataset, position)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE jobs (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      type TEXT NOT NULL,
      state TEXT NOT NULL,
      task TEXT,
      base TEXT NOT NULL,
      method TEXT,
      dataset TEXT,
      settings TEXT NOT NULL,
      fraction REAL NOT NULL DEFAULT 0,
      epoch INTEGER NOT NULL DEFAULT 0,
      step INTEGER NOT NULL DEFAULT 0,
      steps INTEGER NOT NULL DEFAULT 0,
      loss REAL,
      examples_per_second REAL,
      seconds_left REAL,
      metrics TEXT,
      result_version INTEGER,
      result_subspace TEXT,
      error TEXT,
      last_event INTEGER NOT NULL DEFAULT 0,
      progress_events INTEGER NOT NULL DEFAULT 0,
      resumptions INTEGER NOT NULL DEFAULT 0,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      updated_at INTEGER NOT NULL,
      started_at INTEGER,
      finished_at INTEGER
    ) STRICT;
    CREATE INDEX jobs_by_state ON jobs (state, sequence);
    CREATE INDEX jobs_by_task ON jobs (task, sequence);
    CREATE INDEX jobs_live_by_dataset ON jobs (dataset)
      WHERE dataset IS NOT NULL AND state IN ('queued', 'running', 'paused');
    -- One key of one principal makes one job.
    CREATE TABLE idempotency (
      created_by TEXT NOT NULL,
      key TEXT NOT NULL,
      request_hash TEXT NOT NULL,
      job TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (created_by, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE job_events (
      job INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
      id INTEGER NOT NULL,
      kind TEXT NOT NULL,
      is_progress INTEGER NOT NULL,
      content TEXT NOT NULL,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      PRIMARY KEY (job, id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX job_events_progress ON job_events (job, id) WHERE is_progress = 1;
    CREATE TABLE checkpoints (
      key INTEGER PRIMARY KEY,
      job INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
      step INTEGER NOT NULL,
      digest TEXT,
      bytes BLOB NOT NULL,
      created_by TEXT NOT NULL,
      created_at INTEGER NOT NULL,
      UNIQUE (job, step)
    ) STRICT;
    """
}
