import Digests
import Models
import Safetensors
import Tensors
import Testing

@testable import Adapters

struct AdapterVersionTests {
  private static func file(
    _ version: AdapterVersion,
    _ change: (inout [(name: String, shape: [Int], values: [Float])], inout [String: String]) -> Void
  ) throws -> [UInt8] {
    let document = try SafetensorsDocument(bytes: version.encoded())
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    for entry in document.entries {
      tensors.append((entry.name, entry.shape, try document.floats(entry.name)))
    }
    var metadata = document.metadata
    change(&tensors, &metadata)
    return SafetensorsEncoder.encode(tensors, metadata: metadata)
  }

  @Test func roundTrips() throws {
    let subspace = try Fixture.subspace(seed: 1)
    let width = Fixture.width
    var random = RandomSource(seed: 3)
    let dense = DenseLayer(weight: random.matrix(width, width), bias: Array(repeating: 0.5, count: width))
    let one = DenseLayer(weight: random.matrix(1, width), bias: [1])
    let two = DenseLayer(weight: random.matrix(2, width), bias: [1, 2])
    let heads: [(TaskKind, Head)] = [
      (
        .classification,
        Head(pooling: .cls, dense: dense, activation: .tanh, linear: two, labels: ["a:1,", ""])
      ),
      (.multilabel, Head(pooling: .last, linear: two, labels: ["é", "e\u{301}"], thresholds: [0.25, 0.5])),
      (.regression, Head(pooling: .mean, linear: one, offset: 3.5, scale: 0.125)),
      (.embedding, Head(pooling: .mean)), (.generation, Head(pooling: .last)),
    ]
    for (kind, head) in heads {
      for source in [subspace, nil] {
        let model = Fixture.version(seed: 2, rank: 4, subspace: source)
        let version = AdapterVersion(
          kind: kind, method: model.method, rank: 4, alpha: 16.5, base: model.base, subspace: model.subspace,
          updates: model.updates, head: head)
        let bytes = version.encoded()
        #expect(bytes == version.encoded())
        #expect(try AdapterVersion(encoded: bytes) == version)
        try version.validate(
          sites: Fixture.sites, base: Fixture.base, width: width, subspace: source)
      }
    }
  }

  @Test func aWriterHasNoHead() throws {
    let model = Fixture.version(seed: 2, rank: 4, subspace: nil)
    for (head, isTaken) in [
      (Head(pooling: .last), true), (model.head, false), (Head(pooling: .last, labels: ["a"]), false),
    ] {
      let version = AdapterVersion(
        kind: .generation, method: model.method, rank: 4, alpha: 8, base: model.base, subspace: nil,
        updates: model.updates, head: head)
      func validate() throws {
        try version.validate(
          sites: Fixture.sites, base: Fixture.base, width: Fixture.width, subspace: nil)
      }
      if isTaken {
        try validate()
        let names = try SafetensorsDocument(bytes: version.encoded()).entries.map(\.name)
        #expect(names.allSatisfy { !$0.hasPrefix("head.") })
      } else {
        #expect(throws: AdapterError.self) { try validate() }
      }
    }
  }

  @Test func labelsCompareByBytes() {
    #expect(!Head.sameLabels(["\u{e9}"], ["e\u{301}"]))
    #expect(LabelList.decode("3:abc") == nil)
    #expect(LabelList.decode("4:abc,") == nil)
    #expect(LabelList.decode("+1:a,") == nil)
    #expect(LabelList.decode("99999999999999999999:a,") == nil)
    #expect(LabelList.decode("2:\u{e9},1:a,") == ["\u{e9}", "a"])
  }

  @Test func refusesBadTensorsByName() throws {
    let version = Fixture.version(seed: 2, rank: 4, subspace: nil)
    let a = Fixture.sites[0].name + ".A"
    let b = Fixture.sites[0].name + ".B"
    func refusal(_ bytes: [UInt8]) -> String? {
      do {
        _ = try AdapterVersion(encoded: bytes)
        return nil
      } catch {
        if case .tensor(let name, _) = error { return name }
        return "\(error)"
      }
    }
    #expect(refusal(version.encoded()) == nil)
    let missing = try Self.file(version) { tensors, _ in tensors.removeAll { $0.name == b } }
    #expect(refusal(missing) == b)
    let extra = try Self.file(version) { tensors, _ in tensors.append(("odd", [1], [1])) }
    #expect(refusal(extra) == "odd")
    let nan = try Self.file(version) { tensors, _ in
      guard let index = tensors.firstIndex(where: { $0.name == a }) else { return }
      tensors[index].values[3] = .nan
    }
    #expect(refusal(nan) == a)
    let shape = try Self.file(version) { tensors, _ in
      guard let index = tensors.firstIndex(where: { $0.name == b }) else { return }
      tensors[index].shape = [tensors[index].shape[1], tensors[index].shape[0]]
    }
    #expect(refusal(shape) == b)
    let bias = try Self.file(version) { tensors, _ in tensors.removeAll { $0.name == "head.linear.bias" } }
    #expect(refusal(bias) == "head.linear.bias")
    let rank = try Self.file(version) { _, metadata in metadata["rank"] = "+4" }
    #expect(refusal(rank) != nil)
    let format = try Self.file(version) { _, metadata in metadata["format"] = "other" }
    #expect(refusal(format) != nil)
    #expect(refusal(Array(version.encoded().dropLast())) != nil)
  }

  @Test func validatesAgainstBaseAndSubspace() throws {
    let subspace = try Fixture.subspace(seed: 1)
    let other = try Fixture.subspace(seed: 2)
    let version = Fixture.version(seed: 2, rank: 4, subspace: subspace)
    let width = Fixture.width
    #expect(throws: AdapterError.subspaceMismatch(expected: subspace.digest, actual: other.digest)) {
      try version.validate(sites: Fixture.sites, base: Fixture.base, width: width, subspace: other)
    }
    let digest = Digest.sha256(of: [1])
    #expect(throws: AdapterError.baseMismatch(expected: digest, actual: Fixture.base)) {
      try version.validate(sites: Fixture.sites, base: digest, width: width, subspace: subspace)
    }
    #expect(throws: AdapterError.self) {
      try version.validate(
        sites: Array(Fixture.sites.dropFirst()), base: Fixture.base, width: width, subspace: subspace)
    }
    let narrow = try Fixture.subspace(seed: 1, rank: 3)
    let wide = Fixture.version(seed: 2, rank: 4, subspace: nil)
    let claims = AdapterVersion(
      kind: .classification, method: "cora", rank: 4, alpha: 8, base: Fixture.base, subspace: narrow.digest,
      updates: wide.updates.mapValues { SiteUpdate(coefficients: $0.coefficients) }, head: wide.head)
    #expect(throws: AdapterError.self) {
      try claims.validate(sites: Fixture.sites, base: Fixture.base, width: width, subspace: narrow)
    }
  }
}
