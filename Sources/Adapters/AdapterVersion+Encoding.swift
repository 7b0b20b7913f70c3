import Digests
import Safetensors
import Tensors

/// The file: safetensors, tensors `SITE.A`, `SITE.B`, `head.…`, all float32; everything else in the metadata. Equal
/// versions give equal bytes.
extension AdapterVersion {
  /// Name of the format in the metadata.
  public static let format = "corad-adapter-1"

  /// The version as a safetensors file.
  public func encoded() -> [UInt8] {
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    for (name, update) in updates {
      tensors.append(entry("\(name).A", update.coefficients))
      if let basis = update.privateBasis { tensors.append(entry("\(name).B", basis)) }
    }
    for (name, layer) in [("head.dense", head.dense), ("head.linear", head.linear)] {
      guard let layer else { continue }
      tensors.append(entry("\(name).weight", layer.weight))
      tensors.append(("\(name).bias", [layer.bias.count], layer.bias))
    }
    if !head.thresholds.isEmpty {
      tensors.append(("head.thresholds", [head.thresholds.count], head.thresholds))
    }
    if kind == .regression { tensors.append(("head.scaling", [2], [head.offset, head.scale])) }
    var metadata = [
      "format": Self.format, "kind": kind.rawValue, "method": method, "rank": "\(rank)", "alpha": "\(alpha)",
      "base": base.description, "pooling": head.pooling.rawValue, "labels": LabelList.encode(head.labels),
    ]
    if let subspace { metadata["subspace"] = subspace.description }
    if let activation = head.activation { metadata["activation"] = activation.rawValue }
    return SafetensorsEncoder.encode(tensors, metadata: metadata)
  }

  /// Reads what `encoded()` wrote; strict: a missing, extra, mis-shaped or non-finite tensor is refused by name.
  public init(encoded bytes: [UInt8]) throws(AdapterError) {
    var reader = try TensorReader(bytes, format: Self.format)
    let kind: TaskKind = try reader.value("kind")
    let pooling: Pooling = try reader.value("pooling")
    let activation: HeadActivation? =
      try reader.metadata["activation"] == nil ? nil : reader.value("activation")
    let digits = try reader.text("rank")
    guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let rank = Int(digits),
      (1...65_536).contains(rank)
    else { throw .metadata(key: "rank", reason: "is not a whole number from 1 to 65536") }
    guard let alpha = Float(try reader.text("alpha")), alpha.isFinite, alpha > 0 else {
      throw .metadata(key: "alpha", reason: "is not a finite number above 0")
    }
    guard let labels = LabelList.decode(try reader.text("labels")) else {
      throw .metadata(key: "labels", reason: "is not a list of labels")
    }
    let base = try reader.digest("base")
    let subspace = try reader.metadata["subspace"] == nil ? nil : reader.digest("subspace")

    let dense = try reader.layer("head.dense")
    let linear = try reader.layer("head.linear")
    let thresholds = kind == .multilabel ? try reader.vector("head.thresholds", count: labels.count) : []
    let scaling = kind == .regression ? try reader.vector("head.scaling", count: 2) : [0, 1]
    var updates: [String: SiteUpdate] = [:]
    for name in reader.names where name.hasSuffix(".A") && !name.hasPrefix("head.") {
      let site = String(name.dropLast(2))
      let coefficients = try reader.matrix(name)
      let basis = reader.has("\(site).B") ? try reader.matrix("\(site).B") : nil
      guard (1...rank).contains(coefficients.rows) else {
        throw .tensor(name: name, reason: "has \(coefficients.rows) rows, the rank is \(rank)")
      }
      guard basis == nil || basis?.columns == coefficients.rows else {
        throw .tensor(
          name: "\(site).B", reason: "has \(basis?.columns ?? 0) columns, A has \(coefficients.rows) rows")
      }
      guard basis != nil || subspace != nil else {
        throw .tensor(name: "\(site).B", reason: "is missing, and the version names no subspace")
      }
      updates[site] = SiteUpdate(coefficients: coefficients, privateBasis: basis)
    }
    try reader.finish()
    self.init(
      kind: kind, method: try reader.text("method"), rank: rank, alpha: alpha, base: base, subspace: subspace,
      updates: updates,
      head: Head(
        pooling: pooling, dense: dense, activation: activation, linear: linear, labels: labels,
        thresholds: thresholds, offset: scaling[0], scale: scaling[1]))
    if let width = linear?.weight.columns ?? dense?.weight.columns {
      try head.validate(kind: kind, width: dense?.weight.columns ?? width)
    } else if kind != .embedding, kind != .generation {
      throw .tensor(name: "head.linear.weight", reason: "is missing")
    }
  }
}

private func entry(_ name: String, _ matrix: Matrix) -> (name: String, shape: [Int], values: [Float]) {
  (name, [matrix.rows, matrix.columns], matrix.values)
}
