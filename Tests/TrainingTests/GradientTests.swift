import Adapters
import Foundation
import Models
import Safetensors
import Tensors
import TestSupport
import Testing

@testable import Training

/// Gradients of A, B and head at A ≠ 0.
struct GradientTests {
  /// ‖a − b‖ / ‖b‖ per tensor, against torch in float32.
  static let recordedTolerance = 1e-4
  /// The same against the Double twin, whose differences are good to 1e-10.
  private static let twinTolerance = 1e-5
  static let rank = 4
  static let alpha: Float = 16
  private static let labels = ["a", "b", "c", "d"]

  /// The rows that the recording script makes.
  struct Row {
    let ids: [Int32]
    let types: [Int32]
    let label: Int
    let weight: Float
  }

  static func rows(lengths: [Int], vocabulary: Int) -> [Row] {
    let weights: [Float] = [1, 2, 1, 0.5, 1, 3]
    return lengths.enumerated().map { row, length in
      let ids = stream("ids.\(row)", length).map { Int32((Double($0) + 1) / 2 * Double(vocabulary)) }
      let types = (0..<length).map { Int32($0 >= length - length / 3 ? 1 : 0) }
      return Row(ids: ids, types: types, label: row % labels.count, weight: weights[row])
    }
  }

  private static func version(
    _ base: BaseModel, pooler: Bool, kinds: [SiteKind] = [.query, .value]
  ) -> AdapterVersion {
    let width = base.width
    var updates: [String: SiteUpdate] = [:]
    for site in base.sites where kinds.contains(site.kind) {
      updates[site.name] = SiteUpdate(
        coefficients: streamMatrix("\(site.name).A", rank, site.inputs, scale: 0.05),
        privateBasis: streamMatrix("\(site.name).B", site.outputs, rank, scale: 0.05))
    }
    let linear = DenseLayer(
      weight: streamMatrix("head.linear.weight", labels.count, width, scale: 0.3),
      bias: stream("head.linear.bias", labels.count, scale: 0.1))
    let dense = DenseLayer(
      weight: streamMatrix("head.dense.weight", width, width, scale: 0.2),
      bias: stream("head.dense.bias", width, scale: 0.05))
    return AdapterVersion(
      kind: .classification, method: "lora", rank: rank, alpha: alpha, base: base.digest, subspace: nil,
      updates: updates,
      head: Head(
        pooling: base.family == .decoder ? .last : pooler ? .cls : .mean, dense: pooler ? dense : nil,
        activation: pooler ? .tanh : nil,
        linear: linear, labels: labels))
  }

  /// One step's loss and gradients by tensor name, before the optimiser.
  static func gradients(
    _ base: BaseModel, _ rows: [Row], from: AdapterVersion, recompute: Bool = false
  ) throws -> (loss: Double, tensors: [String: [Float]]) {
    let examples = rows.enumerated().map { index, row in
      TrainingExample.classification(text: "\(index)", label: labels[row.label], weight: row.weight)
    }
    let set = try TrainingSet(
      examples: examples, kind: .classification, validation: 0, seed: 0, labels: labels
    ) { text, _ in
      let row = rows[Int(text) ?? 0]
      return (row.ids, row.types, false)
    }
    var settings = TrainingSettings.defaults(kind: .classification, method: from.method, on: base.family)
    settings.rank = rank
    settings.alpha = alpha
    settings.batchSize = rows.count
    settings.validation = 0
    settings.pooling = from.head.pooling
    settings.headDense = from.head.dense == nil ? .none : .pooler
    settings.recompute = recompute
    settings.sites = base.family.siteKinds.filter { kind in
      base.sites.contains { $0.kind == kind && from.updates[$0.name] != nil }
    }
    let run = try TrainingRun(base: base, subspace: nil, set: set, settings: settings, from: from)
    guard case .step(let shards) = run.nextWork() else { return (0, [:]) }
    let arena = Arena()
    let results = shards.map { TrainingRun.compute($0, arena: arena) }
    var sum = [Float](repeating: 0, count: run.layout.count)
    for result in results { for index in sum.indices { sum[index] += result.gradients[index] } }
    let loss = results.reduce(0) { $0 + $1.loss } / rows.reduce(0) { $0 + Double($1.weight) }
    let pairs = run.layout.tensors.map { ($0.name, Array(sum[$0.range])) }
    return (loss, Dictionary(uniqueKeysWithValues: pairs))
  }

