/// The normalisation forms, over the tables and in the steps of the `tokenizers` library.      [Unicode] section 3.11
enum UnicodeForm: String, Sendable, Equatable {
  case composed = "NFC"
  case decomposed = "NFD"
  case compatiblyComposed = "NFKC"
  case compatiblyDecomposed = "NFKD"

  func apply(to text: inout NormalizedText) {
    // ASCII is normal in every form.
    guard text.bytes.contains(where: { $0 >= 0x80 }) else { return }
    let composes = self == .composed || self == .compatiblyComposed
    var writer = Composer(rewriter: NormalizedText.Rewriter(text), composes: composes)
    let isCompatible = self == .compatiblyComposed || self == .compatiblyDecomposed
    var marks: [(scalar: UInt32, change: Int, order: UInt64)] = []
    let tables = UnicodeTables.shared
    func flush() {
      guard !marks.isEmpty else { return }
      if marks.count > 1 { marks.sort { $0.order < $1.order } }
      for mark in marks { writer.add(mark.scalar, mark.change, UInt8(mark.order >> 56)) }
      marks.removeAll(keepingCapacity: true)
    }
    func add(_ scalar: UInt32, _ change: Int) {
      let order = tables.flags(scalar).contains(.decomposes) ? tables.combiningClass(scalar) : 0
      if order == 0 {
        flush()
        writer.add(scalar, change, 0)
      } else {
        marks.append((scalar, change, UInt64(order) << 56 | UInt64(marks.count)))
      }
    }
    text.forEachScalar { scalar in
      let flags = tables.flags(scalar)
      var change = 0
      if isCompatible, flags.contains(.decomposesCompatibly) {
        tables.decomposeCompatibly(scalar) {
          add($0, change)
          change = 1
        }
      } else if flags.contains(.decomposes) {
        tables.decompose(scalar) {
          add($0, change)
          change = 1
        }
      } else {
        flush()
        writer.add(scalar, 0, 0)
      }
    }
    flush()
    text = writer.finish()
  }

  /// Puts scalars in canonical order together again, where that is asked for.
  private struct Composer {
    var rewriter: NormalizedText.Rewriter
    let composes: Bool
    private let tables = UnicodeTables.shared
    private var starter: (scalar: UInt32, change: Int)?
    /// What stands between the starter and the next scalar.
    private var between: [(scalar: UInt32, change: Int)] = []
    private var lastClass: UInt8?

    init(rewriter: NormalizedText.Rewriter, composes: Bool) {
      self.rewriter = rewriter
      self.composes = composes
    }

    mutating func add(_ scalar: UInt32, _ change: Int, _ combiningClass: UInt8) {
      guard composes else { return rewriter.write(scalar, change) }
      guard let current = starter else {
        if combiningClass == 0 {
          starter = (scalar, change)
        } else {
          rewriter.write(scalar, change)
        }
        return
      }
      // A mark is blocked by one of its own class or a higher one. [Unicode] D115
      let isBlocked = lastClass.map { $0 >= combiningClass } ?? false
      if !isBlocked, let composed = tables.compose(current.scalar, scalar) {
        starter = (composed, current.change + change - 1)
        return
      }
      if combiningClass == 0 {
        release()
        starter = (scalar, change)
      } else {
        between.append((scalar, change))
        lastClass = combiningClass
      }
    }

    private mutating func release() {
      if let current = starter { rewriter.write(current.scalar, current.change) }
      for (scalar, change) in between { rewriter.write(scalar, change) }
      between.removeAll(keepingCapacity: true)
      starter = nil
      lastClass = nil
    }

    mutating func finish() -> NormalizedText {
      release()
      return rewriter.finish()
    }
  }
}
