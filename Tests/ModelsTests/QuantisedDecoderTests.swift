import Foundation
import Models
import Safetensors
import Tensors
import Testing

extension Tolerance {
  /// ‖a−b‖/‖b‖ of logits on quantised weights against float32's. A random network's logits are sums without a large
  /// part, so errors of the weights (0.5 and 7.4 %) and of 8-bit inputs (0.5 %) come through whole, layer after layer.
  static let quantised: [PackedElement: Double] = [.int8: 0.03, .int4: 0.35]
  /// The same of gradients of the factors.
  static let quantisedGradient: [PackedElement: Double] = [.int8: 0.04, .int4: 0.45]
}

/// Decoders with weights of 8.5 and 4.5 bits: near the same decoder in float32, and trained on like it.
@Suite struct QuantisedDecoderTests {
  private static let elements = PackedElement.allCases.filter(\.isQuantised)

  @Test(arguments: DecoderFixture.labels) func `logits are near float32's`(_ label: String) throws {
    let exact = try DecoderFixture(label)
    let patch = FactorPatch(exact.decoder.sites, adapted: Set(exact.decoder.sites.indices), rank: 3)
    let arena = Arena()
    for element in Self.elements {
      let fixture = try DecoderFixture(label, as: element)
      for patch in [nil, patch] {
        let errors = relativeError(
          logits(fixture.decoder, fixture.batch, patch: patch, arena: arena).values.map { Double($0) },
          logits(exact.decoder, exact.batch, patch: patch, arena: arena).values.map { Double($0) })
        print("\(label), \(element.rawValue): logits are \(errors) off")
        #expect(errors <= (try #require(Tolerance.quantised[element])) && errors > 0)
      }
    }
  }

  @Test(arguments: DecoderFixture.labels) func `gradients flow through quantised weights`(_ label: String)
    throws
  {
    let exact = try DecoderFixture(label)
    let prompts = try JSONDecoder().decode(
      [Int].self, from: Data(try #require(exact.golden.metadata["prompts"]).utf8))
    func gradients(_ decoder: Decoder, recomputes: Bool) -> [Double] {
      let patch = FactorPatch(decoder.sites, adapted: Set(decoder.sites.indices), rank: 4)
      _ = completionLoss(decoder, exact.batch, prompts, patch, recomputes: recomputes, arena: Arena())
      return decoder.sites.flatMap { site in
        patch.factors[site.index].map { ($0.dA.values + $0.dB.values).map { Double($0) } } ?? []
      }
    }
    let expected = gradients(exact.decoder, recomputes: false)
    for element in Self.elements {
      let decoder = try DecoderFixture(label, as: element).decoder
      let kept = gradients(decoder, recomputes: false)
      #expect(kept == gradients(decoder, recomputes: true))
      let error = relativeError(kept, expected)
      print("\(label), \(element.rawValue): gradients are \(error) off")
      #expect(error <= (try #require(Tolerance.quantisedGradient[element])))
    }
  }
}
