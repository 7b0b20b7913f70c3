internal import Foundation
internal import Tensors

/// New tokens of one sequence in a forward pass, and where its keys and values lie.
struct AttentionSpan {
  /// Rows of the pass.
  let rows: Range<Int>
  /// The first row's place in its sequence.
  let position: Int
  /// Enough for position + rows.count tokens.
  let pages: [UnsafeMutableRawPointer]
  let pageTokens: Int
  let element: KeyValueElement
}

/// What attention needs to know of a pass, whatever the layer: who sees what, and the angles of the rows' places.
struct AttentionSpans {
  let spans: [AttentionSpan]
  /// True: a page holds every layer's keys and values, side by side. False: one layer's, overwritten by the next.
  let keepsLayers: Bool
  /// `[rows, headSize / 2]`, the attention factor included.
  let cosines: MatrixView
  let sines: MatrixView

  /// Sequences end to end with scratch for the keys and values of one layer.
  init(
    _ batch: PackedBatch, _ configuration: DecoderConfiguration, _ rotary: RotaryPositions,
    element: KeyValueElement, arena: Arena
  ) {
    spans = (0..<batch.count).map { sequence in
      let rows = batch.rows(of: sequence)
      precondition(rows.count <= configuration.positions, "a sequence is longer than the positions")
      let tokens = AttentionPages.padded(rows.count)
      let bytes = configuration.pageCount(tokens: tokens) * element.bytes
      let page = UnsafeMutableRawPointer(arena.floats(bytes / MemoryLayout<Float>.stride))
      return AttentionSpan(rows: rows, position: 0, pages: [page], pageTokens: tokens, element: element)
    }
    keepsLayers = false
    (cosines, sines) = rotary.angles(of: spans, arena: arena)
  }

  /// Rows that follow what sequences of a cache hold.
  init(
    _ inputs: [DecoderInput], _ configuration: DecoderConfiguration, _ rotary: RotaryPositions, arena: Arena
  ) {
    var first = 0
    var spans: [AttentionSpan] = []
    for input in inputs {
      let sequence = input.sequence
      precondition(
        sequence.count + input.tokens.count <= configuration.positions,
        "a sequence is longer than the positions")
      spans.append(
        AttentionSpan(
          rows: first..<first + input.tokens.count, position: sequence.count,
          pages: sequence.pages(for: input.tokens.count), pageTokens: sequence.cache.pageTokens,
          element: sequence.cache.element))
      first += input.tokens.count
    }
    self.spans = spans
    keepsLayers = true
    (cosines, sines) = rotary.angles(of: spans, arena: arena)
  }
}

extension DecoderConfiguration {
  private func headCount(_ tokens: Int) -> Int {
    AttentionPages.keyCount(tokens: tokens, size: headSize)
      + AttentionPages.valueCount(tokens: tokens, size: headSize)
  }

  /// Elements of the keys and values of one layer for `tokens` tokens, a multiple of 16.
  func pageCount(tokens: Int) -> Int { keyValueHeads * headCount(tokens) }

  /// Where a key-value head of a layer lies in a page; layer 0 where a page holds one layer alone.
  func pages(tokens: Int, element: KeyValueElement, layer: Int, head: Int) -> AttentionPages {
    let keys = layer * pageCount(tokens: tokens) + head * headCount(tokens)
    return AttentionPages(
      tokens: tokens, size: headSize, element: element, keys: keys,
      values: keys + AttentionPages.keyCount(tokens: tokens, size: headSize))
  }
}

/// Rotary positions: a head's columns turn in pairs (j, j + d/2) by place·frequency[j].
struct RotaryPositions: Sendable {
  private let frequencies: [Float]
  private let attentionFactor: Float

  init(_ configuration: DecoderConfiguration) {
    frequencies = configuration.rotary.frequencies(headSize: configuration.headSize)
    attentionFactor = configuration.rotary.attentionFactor
  }

  /// Cosines and sines of every row's angles, in float32 as transformers has them.
  func angles(of spans: [AttentionSpan], arena: Arena) -> (cosines: MatrixView, sines: MatrixView) {
    let rows = spans.last?.rows.upperBound ?? 0
    let (cosines, sines) = (arena.matrix(rows, frequencies.count), arena.matrix(rows, frequencies.count))
    for span in spans {
      for (offset, row) in span.rows.enumerated() {
        let (cosine, sine) = (cosines.row(row), sines.row(row))
        for (index, frequency) in frequencies.enumerated() {
          let angle = Double(Float(span.position + offset) * frequency)
          cosine[index] = Float(cos(angle)) * attentionFactor
          sine[index] = Float(sin(angle)) * attentionFactor
        }
      }
    }
    return (cosines, sines)
  }
}
