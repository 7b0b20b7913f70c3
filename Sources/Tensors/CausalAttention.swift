internal import CKernels

/// What keys and values are held as. Those in bfloat16 are rounded to nearest, ties to even, once; products take them
/// back to float32.
public enum KeyValueElement: Sendable {
  case float32
  case bfloat16

  public var bytes: Int { self == .float32 ? MemoryLayout<Float>.stride : MemoryLayout<UInt16>.stride }

  var kernelFormat: Int32 { Int32(self == .float32 ? CK_FLOAT32 : CK_BFLOAT16) }
}

/// Where the keys and values of one key-value head lie in pages of `tokens` tokens each.
///
/// Keys stand in panels of 16 tokens: for each of the head's columns, 16 tokens side by side, so that a product with
/// queries runs as a packed one does. Values stand row by row, rows padded to a multiple of 16 columns.
public struct AttentionPages {
  /// Tokens of a page; a multiple of 16.
  public let tokens: Int
  /// Columns of a head.
  public let size: Int
  public let element: KeyValueElement
  /// Elements from a page's start to the head's keys, and to its values.
  public let keys: Int
  public let values: Int

  public init(tokens: Int, size: Int, element: KeyValueElement, keys: Int, values: Int) {
    precondition(tokens > 0 && tokens % Self.panel == 0 && size > 0, "attention pages: shape")
    self.tokens = tokens
    self.size = size
    self.element = element
    self.keys = keys
    self.values = values
  }

  static var panel: Int { Int(CK_PANEL) }

  /// Rounded up to a whole panel.
  public static func padded(_ count: Int) -> Int { (count + panel - 1) / panel * panel }

  /// Elements of one head's keys, and of its values.
  public static func keyCount(tokens: Int, size: Int) -> Int { tokens * size }
  public static func valueCount(tokens: Int, size: Int) -> Int { tokens * padded(size) }

  /// Writes one token's key and value.   key, value `[size]`; `token` counts from the page's start.
  public func store(
    key: UnsafePointer<Float>, value: UnsafePointer<Float>, token: Int,
    in page: UnsafeMutableRawPointer
  ) {
    precondition(token >= 0 && token < tokens, "attention pages: token out of range")
    let lane = keys + token / Self.panel * Self.panel * size + token % Self.panel
    let row = values + token * Self.padded(size)
    switch element {
    case .float32:
      let page = page.assumingMemoryBound(to: Float.self)
      for column in 0..<size { page[lane + column * Self.panel] = key[column] }
      (page + row).update(from: value, count: size)
    case .bfloat16:
      let page = page.assumingMemoryBound(to: UInt16.self)
      for column in 0..<size {
        page[lane + column * Self.panel] = BFloat16.bits(of: key[column])
        page[row + column] = BFloat16.bits(of: value[column])
      }
    }
  }
}

/// Attention of new tokens to the tokens before them and to themselves.
public enum CausalAttention {
  /// P = softmax(scale·Q·Kᵀ) over the keys that a row sees,  O = P·V.   q and o `[rows, size]`, of one key-value
  /// head; P `[rows, ≥ padded keys]`, O overwritten.
  ///
  /// - Parameters:
  ///   - pages: enough for position + rows / together tokens.
  ///   - position: the first row's place in its sequence.
  ///   - together: rows that stand at one place: the query heads that share this head, or 1.
  ///   - window: keys that a row sees at most, its own place included; nil for all.
  ///   - probabilities: left holding P, zero where a row sees nothing, from the first key (rounded down to 16)
  ///     that any row sees up to the last (rounded up).
  ///
  /// Each value of QKᵀ and of O is one chain of multiply-adds in ascending order of columns and of tokens, so neither
  /// the page's length, nor the rows beside it, nor how a prompt was cut, change a row's bits.
  public static func run(
    _ q: MatrixView, pages: [UnsafeRawPointer], _ layout: AttentionPages, position: Int, together: Int,
    window: Int?, scale: Float, probabilities: MatrixView, into o: MatrixView
  ) {
    let keys = position + (q.rows + together - 1) / together
    precondition(
      q.columns == layout.size && o.columns == layout.size && o.rows == q.rows && probabilities.rows == q.rows
        && probabilities.columns >= AttentionPages.padded(keys) && pages.count * layout.tokens >= keys
        && position >= 0 && together > 0 && window ?? 1 > 0, "attention: shapes")
    guard q.rows > 0 else { return }
    pages.withUnsafeBufferPointer { pages in
      guard let pages = pages.baseAddress else { return }
      var call = ck_attention(
        q: q.base, qStride: q.stride, rows: q.rows, together: together, size: layout.size,
        format: layout.element.kernelFormat, pages: pages,
        pageTokens: layout.tokens, keyOffset: layout.keys, valueOffset: layout.values,
        valueStride: AttentionPages.padded(layout.size), position: position, window: window ?? 0,
        scale: scale,
        p: probabilities.base, pStride: probabilities.stride, o: o.base, oStride: o.stride)
      Kernels.table.attention(&call)
    }
  }
}
