import Foundation
import Synchronization
import Testing

@testable import Tensors

@Suite struct CrewTests {
  /// Who helps is no part of the bits, whatever the shape: rows, ragged panels, shared columns, bias, sums.
  @Test(arguments: PackedElement.allCases, [0, 1, 3])
  func `products with a crew equal those without`(_ element: PackedElement, _ helpers: Int) {
    let crew = Crew(helpers: helpers, leastWork: 0)
    let threads = (0..<helpers).map { _ in
      let ended = DispatchSemaphore(value: 0)
      let thread = Thread {
        crew.help { false }
        ended.signal()
      }
      thread.start()
      return ended
    }
    var random = RandomSource(seed: 3)
    func matrix(_ rows: Int, _ columns: Int) -> Matrix {
      Matrix(rows: rows, columns: columns, values: (0..<rows * columns).map { _ in random.normal() })
    }
    for (inputs, outputs) in [(48, 48), (96, 1_000), (33, 417), (400, 160), (16, 5)] {
      let weights = PackedWeights(matrix(outputs, inputs), as: element)
      let columns = PackedWeights(matrix(outputs, 8))
      let bias = matrix(1, outputs)
      for rows in [1, 2, 5, 17, 120] {
        let (x, z) = (matrix(rows, inputs), matrix(rows, 6))
        for _ in 0..<6 {
          var (plain, split) = (matrix(rows, outputs), Matrix(zeros: rows, outputs))
          split.values = plain.values
          for isPlain in [true, false] {
            x.withView { x in
              z.withView { z in
                bias.withView { bias in
                  let run = { (y: MatrixView) in
                    weights.multiply(
                      x, bias: bias.base, extra: (z, columns), accumulate: true, crew: isPlain ? nil : crew,
                      into: y)
                  }
                  if isPlain { plain.withMutableView(run) } else { split.withMutableView(run) }
                }
              }
            }
          }
          #expect(plain == split, "\(rows) rows of \(inputs) to \(outputs)")
        }
      }
    }
    crew.dismiss()
    for ended in threads { ended.wait() }
  }

  @Test(arguments: [0, 1, 2]) func `every piece is done once, by one member at a time`(_ helpers: Int) {
    let crew = Crew(helpers: helpers)
    let threads = (0..<helpers).map { _ in
      let ended = DispatchSemaphore(value: 0)
      let thread = Thread {
        crew.help { false }
        ended.signal()
      }
      thread.start()
      return ended
    }
    for round in 0..<2_000 {
      let pieces = round % 19
      let done = (0..<pieces).map { _ in Tally() }
      let busy = (0..<crew.members).map { _ in Tally() }
      crew.share(pieces) { piece, member in
        #expect(busy[member].add(1) == 1)
        done[piece].add(1)
        busy[member].add(-1)
      }
      #expect(done.allSatisfy { $0.add(0) == 1 })
    }
    crew.dismiss()
    for ended in threads { ended.wait() }
  }

  @Test func `a helper leaves when it is told to`() {
    let crew = Crew(helpers: 1)
    crew.help { true }
    crew.dismiss()
    crew.help { false }
  }
}

private final class Tally: Sendable {
  private let value = Atomic<Int32>(0)

  @discardableResult func add(_ more: Int32) -> Int32 {
    value.wrappingAdd(more, ordering: .sequentiallyConsistent).newValue
  }
}
