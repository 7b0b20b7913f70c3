internal import Models

/// What the daemon's core needs to open.
public struct ServingConfiguration: Sendable {
  /// Folder of the base as Hugging Face lays it out.
  public var modelDirectory: String
  /// How the base's weights are held in memory: one of `weightFormats`.
  public var weights = "f32"
  /// SQLite file; made where it is missing.
  public var storePath: String
  /// Further checkpoints of the base's architecture, by the name that requests use.
  public var checkpoints: [String: String] = [:]
  /// Bytes of resident adapters before the least recently used leave.
  public var cacheBytes = 512 << 20
  /// Bytes of resident subspaces beside the default one before the least recently used leave.
  public var subspaceCacheBytes = 512 << 20
  /// Bytes of keys and values of the texts that a decoder writes, over all lanes; a quarter of them may be kept for
  /// prompts that begin as earlier ones did.
  public var keyValueCacheBytes = 1 << 30
  /// Texts that are written or wait to be, at once.
  public var openWritings = 256
  /// Compute lanes; 0: one per core.
  public var lanes = 0
  /// Rows that may wait for a batch.
  public var queueRows = 4096
  /// Jobs that may wait to run.
  public var queueJobs = 1000
  /// Tokens that one batch may hold.
  public var batchTokens = 4096
  /// The longest that a request may take, and the default.
  public var requestTimeoutMilliseconds = 30_000
  /// The longest that writing a text may take, and the default.
  public var writingTimeoutMilliseconds = 300_000
  /// Optimiser steps between two checkpoints of a job.
  public var checkpointSteps = 50
  /// Whether opening shows first that no answer's bits depend on what is computed beside it.
  public var checksDeterminism = false
  /// Columns of the subspace made at the first start.
  public var defaultSubspaceRank = 64

  public static var weightFormats: [String] { WeightFormat.allCases.map(\.rawValue) }

  public init(modelDirectory: String, storePath: String) {
    self.modelDirectory = modelDirectory
    self.storePath = storePath
  }
}
