internal import Digests
internal import Models
internal import Tensors

/// One contributor to a subspace.
struct Source {
  static let float32Rounding = 0x1p-24

  /// The relative rounding error of the stored values.
  let rounding: Double
  /// Its matrix `[dOut, dIn]` at a site; nil when it does not touch the site.
  let matrix: (Site) throws(SubspaceError) -> Matrix?
  /// The matrix whose rounding is in the values, where it is not the matrix itself (a delta's weights).
  var magnitude: ((Site) throws(SubspaceError) -> Matrix?)?

  init(
    rounding: Double, _ matrix: @escaping (Site) throws(SubspaceError) -> Matrix?,
    magnitude: ((Site) throws(SubspaceError) -> Matrix?)? = nil
  ) {
    self.rounding = rounding
    self.matrix = matrix
    self.magnitude = magnitude
  }
}

extension SubspaceExtraction {
  static func extract(
    _ sources: [Source], sites: [Site], base: Digest, source: SubspaceSource, normalised: Bool,
    _ options: SubspaceOptions, _ progress: Progress
  ) throws(SubspaceError) -> Subspace {
    guard options.rank >= 1 else { throw .rank(options.rank) }
    let needed = options.centred ? 2 : 1
    guard sources.count >= needed else { throw .tooFewSources(needed: needed, given: sources.count) }
    var result: [String: SubspaceSite] = [:]
    let groups = try groups(sites, options.scope)
    for (index, group) in groups.enumerated() {
      guard progress(Double(index) / Double(groups.count)) else { throw .cancelled }
      guard let site = try decompose(sources, group: group, normalised: normalised, options) else { continue }
      for member in group { result[member.name] = site }
    }
    guard !result.isEmpty else { throw .empty(site: sites.first?.name ?? "") }
    guard progress(1) else { throw .cancelled }
    return Subspace(base: base, source: source, scope: options.scope, centred: options.centred, sites: result)
  }

  /// B of one group of sites, or nil when no source touches it.
  private static func decompose(
    _ sources: [Source], group: [Site], normalised: Bool, _ options: SubspaceOptions
  ) throws(SubspaceError) -> SubspaceSite? {
    let outputs = group[0].outputs
    let columns = sources.count * group.reduce(0) { $0 + $1.inputs }
    var accumulation = Accumulation(outputs: outputs, columns: columns)
    var means: [Int: Matrix] = [:]
    if options.centred {
      for site in group { means[site.index] = try mean(sources, site) }
    }
    for source in sources {
      var parts: [Matrix] = []
      for site in group {
        guard var matrix = try source.matrix(site) else { continue }
        if let mean = means[site.index] {
          for index in matrix.values.indices { matrix.values[index] -= mean.values[index] }
        }
        let carrier = try source.magnitude?(site) ?? matrix
        accumulation.note(rounding: source.rounding, of: carrier)
        if normalised || group.count > 1 { parts.append(matrix) } else { accumulation.add(matrix, scale: 1) }
      }
      let norm = parts.reduce(0.0) { $0 + $1.squaredNorm }.squareRoot()
      for part in parts where norm > 0 { accumulation.add(part, scale: normalised ? 1 / norm : 1) }
    }
    return try accumulation.site(rank: options.rank, normalised: normalised, name: group[0].name)
  }

  /// The elementwise mean over the sources that touch the site.
  private static func mean(_ sources: [Source], _ site: Site) throws(SubspaceError) -> Matrix {
    var sum = [Double](repeating: 0, count: site.outputs * site.inputs)
    var count = 0.0
    for source in sources {
      guard let matrix = try source.matrix(site) else { continue }
      count += 1
      for index in sum.indices { sum[index] += Double(matrix.values[index]) }
    }
    return Matrix(
      rows: site.outputs, columns: site.inputs, values: sum.map { Float(count > 0 ? $0 / count : 0) })
  }
}

/// The Gram matrix of the smaller side of `M`, growing source by source.
private struct Accumulation {
  let outputs: Int
  /// The output side: `C = Σ s²·M·Mᵀ`, `[outputs, outputs]`; empty when M has fewer columns than rows.
  private var gram: [Double]
  /// The other side keeps M itself, which is the smaller there: scaled columns, one after the other, as they came.
  private var tall: [Float]?
  private var energy = 0.0
  private var columns: Int
  private var noise = 0.0

