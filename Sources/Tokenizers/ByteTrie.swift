/// Tokens by their bytes, for all that a text begins with at a place; children of a node stand beside each other.
struct ByteTrie: Sendable {
  private struct Node {
    /// -1: no token ends here.
    var id: Int32 = -1
    var firstChild: Int32 = 0
    var count: Int16 = 0
    let byte: UInt8
  }

  private var nodes: [Node] = [Node(byte: 0)]

  init(_ entries: [(token: [UInt8], id: Int32)]) {
    let sorted = entries.sorted { $0.token.lexicographicallyPrecedes($1.token) }
    var open: [(node: Int, tokens: Range<Int>, depth: Int)] = [(0, 0..<sorted.count, 0)]
    var next = 0
    while next < open.count {
      var (node, tokens, depth) = open[next]
      next += 1
      while let first = tokens.first, sorted[first].token.count == depth {
        nodes[node].id = sorted[first].id
        tokens = first + 1..<tokens.upperBound
      }
      nodes[node].firstChild = Int32(nodes.count)
      while let first = tokens.first {
        let byte = sorted[first].token[depth]
        let end = tokens.first { sorted[$0].token[depth] != byte } ?? tokens.upperBound
        nodes[node].count += 1
        open.append((nodes.count, first..<end, depth + 1))
        nodes.append(Node(byte: byte))
        tokens = end..<tokens.upperBound
      }
      // What is done with needs no room.
      if next > 1 << 16 {
        open.removeFirst(next)
        next = 0
      }
    }
  }

  /// Gives every token that the text holds from a position on, the shortest first.
  @inline(__always)
  func prefixes(of text: UnsafeBufferPointer<UInt8>, at start: Int, _ body: (Int32, Int) -> Void) {
    var node = nodes[0]
    var i = start
    while i < text.count {
      guard let child = child(of: node, text[i]) else { return }
      node = nodes[child]
      i += 1
      if node.id >= 0 { body(node.id, i) }
    }
  }

  @inline(__always)
  private func child(of node: Node, _ byte: UInt8) -> Int? {
    var low = Int(node.firstChild)
    var high = low + Int(node.count)
    while low < high {
      let middle = (low + high) / 2
      if nodes[middle].byte < byte { low = middle + 1 } else { high = middle }
    }
    return low < Int(node.firstChild) + Int(node.count) && nodes[low].byte == byte ? low : nil
  }
}
