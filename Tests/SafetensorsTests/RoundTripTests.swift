import Foundation
import Testing

@testable import Safetensors

/// SplitMix64: equal seeds give equal documents.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}

@Suite struct `Safetensors round trip` {
  struct Sample {
    var tensors: [(name: String, shape: [Int], values: [Float])] = []
    var metadata: [String: String] = [:]

    init(seed: UInt64) {
      var generator = SeededGenerator(state: seed)
      for index in 0..<Int.random(in: 0...6, using: &generator) {
        let shape = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
          Int.random(in: 0...5, using: &generator)
        }
        // Every bit pattern is fair, NaN payloads included: bits are what must come back.
        let values = (0..<shape.reduce(1, *)).map { _ in
          Float(bitPattern: UInt32.random(in: 0 ... .max, using: &generator))
        }
        tensors.append((Self.text(&generator) + "#\(index)", shape, values))
      }
      for index in 0..<Int.random(in: 0...4, using: &generator) {
        metadata[Self.text(&generator) + "#\(index)"] = Self.text(&generator)
      }
    }

    static func text(_ generator: inout SeededGenerator) -> String {
      var text = String.UnicodeScalarView()
      let alphabet: [ClosedRange<UInt32>] = [0...0x7F, 0...0x7FF, 0xE000...0xFFFF, 0x10000...0x10FFFF]
      for _ in 0..<Int.random(in: 0...12, using: &generator) {
        let range = alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
        if let scalar = Unicode.Scalar(UInt32.random(in: range, using: &generator)) { text.append(scalar) }
      }
      return String(text)
    }
  }

  @Test(arguments: UInt64(0)..<300) func `what is encoded is read back bit for bit`(seed: UInt64) throws {
    let sample = Sample(seed: seed)
    let bytes = SafetensorsEncoder.encode(sample.tensors, metadata: sample.metadata)
    #expect(bytes == SafetensorsEncoder.encode(sample.tensors.reversed(), metadata: sample.metadata))
    let document = try SafetensorsDocument(bytes: bytes)
    #expect(document.metadata == sample.metadata, "seed \(seed)")
    #expect(document.entries.count == sample.tensors.count, "seed \(seed)")
    #expect(document.header.dataStart % 8 == 0)
    for tensor in sample.tensors {
      #expect(document.entry(tensor.name)?.shape == tensor.shape, "seed \(seed)")
      let values = try document.floats(tensor.name)
      #expect(values.map(\.bitPattern) == tensor.values.map(\.bitPattern), "seed \(seed)")
    }
  }

  @Test(arguments: UInt64(0)..<200) func `a flipped byte never crashes`(seed: UInt64) {
    let sample = Sample(seed: seed)
    var bytes = SafetensorsEncoder.encode(sample.tensors, metadata: sample.metadata)
    var generator = SeededGenerator(state: seed ^ 0xF11B)
    for _ in 0..<20 {
      let index = Int.random(in: 0..<bytes.count, using: &generator)
      bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
      guard let document = try? SafetensorsDocument(bytes: bytes) else { continue }
      for entry in document.entries where entry.elementType.isFloat {
        #expect((try? document.floats(entry.name))?.count == entry.elementCount, "seed \(seed)")
      }
    }
  }

  @Test func `half and brain floats are widened exactly`() throws {
    let halves: [Float16] = [1, -2.5, 65504, 5.960464477539063e-08, .infinity]
    let brains = [Float(1), -2.5, 3.3895314e38, 1e-38].map {
      Float(bitPattern: $0.bitPattern & 0xFFFF_0000)
    }
    var data = halves.flatMap { value in withUnsafeBytes(of: value.bitPattern) { Array($0) } }
    data += brains.flatMap { value in
      withUnsafeBytes(of: UInt16(value.bitPattern >> 16)) { Array($0) }
    }
    let header =
      "{\(SafetensorsFixture.tensor("h", "[5]", "[0,10]", type: "F16")),"
      + "\(SafetensorsFixture.tensor("b", "[4]", "[10,18]", type: "BF16"))}"
    let document = try SafetensorsDocument(
      bytes: SafetensorsFixture.file(header: Array(header.utf8)) + data)
    #expect(try document.floats("h") == halves.map { Float($0) })
    #expect(try document.floats("b") == brains)
  }

  @Test func `integers are no floats, and an absent name is said`() throws {
    let header = "{\(SafetensorsFixture.tensor("i", "[1]", "[0,4]", type: "I32"))}"
    let document = try SafetensorsDocument(
      bytes: SafetensorsFixture.file(header: Array(header.utf8)) + [254, 255, 255, 255])
    #expect(try document.integers("i") == [-2])
    #expect(throws: SafetensorsError.notConvertible(name: "i", elementType: .i32)) {
      try document.floats("i")
    }
    #expect(throws: SafetensorsError.missing(name: "j")) { try document.floats("j") }
  }

  @Test func `a mapped file reads as its document, also after its pages are released`() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appending(path: "x.safetensors").path
    let values = (0..<5000).map { Float($0) }
    try Data(SafetensorsEncoder.encode([("w", [50, 100], values)], metadata: [:]))
      .write(to: URL(filePath: path))
    let file = try SafetensorsFile(path: path)
    #expect(try file.floats("w") == values)
    let entry = try #require(file.entry("w"))
    file.releasePages(of: entry)
    file.releaseAllPages()
    var row = [Float](repeating: 0, count: 100)
    row.withUnsafeMutableBufferPointer { buffer in
      if let base = buffer.baseAddress { file.copyFloats(of: entry, elements: 300..<400, into: base) }
    }
    #expect(row == Array(values[300..<400]))
    #expect(throws: SafetensorsError.unreadable(path: folder.path, code: 22)) {
      try SafetensorsFile(path: folder.path)
    }
    #expect(throws: SafetensorsError.unreadable(path: folder.path + "/none", code: 2)) {
      try SafetensorsFile(path: folder.path + "/none")
    }
  }
}