  static func relativeError(_ a: [Float], _ b: [Double]) -> Double {
    let difference = zip(a, b).reduce(0.0) { $0 + (Double($1.0) - $1.1) * (Double($1.0) - $1.1) }
    return (difference / b.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  private static func compare(
    _ base: BaseModel, recording: String, vocabulary: Int, pooler: Bool,
    kinds: [SiteKind] = [.query, .value],
    recompute: Bool = false
  ) throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Goldens/gradients/\(recording).safetensors")
    let recorded = try SafetensorsDocument(bytes: Array(Data(contentsOf: file)))
    let rows = rows(lengths: [3, 11, 26, 7, 40, 19], vocabulary: vocabulary)
    let (loss, tensors) = try gradients(
      base, rows, from: version(base, pooler: pooler, kinds: kinds), recompute: recompute)
    let expected = try #require(recorded.metadata["loss"].flatMap(Double.init))
    #expect(abs(loss - expected) < 1e-5)
    #expect(Set(tensors.keys) == Set(recorded.entries.map(\.name)))
    var worst = 0.0
    for (name, values) in tensors {
      let error = relativeError(values, try recorded.floats(name).map(Double.init))
      worst = max(worst, error)
      #expect(error <= recordedTolerance, "\(name): \(error)")
    }
    print("\(recording): largest relative error \(worst) over \(tensors.count) tensors")
  }

  @Test(arguments: [false, true], [false, true])
  func randomBERTEqualsTorch(_ pooler: Bool, _ recompute: Bool) throws {
    let model = RandomBERT()
    try Self.compare(
      .encoder(model.encoder()), recording: pooler ? "random-pooler" : "random-mean",
      vocabulary: model.vocabulary,
      pooler: pooler, recompute: recompute)
  }

  /// All seven sites of a decoder with grouped queries and normed heads; the head reads the last token.
  @Test(arguments: [false, true])
  func decoderEqualsTorch(_ recompute: Bool) throws {
    let shape = MadeDecoder.Shape()
    let made = try MadeDecoder(shape)
    try Self.compare(
      BaseModel(Checkpoint(directory: made.directory)), recording: "decoder-last",
      vocabulary: shape.vocabulary, pooler: false, kinds: SiteKind.decoder, recompute: recompute)
  }

  /// all-MiniLM-L6-v2: CORAD_TEST_MODEL, else models/all-MiniLM-L6-v2 at the package's root.
  @Test func miniLMEqualsTorch() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let folder =
      ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
      ?? root.appending(path: "models/all-MiniLM-L6-v2").path()
    try Self.compare(
      BaseModel(Checkpoint(directory: folder)), recording: "minilm-mean", vocabulary: 30_522, pooler: false)
  }

  @Test(arguments: [false, true])
  func tinyModelEqualsDoubleTwin(_ pooler: Bool) throws {
    let model = RandomBERT.tiny
    let base = try BaseModel.encoder(model.encoder())
    let version = Self.version(base, pooler: pooler)
    let rows = Self.rows(lengths: [3, 5, 1, 7], vocabulary: model.vocabulary)
    let (loss, tensors) = try Self.gradients(base, rows, from: version)

    var trained: [String: [Double]] = [:]
    for (name, update) in version.updates {
      trained["\(name).A"] = update.coefficients.values.map(Double.init)
      trained["\(name).B"] = update.privateBasis?.values.map(Double.init)
    }
    for (name, layer) in [("head.dense", version.head.dense), ("head.linear", version.head.linear)] {
      guard let layer else { continue }
      trained["\(name).weight"] = layer.weight.values.map(Double.init)
      trained["\(name).bias"] = layer.bias.map(Double.init)
    }
    var twin = DoubleTwin(
      model: model, trained: trained, rank: Self.rank, scale: Double(version.scale), usesPooler: pooler)
    let inputs = rows.map { row in
      (
        ids: row.ids.map(Int.init), types: row.types.map(Int.init), label: row.label,
        weight: Double(row.weight)
      )
    }
    #expect(abs(loss - twin.loss(inputs)) < 1e-6)
    #expect(Set(tensors.keys) == Set(trained.keys))
    for (name, values) in tensors {
      let error = Self.relativeError(values, twin.gradient(name, inputs))
      #expect(error <= Self.twinTolerance, "\(name): \(error)")
    }
  }
}
