import Adapters
import Foundation
import HTTPWire
import Models
import Serving
import Synchronization
import Testing
import Training

@testable import API

/// What a request for training says where the base is a decoder.
@Suite struct DecoderBodyTests {
  private static func train(_ more: String) -> String {
    #"{"task":"t","data":{"examples":[{"text":"a","label":"x"}]}\#(more.isEmpty ? "" : "," + more)}"#
  }

  private static let cases: [(more: String, pointers: [String], sites: [SiteKind])] = [
    ("", [], [.query, .value]), (#""sites":[]"#, [], []),
    (#""sites":["q_proj","v_proj"]"#, [], [.query, .value]), (#""sites":["query"]"#, [], [.query]),
    (#""sites":["attention"]"#, [], [.query, .key, .value, .attentionOutput]),
    (#""sites":["feed_forward","o_proj"]"#, [], [.gate, .intermediate, .output, .attentionOutput]),
    (#""sites":["all"]"#, [], SiteKind.decoder),
    (#""sites":["q_proj","query"]"#, ["/sites/1"], []), (#""sites":["all","attention"]"#, ["/sites/1"], []),
    (#""sites":["dense"]"#, ["/sites/0"], []), (#""dropout":0.1"#, ["/dropout"], []),
    (#""pooling":"cls""#, ["/pooling"], []), (#""head_dense":"pooler""#, ["/head_dense"], []),
  ]

  @Test func rowsToWriteSayTheKindAndItsDefaults() async throws {
    let body =
      #"{"task":"t","data":{"examples":[{"prompt":"a","completion":"b"},{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}]}}"#
    let node = StubNode(base: StubNode.decoder)
    let answer = try await handler(node).send(.post, "/train", body)
    #expect(answer.status == 202, "\(answer.text)")
    let settings = try #require(node.seen.withLock { $0.training?.settings })
    #expect(settings.kind == .generation && settings.sites == SiteKind.decoder && settings.recompute)
    #expect(settings.maxLength == 64, "the base's context")
    let encoder = try await handler().send(.post, "/train", body)
    #expect(encoder.pointers == ["/kind"] && encoder.text.contains("encoder"), "\(encoder.text)")
    for (more, pointer) in [
      (#""pooling":"mean""#, "/pooling"), (#""head_dense":"fresh""#, "/head_dense"),
    ] {
      let refused = try await handler(node).send(.post, "/train", String(body.dropLast()) + "," + more + "}")
      #expect(refused.pointers == [pointer], "\(refused.text)")
    }
    let rows = try await handler(node).send(
      .post, "/train",
      #"{"task":"t","data":{"examples":[{"messages":[{"role":"assistant","content":1}]}]}}"#)
    #expect(rows.pointers == ["/data/examples/0/messages/0/content"], "\(rows.text)")
  }

  @Test(arguments: cases.indices)
  func sitesAndWhatADecoderHasNot(index: Int) async throws {
    let (more, pointers, sites) = Self.cases[index]
    let node = StubNode(base: StubNode.decoder)
    let answer = try await handler(node).send(.post, "/train", Self.train(more))
    #expect(answer.pointers == pointers, "\(answer.text)")
    guard pointers.isEmpty else {
      #expect(answer.status == 422)
      return
    }
    let settings = try #require(node.seen.withLock { $0.training?.settings })
    #expect(settings.sites == sites)
    #expect(settings.pooling == .last && !settings.recompute)
    // Never above the base's, unless it is asked for.
    #expect(settings.maxLength == 64)
  }

  @Test func recomputeIsTaken() async throws {
    let node = StubNode(base: StubNode.decoder)
    let answer = try await handler(node).send(
      .post, "/train", Self.train(#""recompute":true,"max_length":99"#))
    #expect(answer.status == 202)
    let settings = try #require(node.seen.withLock { $0.training?.settings })
    #expect(settings.recompute && settings.maxLength == 99)
  }

  @Test func theBaseSaysItsFamilyAndItsWeights() async throws {
    for (base, family, weights) in [
      (StubNode.encoder, "encoder", "f32"), (StubNode.decoder, "decoder", "bf16"),
    ] {
      let json = try #require(try await handler(StubNode(base: base)).send(.get, "/base").json)
      #expect(json["family"]?.string == family && json["weights"]?.string == weights)
    }
  }

  /// The contract lists every name of a site, and every format, that some base takes.
  @Test func theContractHasEveryName() async throws {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("openapi.yaml")
    let yaml = try String(contentsOf: file, encoding: .utf8)
    let root = try JSONReader.read(try await ContractDocument(yaml: yaml).json())
    func names(_ path: [String]) -> Set<String> {
      let list = path.reduce(root["components"]?["schemas"] ?? .null) { $0[$1] ?? .null }
      return Set(list.array?.compactMap(\.string) ?? [])
    }
    let asked = names(["TrainRequest", "properties", "sites", "items", "enum"])
    #expect(asked == Set(ModelFamily.everySiteName))
    let shown = names(["TrainSettings", "properties", "sites", "items", "enum"])
    #expect(
      shown == Set(ModelFamily.allCases.flatMap { family in family.siteKinds.map(family.name(of:)) }))
    let formats = names(["Base", "properties", "weights", "enum"])
    #expect(formats == Set(WeightFormat.allCases.map(\.rawValue)))
    #expect(
      names(["Base", "properties", "family", "enum"]) == Set(ModelFamily.allCases.map(\.rawValue)))
  }
}
