import Foundation
import Tensors
import Testing

/// The same definition as one loop after another, in Double.
private func twin(
  _ q: MatrixView, keys: MatrixView, values: MatrixView, position: Int, together: Int, window: Int?,
  scale: Double
) -> [Double] {
  (0..<q.rows).flatMap { row -> [Double] in
    let place = position + row / together
    let first = window.map { max(0, place - $0 + 1) } ?? 0
    let scores = (first...place).map { key in
      (0..<q.columns).reduce(0.0) { $0 + Double(q[row, $1]) * Double(keys[key, $1]) } * scale
    }
    let top = scores.max() ?? 0
    let shares = scores.map { exp($0 - top) }
    let sum = shares.reduce(0, +)
    return (0..<values.columns).map { column in
      zip(first...place, shares).reduce(0.0) { $0 + $1.1 / sum * Double(values[$1.0, column]) }
    }
  }
}

/// One head's pages; what is not written is not a number.
private final class Pages {
  let layout: AttentionPages
  private(set) var addresses: [UnsafeMutableRawPointer] = []

  init(_ keys: MatrixView, _ values: MatrixView, tokens: Int, element: KeyValueElement = .float32) {
    let size = keys.columns
    let keyCount = AttentionPages.keyCount(tokens: tokens, size: size)
    layout = AttentionPages(tokens: tokens, size: size, element: element, keys: 5, values: 5 + keyCount)
    let bytes = (5 + keyCount + AttentionPages.valueCount(tokens: tokens, size: size)) * element.bytes
    for first in stride(from: 0, to: keys.rows, by: tokens) {
      let page = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
      memset(page, 0xFF, bytes)
      for token in first..<min(first + tokens, keys.rows) {
        layout.store(key: keys.row(token), value: values.row(token), token: token - first, in: page)
      }
      addresses.append(page)
    }
  }

  deinit { for page in addresses { page.deallocate() } }

  var readable: [UnsafeRawPointer] { addresses.map { UnsafeRawPointer($0) } }
}

@Suite struct CausalAttentionTests {
  struct Shape: CustomTestStringConvertible, Sendable {
    let size: Int
    let tokens: Int
    let window: Int?
    var testDescription: String { "\(size) columns, \(tokens) tokens, window \(window ?? 0)" }
  }

  private static let lengths: [(tokens: Int, window: Int?)] = [
    (1, nil), (16, nil), (37, nil), (100, nil), (100, 19), (100, 64), (33, 1),
  ]
  static let shapes = [4, 16, 20, 64].flatMap { size in
    lengths.map { Shape(size: size, tokens: $0.tokens, window: $0.window) }
  }

  private func random(_ shape: Shape) -> (q: Field, keys: Field, values: Field) {
    var random = RandomSource(seed: 21, stream: UInt64(shape.size * 1000 + shape.tokens))
    return (
      Field(shape.tokens, shape.size, random: &random), Field(shape.tokens, shape.size, random: &random),
      Field(shape.tokens, shape.size, random: &random)
    )
  }

  private func run(
    _ q: MatrixView, _ pages: Pages, position: Int, together: Int = 1, window: Int?, into o: MatrixView
  ) {
    let keys = AttentionPages.padded(position + (q.rows + together - 1) / together)
    let p = Field(q.rows, keys) { _, _ in .nan }
    CausalAttention.run(
      q, pages: pages.readable, pages.layout, position: position, together: together, window: window,
      scale: 0.7, probabilities: p.view, into: o)
    #expect(p.isGuarded)
  }

  @Test(arguments: shapes) func `rows see what lies before them`(_ shape: Shape) {
    let (q, keys, values) = random(shape)
    let pages = Pages(keys.view, values.view, tokens: 32)
    let o = Field(shape.tokens, shape.size)
    run(q.view, pages, position: 0, window: shape.window, into: o.view)
    let expected = twin(
      q.view, keys: keys.view, values: values.view, position: 0, together: 1, window: shape.window, scale: 0.7
    )
    #expect(o.distance(from: expected) < Twin.tolerance(shape.tokens + shape.size))
    #expect(o.isGuarded)
  }

