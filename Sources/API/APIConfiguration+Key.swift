internal import Digests

extension APIConfiguration {
  /// Asks every request but the probes for this bearer key; only its digest is kept.
  public mutating func require(key: String) { apiKey = Digest.sha256(of: Array(key.utf8)) }
}
