/// What a text, or a pair of texts, becomes.
public struct Encoding: Sendable, Equatable {
  /// Token ids, special tokens included, without padding.
  public let ids: [Int32]
  /// Segment of each token (0 or 1), as the file's template says.
  public let typeIDs: [Int32]
  /// UTF-8 byte ranges in the text a token comes from (the first or the second); `0..<0` for special tokens.
  public let offsets: [Range<Int>]
  /// Tokens there would have been without a limit, special tokens included.
  public let untruncatedCount: Int

  /// Whether the limit cut anything off.
  public var isTruncated: Bool { ids.count < untruncatedCount }

  public init(ids: [Int32], typeIDs: [Int32], offsets: [Range<Int>], untruncatedCount: Int) {
    self.ids = ids
    self.typeIDs = typeIDs
    self.offsets = offsets
    self.untruncatedCount = untruncatedCount
  }
}