  @Test(arguments: shapes) func `neither pages nor pieces change a row's bits`(_ shape: Shape) {
    let (q, keys, values) = random(shape)
    let whole = Field(shape.tokens, shape.size)
    run(
      q.view, Pages(keys.view, values.view, tokens: 32), position: 0, window: shape.window, into: whole.view)
    for (tokens, piece) in [(16, 1), (64, 7), (112, 13), (16, 40)] {
      let pages = Pages(keys.view, values.view, tokens: tokens)
      let o = Field(shape.tokens, shape.size)
      for first in stride(from: 0, to: shape.tokens, by: piece) {
        let rows = first..<min(first + piece, shape.tokens)
        run(q.view.rows(rows), pages, position: first, window: shape.window, into: o.view.rows(rows))
      }
      #expect(o.bits == whole.bits, "pages of \(tokens), pieces of \(piece)")
    }
  }

  @Test(arguments: shapes) func `keys and values in bfloat16 are rounded ones in float32`(_ shape: Shape) {
    let (q, keys, values) = random(shape)
    let (narrow, wide) = (Field(shape.tokens, shape.size), Field(shape.tokens, shape.size))
    run(
      q.view, Pages(keys.view, values.view, tokens: 32, element: .bfloat16), position: 0,
      window: shape.window,
      into: narrow.view)
    for row in 0..<shape.tokens {
      PackedElement.bfloat16.round(keys.view.row(row), count: shape.size)
      PackedElement.bfloat16.round(values.view.row(row), count: shape.size)
    }
    run(
      q.view, Pages(keys.view, values.view, tokens: 32), position: 0, window: shape.window, into: wide.view)
    #expect(narrow.bits == wide.bits)
  }

  @Test(arguments: shapes) func `heads together are heads one by one`(_ shape: Shape) {
    let (_, keys, values) = random(shape)
    let pages = Pages(keys.view, values.view, tokens: 32)
    var random = RandomSource(seed: 22)
    let q = Field(6, shape.size, random: &random)
    let position = shape.tokens - 2
    guard position >= 0 else { return }
    let (together, apart) = (Field(6, shape.size), Field(6, shape.size))
    run(q.view, pages, position: position, together: 3, window: shape.window, into: together.view)
    for row in 0..<6 {
      run(
        q.view.rows(row..<row + 1), pages, position: position + row / 3, window: shape.window,
        into: apart.view.rows(row..<row + 1))
    }
    #expect(together.bits == apart.bits)
  }

  @Test func `the probabilities that are left are whole rows`() {
    let shape = Shape(size: 16, tokens: 50, window: 20)
    let (q, keys, values) = random(shape)
    let pages = Pages(keys.view, values.view, tokens: 64)
    let (p, o) = (Field(50, 64) { _, _ in .nan }, Field(50, 16))
    CausalAttention.run(
      q.view, pages: pages.readable, pages.layout, position: 0, together: 1, window: 20, scale: 0.7,
      probabilities: p.view, into: o.view)
    for row in 0..<50 {
      let values = (0..<64).map { p.view[row, $0] }
      #expect(values.enumerated().allSatisfy { $1 == 0 || ($0 <= row && $0 > row - 20) })
      #expect(abs(values.reduce(0, +) - 1) < 1e-5)
    }
  }

  @Test func `the place of q may be the place of o`() {
    let shape = Shape(size: 20, tokens: 37, window: nil)
    let (q, keys, values) = random(shape)
    let pages = Pages(keys.view, values.view, tokens: 32)
    let o = Field(37, 20)
    run(q.view, pages, position: 0, window: nil, into: o.view)
    run(q.view, pages, position: 0, window: nil, into: q.view)
    #expect(q.bits == o.bits)
  }
}
