import Digests
import Foundation
import Models
import Safetensors
import Tensors
import Testing

/// Where the tests' files are, and the trained model.
enum Fixture {
  static let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()

  /// CORAD_TEST_MODEL, else models/all-MiniLM-L6-v2 at the package's root; its absence is a failure, not a skip.
  static func miniLM() throws -> String {
    let given = ProcessInfo.processInfo.environment["CORAD_TEST_MODEL"]
    let sourceRoot = tests.deletingLastPathComponent().path
    let folders =
      given.map { [$0] }
      ?? [sourceRoot, FileManager.default.currentDirectoryPath].map { $0 + "/models/all-MiniLM-L6-v2" }
    for folder in folders where FileManager.default.fileExists(atPath: folder + "/model.safetensors") {
      return folder
    }
    throw MissingModel(folders: folders)
  }

  struct MissingModel: Error, CustomStringConvertible {
    let folders: [String]
    var description: String {
      "all-MiniLM-L6-v2 is in none of \(folders): set CORAD_TEST_MODEL or run Deploy/scripts/test.sh"
    }
  }

  static func golden(_ label: String, of model: String = "encoder") throws -> SafetensorsDocument {
    let file = tests.appending(path: "Goldens/\(model)/\(label).safetensors")
    let document = try SafetensorsDocument(bytes: Array(Data(contentsOf: file)))
    try #require(document.metadata["magic"] == "corad-golden-\(model)")
    try #require(document.metadata["version"] == "1")
    let script = try Data(contentsOf: tests.appending(path: "Goldens/record_\(model).py"))
    #expect(
      document.metadata["generator"] == Digest.sha256(of: Array(script)).hex,
      "\(label) was recorded by another script; record again")
    return document
  }

  static func batch(_ golden: SafetensorsDocument) throws -> PackedBatch {
    PackedBatch(
      ids: try golden.integers("ids").map { Int32($0) },
      types: golden.entry("types") == nil ? [] : try golden.integers("types").map { Int32($0) },
      starts: try golden.integers("starts"))
  }
}

/// Largest differences allowed, float32.
enum Tolerance {
  /// Hidden states of order 1 to 10 after several layers, against another library's order of sums.
  static let hidden: Float = 1e-4
}

func largestDifference(_ a: [Float], _ b: [Float]) -> Float {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).reduce(0) { largest, pair in
    let difference = abs(pair.0 - pair.1)
    return difference.isNaN ? .infinity : max(largest, difference)
  }
}

/// A copy that outlives the arena.
func hiddenStates(
  _ encoder: Encoder, _ batch: PackedBatch, patch: (any ProjectionPatch)? = nil, arena: Arena = Arena()
) -> Matrix {
  arena.scope { Matrix(encoder.forward(batch, patch: patch, arena: arena)) }
}

@Suite struct EncoderGoldenTests {
  struct Shape: CustomTestStringConvertible, Sendable {
    let label: String
    let elementType: ElementType
    var testDescription: String { "\(label) stored as \(elementType.rawValue)" }
  }

  static let shapes = ["narrow", "prefixed", "odd"].flatMap { label in
    [ElementType.f32, .f16, .bf16].map { Shape(label: label, elementType: $0) }
  }

  @Test(arguments: shapes) func `random encoders equal transformers`(_ shape: Shape) throws {
    let golden = try Fixture.golden(shape.label)
    var options = RandomCheckpoint.Options()
    options.prefix = try #require(golden.metadata["prefix"])
    options.labels = try #require(golden.metadata["labels"].flatMap { Int($0) })
    options.pooler = golden.entry("pooled") != nil
    options.elementType = shape.elementType
    let folder = try RandomCheckpoint(
      label: shape.label, configJSON: try #require(golden.metadata["config"]), options)
    let checkpoint = try Checkpoint(directory: folder.directory)
    #expect(checkpoint.elementType == shape.elementType)
    let encoder = try Encoder(checkpoint)
    let batch = try Fixture.batch(golden)
    let hidden = hiddenStates(encoder, batch)
    let difference = largestDifference(hidden.values, try golden.floats("hidden"))
    print("\(shape.testDescription): largest difference \(difference)")
    #expect(difference <= Tolerance.hidden)

    #expect((encoder.pooler != nil) == options.pooler)
    #expect((encoder.classifier?.weight.rows ?? 0) == options.labels)
    if let pooler = encoder.pooler {
      let pooled = batch.starts.dropLast().map { start in
        dense(pooler, (0..<hidden.columns).map { hidden[start, $0] }).map { tanh($0) }
      }
      #expect(
        largestDifference(pooled.flatMap { $0 }, try golden.floats("pooled")) <= Tolerance.hidden)
      if let classifier = encoder.classifier {
        let logits = pooled.flatMap { dense(classifier, $0) }
        #expect(largestDifference(logits, try golden.floats("logits")) <= Tolerance.hidden)
      }
    }
  }

  @Test func `MiniLM equals transformers`() throws {
    let golden = try Fixture.golden("minilm")
    let encoder = try Encoder(Checkpoint(directory: Fixture.miniLM()))
    let batch = try Fixture.batch(golden)
    let hidden = hiddenStates(encoder, batch)
    let difference = largestDifference(hidden.values, try golden.floats("hidden"))
    print("MiniLM: largest difference \(difference)")
    #expect(difference <= Tolerance.hidden)
    let pooler = try #require(encoder.pooler)
    let pooled = batch.starts.dropLast().flatMap { start in
      dense(pooler, (0..<hidden.columns).map { hidden[start, $0] }).map { tanh($0) }
    }
    #expect(largestDifference(pooled, try golden.floats("pooled")) <= Tolerance.hidden)
  }

  private func dense(_ layer: DenseWeights, _ x: [Float]) -> [Float] {
    (0..<layer.weight.rows).map { row in
      x.indices.reduce(layer.bias[row]) { $0 + layer.weight[row, $1] * x[$1] }
    }
  }
}
