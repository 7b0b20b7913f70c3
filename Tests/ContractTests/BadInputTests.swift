import DaemonSupport
import Foundation
import HTTPWire
import Testing

@testable import API

/// What nobody should send, to the real binary: a clear problem, nothing changed, nothing leaked.
@Suite struct BadInputTests {
  private static func rows(_ label: (Int) -> String) -> String {
    (0..<16).map { #"{"text":"row \#($0)","label":"\#(label($0))"}"# }.joined(separator: ",")
  }

  private static func train(_ more: String = "", rows: String = rows { "\($0 % 2)" }) -> String {
    #"{"task":"bad","data":{"examples":[\#(rows)]}\#(more)}"#
  }

  private static let controls = (1..<32).map { String(format: "\\u%04x", $0) }.joined()

  /// Operation, path, body, code, and the pointer, id or line that the answer must name.
  private static let refused: [(String, String, String, ProblemCode, String?)] = [
    ("inferAdapter", "/adapters/none/infer", #"{"inputs":"a"}"#, .taskNotFound, "none"),
    ("inferAdapter", "/adapters/..%2f..%2fetc/infer", #"{"inputs":"a"}"#, .taskNotFound, "../../etc"),
    (
      "inferAdapter", "/adapters/base/infer", #"{"inputs":"a","parameters":{"version":1}}"#, .versionNotFound,
      nil
    ),
    (
      "infer", "/infer", #"{"items":[{"task":"base","input":"a"},{"task":"none","input":"a"}]}"#,
      .taskNotFound,
      "none"
    ),
    ("getDataset", "/datasets/none", "", .datasetNotFound, "none"),
    ("train", "/train", #"{"task":"bad","data":{"dataset":"none"}}"#, .datasetNotFound, "none"),
    ("train", "/train", train(#","subspace":"none""#), .subspaceNotFound, "none"),
    ("train", "/train", train(#","from":"none@1""#), .versionNotFound, nil),
    ("train", "/train", train(rows: rows { _ in "one" }), .validationFailed, "/data"),
    ("train", "/train", train(rows: #"{"text":"a","label":"x"}"#), .validationFailed, "/data"),
    ("train", "/train", train(#","rank":65"#), .validationFailed, "/rank"),
    ("train", "/train", train(#","max_length":257"#), .validationFailed, "/max_length"),
    ("train", "/train", train(#","learning_rate":NaN"#), .malformedJSON, nil),
    ("train", "/train", train(#","learning_rate":"NaN""#), .validationFailed, "/learning_rate"),
    ("train", "/train", train(#","learning_rate":1e999"#), .validationFailed, "/learning_rate"),
    (
      "train", "/train", train(rows: #"{"text":"\udc00","label":"x"}"#), .invalidUnicode,
      "/data/examples/0/text"
    ),
    ("inferAdapter", "/adapters/base/infer", #"{"inputs":""}"#, .validationFailed, "/inputs"),
    ("inferAdapter", "/adapters/base/infer", #"{"inputs":"\ud83d"}"#, .invalidUnicode, "/inputs"),
    (
      "inferAdapter", "/adapters/base/infer", #"{"inputs":"\#(String(repeating: "a", count: 10 << 20))"}"#,
      .validationFailed, "/inputs"
    ),
    (
      "inferAdapter", "/adapters/base/infer", #"{"inputs":\#(String(repeating: "[", count: 1 << 20))"#,
      .malformedJSON, nil
    ),
    (
      "createSubspace", "/subspaces", #"{"name":"x","source":"weights","rank":1537}"#, .validationFailed,
      "/rank"
    ),
    (
      "createSubspace", "/subspaces", #"{"name":"x","source":"weights","checkpoints":["none"]}"#,
      .validationFailed,
      "/checkpoints"
    ),
    (
      "createSubspace", "/subspaces", #"{"name":"default","source":"weights"}"#, .validationFailed, "/name"
    ),
  ]

  @Test func badRequestsChangeNothing() async throws {
    let folder = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let daemon = try await LiveDaemon.start(in: folder, "daemon")
    let trial = Trial(try await Contract.load())
    try trial.turn(to: daemon)
    func state() throws -> [JSONValue] {
      [
        try trial.call("listAdapters", "/adapters"), try trial.call("listDatasets", "/datasets"),
        try trial.call("listJobs", "/jobs"), try trial.call("listSubspaces", "/subspaces"),
      ]
    }
    let before = try state()
    for (operation, path, body, code, named) in Self.refused {
      let problem = try trial.refused(code, operation, path, body.isEmpty ? nil : body)
      let place =
        problem["pointer"]?.string ?? problem["id"]?.string
        ?? problem["errors"]?.array?.first?["pointer"]?.string
      if let named { #expect(place == named, "\(operation) \(body.prefix(100))") }
    }
    let rows = #"{"text":"a","label":"x"}"# + "\n" + #"{"text":"b"}"# + "\n"
    let row = try trial.refused(
      .invalidRow, "createDataset", "/datasets?name=bad&kind=classification", rows,
      type: "application/x-ndjson")
    #expect(row["line"]?.number?.integer == 2)
    #expect(try state() == before)
    // Odd, and no fault: the normaliser leaves nothing of it but the special tokens.
    let odd = try trial.call("inferAdapter", "/adapters/base/infer", #"{"inputs":"\#(Self.controls)"}"#)
    #expect(odd["usage"]?["inputs"]?.number?.integer == 1)
    #expect(await daemon.terminate() == .exit(0), "\(daemon.log)")
    // What a client sent stands nowhere in the log.
    #expect(!daemon.log.contains("row 1") && !daemon.log.contains("aaaaaaaa"))
  }

  /// `model.safetensors` and `config.json` of a folder that must not be served, and what the daemon says of it.
  private static let folders: [(name: String, config: String?, weights: [UInt8]?, says: String)] = [
    ("another architecture", #"{"model_type":"gpt2","architectures":["GPT2LMHeadModel"]}"#, nil, "gpt2"),
    ("header larger than the file", nil, header("{}", length: 1 << 40), "header"),
    ("truncated", nil, [1, 2, 3], "safetensors"),
    ("shape of 2^63", nil, header(tensor("[9223372036854775808]", "0,4")), "safetensors"),
    ("negative shape", nil, header(tensor("[-1]", "0,4")), "safetensors"),
    (
      "overlapping offsets", nil,
      header(
        "{\(tensor("[1]", "0,4").dropFirst().dropLast()),\(tensor("[1]", "2,6", "b").dropFirst().dropLast())}"
      ),
      "safetensors"
    ),
  ]

  private static func tensor(_ shape: String, _ offsets: String, _ name: String = "a") -> String {
    #"{"\#(name)":{"dtype":"F32","shape":\#(shape),"data_offsets":[\#(offsets)]}}"#
  }

  private static func header(_ text: String, length: UInt64? = nil) -> [UInt8] {
    withUnsafeBytes(of: (length ?? UInt64(text.utf8.count)).littleEndian) { Array($0) } + Array(text.utf8)
      + [0, 0, 0, 0, 0, 0, 0, 0]
  }

  @Test(arguments: folders.indices) func hostileModelFoldersAreNamed(index: Int) throws {
    let (name, config, weights, says) = Self.folders[index]
    let folder = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let model = folder + "/model"
    try FileManager.default.createDirectory(atPath: model, withIntermediateDirectories: true)
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
      try FileManager.default.createSymbolicLink(
        atPath: "\(model)/\(file)", withDestinationPath: "\(LiveDaemon.model)/\(file)")
    }
    func replace(_ file: String, _ bytes: [UInt8]) throws {
      try FileManager.default.removeItem(atPath: "\(model)/\(file)")
      try Data(bytes).write(to: URL(fileURLWithPath: "\(model)/\(file)"))
    }
    if let config { try replace("config.json", Array(config.utf8)) }
    if let weights { try replace("model.safetensors", weights) }
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: LiveDaemon.binary)
    process.arguments = ["serve", "--model", model, "--store", folder + "/s", "--listen", "127.0.0.1:0"]
    process.standardOutput = output
    process.standardError = output
    try process.run()
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus != 0, "\(name): \(text)")
    #expect(text.contains(says), "\(name): \(text)")
    #expect(!FileManager.default.fileExists(atPath: folder + "/s"), "\(name)")
  }

  private static func folder() throws -> String {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("corad-\(UUID())").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    return folder
  }
}
