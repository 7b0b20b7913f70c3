internal import GRDB

/// The tables. A migration is never changed once released; a new one is added.
enum Schema {
  /// "cora" in ASCII, in the file's header.
  static let applicationID: Int32 = 0x636f_7261

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("v1") { database in
      try database.execute(
        sql: """
          CREATE TABLE subspaces (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, base TEXT NOT NULL,
            source TEXT NOT NULL, scope TEXT NOT NULL, center INTEGER NOT NULL, rank INTEGER NOT NULL,
            byte_count INTEGER NOT NULL, bytes BLOB NOT NULL,
            created_at INTEGER NOT NULL, created_by TEXT NOT NULL, UNIQUE (base, name)
          ) STRICT;
          CREATE INDEX subspaces_by_digest ON subspaces (digest);
          -- What the name 'default' stands for, for each base by its digest.
          CREATE TABLE default_subspaces (base TEXT PRIMARY KEY, digest TEXT NOT NULL) STRICT, WITHOUT ROWID;
          -- A deleted task keeps its row: next_version never goes back.
          CREATE TABLE tasks (
            name TEXT PRIMARY KEY, kind TEXT NOT NULL, labels TEXT NOT NULL, active INTEGER,
            next_version INTEGER NOT NULL, is_deleted INTEGER NOT NULL DEFAULT 0,
            created_at INTEGER NOT NULL, created_by TEXT NOT NULL
          ) STRICT, WITHOUT ROWID;
          CREATE TABLE versions (
            task TEXT NOT NULL REFERENCES tasks (name), version INTEGER NOT NULL, digest TEXT NOT NULL,
            base TEXT NOT NULL, subspace TEXT, method TEXT NOT NULL, rank INTEGER NOT NULL,
            alpha REAL NOT NULL, sites TEXT NOT NULL, metrics TEXT NOT NULL, job TEXT,
            byte_count INTEGER NOT NULL, bytes BLOB NOT NULL,
            created_at INTEGER NOT NULL, created_by TEXT NOT NULL,
            PRIMARY KEY (task, version)
          ) STRICT;
          CREATE INDEX versions_by_subspace ON versions (subspace);
          -- What was active, oldest first; its last row is what is active now.
          CREATE TABLE activations (
            id INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL, version INTEGER NOT NULL,
            at INTEGER NOT NULL, by TEXT NOT NULL
          ) STRICT;
          CREATE INDEX activations_by_task ON activations (task, id);
          CREATE TABLE datasets (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL, rows INTEGER NOT NULL,
            byte_count INTEGER NOT NULL, is_complete INTEGER NOT NULL, is_inline INTEGER NOT NULL,
            created_at INTEGER NOT NULL, created_by TEXT NOT NULL
          ) STRICT, WITHOUT ROWID;
          -- Rows in batches, as the caller encoded them.
          CREATE TABLE dataset_batches (
            dataset TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE, first_row INTEGER NOT NULL,
            rows INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (dataset, first_row)
          ) STRICT;
          CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, base TEXT NOT NULL,
            state TEXT NOT NULL, task TEXT, method TEXT, settings TEXT NOT NULL, request TEXT NOT NULL,
            dataset TEXT, progress REAL NOT NULL DEFAULT 0, epoch INTEGER, step INTEGER, steps INTEGER,
            loss REAL, examples_per_second REAL, seconds_left REAL, metrics TEXT, version INTEGER,
            subspace TEXT, error_code TEXT, error_detail TEXT, idempotency_key TEXT, request_digest TEXT,
            created_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER, created_by TEXT NOT NULL
          ) STRICT;
          CREATE UNIQUE INDEX jobs_by_key ON jobs (created_by, idempotency_key)
            WHERE idempotency_key IS NOT NULL;
          CREATE INDEX jobs_by_state ON jobs (state, number);
          CREATE INDEX jobs_by_task ON jobs (task, number);
          CREATE INDEX jobs_by_dataset ON jobs (dataset) WHERE dataset IS NOT NULL;
          CREATE TABLE job_events (
            job TEXT NOT NULL, id INTEGER NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL,
            PRIMARY KEY (job, id)
          ) STRICT, WITHOUT ROWID;
          CREATE TABLE checkpoints (
            job TEXT NOT NULL, step INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (job, step)
          ) STRICT;
          """)
    }
    migrator.registerMigration("v2") { database in
      try database.execute(
        sql: """
          ALTER TABLE job_events ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
          -- When an older event was kept is not known: not before its job was made.
          UPDATE job_events SET at = coalesce((SELECT created_at FROM jobs WHERE jobs.id = job), 0);
          ALTER TABLE checkpoints ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
          ALTER TABLE checkpoints ADD COLUMN loss REAL;
          UPDATE checkpoints SET at = coalesce((SELECT created_at FROM jobs WHERE jobs.id = job), 0);
          """)
    }
    // Null for versions that are older than the column.
    migrator.registerMigration("v3") { database in
      try database.execute(sql: "ALTER TABLE versions ADD COLUMN labels TEXT")
    }
    return migrator
  }
}
