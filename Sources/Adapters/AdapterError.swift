public import Digests

/// Why an adapter version, a head or a subspace file is refused. Nothing was changed.
public enum AdapterError: Error, Equatable, Sendable {
  /// The bytes are not a file of this format; the text says where it broke.
  case malformed(String)
  /// One tensor is missing, extra, mis-shaped or not finite.
  case tensor(name: String, reason: String)
  /// A number or name of the metadata is missing or out of range.
  case metadata(key: String, reason: String)
  /// The version was made for another base.
  case baseMismatch(expected: Digest, actual: Digest)
  /// The version needs another subspace than the one given.
  case subspaceMismatch(expected: Digest?, actual: Digest?)
}