  init(outputs: Int, columns: Int) {
    self.outputs = outputs
    self.columns = 0
    let isTall = columns < outputs
    gram = isTall ? [] : [Double](repeating: 0, count: outputs * outputs)
    tall = isTall ? [] : nil
  }

  /// Rounding of the stored values acts like noise of this deviation; its largest singular value is about
  /// `deviation · (√rows + √columns)`.
  mutating func note(rounding: Double, of matrix: Matrix) {
    let meanSquare = matrix.squaredNorm / Double(max(matrix.values.count, 1))
    let reach = Double(matrix.rows).squareRoot() + Double(matrix.columns).squareRoot()
    noise += meanSquare * rounding * rounding / 3 * reach * reach
  }

  mutating func add(_ matrix: Matrix, scale: Double) {
    energy += matrix.squaredNorm * scale * scale
    columns += matrix.columns
    if tall == nil {
      matrix.withView { Gram.accumulate($0, scale: scale * scale, into: &gram) }
      return
    }
    let factor = Float(scale)
    var scaled = [Float](repeating: 0, count: matrix.values.count)
    for row in 0..<matrix.rows {
      for column in 0..<matrix.columns {
        scaled[column * matrix.rows + row] = matrix.values[row * matrix.columns + column] * factor
      }
    }
    tall?.append(contentsOf: scaled)
  }

  func site(rank: Int, normalised: Bool, name: String) throws(SubspaceError) -> SubspaceSite? {
    guard energy.isFinite else { throw .notFinite(site: name) }
    guard energy > 0, columns > 0 else { return nil }
    let order = tall == nil ? outputs : columns
    let wanted = min(rank, order)
    let smaller = tall.map(columnGram) ?? gram
    guard let pairs = Factorisation.leading(smaller, order: order, count: wanted) else {
      throw .notFinite(site: name)
    }
    let singular = pairs.values.map { max($0, 0).squareRoot() }
    // The Gram matrix squares the condition, so Double's rounding shows at its root; float32 inputs show at theirs.
    let top = singular.first ?? 0
    let arithmetic =
      max(
        (Double(order) * .ulpOfOne).squareRoot(), Double(max(order, outputs)) * Double(Float.ulpOfOne)) * top
    let floor = max(arithmetic, normalised ? 0 : noise.squareRoot())
    let kept = singular.prefix { $0 > floor }.count
    guard kept > 0 else { return nil }
    let left = tall.map { leftVectors($0, pairs.vectors, singular, kept) } ?? rows(pairs.vectors, kept)
    guard let basis = left else { throw .notFinite(site: name) }
    let energyKept = singular.prefix(kept).reduce(0) { $0 + $1 * $1 } / energy
    return SubspaceSite(
      basis: SubspaceExtraction.signed(basis, rows: outputs, columns: kept),
      singularValues: Array(singular.prefix(kept)), energyKept: min(energyKept, 1), noiseFloor: floor)
  }

  /// Row-major `[outputs, kept]` out of columns that stand one after the other.
  private func rows(_ vectors: [Double], _ kept: Int) -> [Double] {
    var basis = [Double](repeating: 0, count: outputs * kept)
    for column in 0..<kept {
      for row in 0..<outputs { basis[row * kept + column] = vectors[column * outputs + row] }
    }
    return basis
  }

  private func columnGram(_ tall: [Float]) -> [Double] {
    var result = [Double](repeating: 0, count: columns * columns)
    Matrix(rows: columns, columns: outputs, values: tall).withView {
      Gram.accumulate($0, scale: 1, into: &result)
    }
    return result
  }

  /// `U = M·V·Σ⁻¹`, orthonormalised once more because small singular values magnify rounding.
  private func leftVectors(
    _ tall: [Float], _ vectors: [Double], _ singular: [Double], _ kept: Int
  ) -> [Double]? {
    var result = [Double](repeating: 0, count: outputs * kept)
    result.withUnsafeMutableBufferPointer { result in
      tall.withUnsafeBufferPointer { tall in
        for column in 0..<columns {
          for k in 0..<kept {
            let factor = vectors[k * columns + column] / singular[k]
            var (from, to) = (column * outputs, k)
            let end = from + outputs
            while from < end {
              result[to] += factor * Double(tall[from])
              from += 1
              to += kept
            }
          }
        }
      }
    }
    return Factorisation.orthonormalise(result, rows: outputs, columns: kept)
  }
}

extension Matrix {
  /// The squared Frobenius norm, in Double.
  var squaredNorm: Double { values.withUnsafeBufferPointer { Elementwise.sumOfSquares($0) } }
}
