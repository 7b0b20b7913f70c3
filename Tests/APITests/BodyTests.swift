import Adapters
import HTTPWire
import Models
import Serving
import Synchronization
import Testing
import Training

@testable import API

/// Each field at its limit, and one past it.
@Suite struct BodyTests {
  private static func text(_ count: Int) -> String { "\"" + String(repeating: "a", count: count) + "\"" }
  private static func list(_ count: Int, _ element: String) -> String {
    "[" + Array(repeating: element, count: count).joined(separator: ",") + "]"
  }

  private func pointers(_ target: String, _ body: String) async throws -> [String] {
    let answer = try await handler().send(.post, target, body)
    return answer.status < 300
      ? [] : answer.pointers.isEmpty ? ["\(answer.status) \(answer.text)"] : answer.pointers
  }

  static let inference: [(String, [String])] = [
    (#"{"inputs":"a"}"#, []), (#"{"inputs":{"text":"a","text_pair":"b"}}"#, []), ("[]", [""]),
    ("{}", ["/inputs"]),
    (#"{"inputs":[]}"#, ["/inputs"]), (#"{"inputs":""}"#, ["/inputs"]),
    (#"{"inputs":["a",""]}"#, ["/inputs/1"]),
    (#"{"inputs":null}"#, ["/inputs"]), (#"{"inputs":[1]}"#, ["/inputs/0"]),
    (#"{"inputs":[["a"]]}"#, ["/inputs/0"]),
    (#"{"inputs":[{"text":"a","text_pair":""}]}"#, ["/inputs/0/text_pair"]),
    (#"{"inputs":[{"text_pair":"a"}]}"#, ["/inputs/0/text"]),
    (#"{"inputs":[{"text":"a","x/y":1}]}"#, ["/inputs/0/x~1y"]),
    ("{\"inputs\":\(list(2_048, "\"a\""))}", []), ("{\"inputs\":\(list(2_049, "\"a\""))}", ["/inputs"]),
    ("{\"inputs\":\(text(1 << 20))}", []), ("{\"inputs\":\(text(1 << 20 + 1))}", ["/inputs"]),
    (#"{"inputs":"a","more":1}"#, ["/more"]), (#"{"inputs":"a","parameters":[]}"#, ["/parameters"]),
    (#"{"inputs":"a","parameters":{"temperature":1}}"#, ["/parameters/temperature"]),
    (#"{"inputs":"a","parameters":{"top_k":1}}"#, []), (#"{"inputs":"a","parameters":{"top_k":10000}}"#, []),
    (#"{"inputs":"a","parameters":{"top_k":0}}"#, ["/parameters/top_k"]),
    (#"{"inputs":"a","parameters":{"top_k":10001}}"#, ["/parameters/top_k"]),
    (#"{"inputs":"a","parameters":{"top_k":1.5}}"#, ["/parameters/top_k"]),
    (#"{"inputs":"a","parameters":{"top_k":"1"}}"#, ["/parameters/top_k"]),
    (#"{"inputs":"a","parameters":{"top_k":null}}"#, ["/parameters/top_k"]),
    (#"{"inputs":"a","parameters":{"version":999999999}}"#, []),
    (#"{"inputs":"a","parameters":{"version":0}}"#, ["/parameters/version"]),
    (#"{"inputs":"a","parameters":{"version":1000000000}}"#, ["/parameters/version"]),
    (#"{"inputs":"a","parameters":{"truncate":"end","normalize":false}}"#, []),
    (
      #"{"inputs":"a","parameters":{"truncate":"start","normalize":0}}"#,
      ["/parameters/truncate", "/parameters/normalize"]
    ),
    (#"{"inputs":"a","encoding":"base64"}"#, []), (#"{"inputs":"a","encoding":"hex"}"#, ["/encoding"]),
  ]

  @Test(arguments: inference.indices)
  func inferenceOfOneTask(index: Int) async throws {
    let (body, expected) = Self.inference[index]
    #expect(try await pointers("/adapters/tickets/infer", body) == expected, "\(body.prefix(100))")
  }

  static let items: [(String, [String])] = [
    ("{}", ["/items"]), (#"{"items":[]}"#, ["/items"]), (#"{"items":{}}"#, ["/items"]),
    (#"{"items":[1]}"#, ["/items/0"]),
    (#"{"items":[{"task":"a","input":"x"},{"task":"-","input":""}]}"#, ["/items/1/task", "/items/1/input"]),
    (#"{"items":[{}]}"#, ["/items/0/task", "/items/0/input"]),
    (#"{"items":[{"task":"a","input":"x","z":0}]}"#, ["/items/0/z"]),
    (#"{"items":[{"task":"a","input":"x","parameters":{"top_k":0}}]}"#, ["/items/0/parameters/top_k"]),
    ("{\"items\":\(list(2_048, #"{"task":"a","input":"x"}"#))}", []),
    ("{\"items\":\(list(2_049, #"{"task":"a","input":"x"}"#))}", ["/items"]),
    (#"{"items":[{"task":"a","input":"x"}],"encoding":1}"#, ["/encoding"]),
  ]

  @Test(arguments: items.indices)
  func inferenceOfManyTasks(index: Int) async throws {
    let (body, expected) = Self.items[index]
    #expect(try await pointers("/infer", body) == expected, "\(body.prefix(100))")
  }

  static let activation: [(String, [String])] = [
    (#"{"version":3}"#, []), (#"{"version":3,"expected":4}"#, []), ("{}", ["/version"]),
    (#"{"version":0}"#, ["/version"]),
    (#"{"version":1000000000}"#, ["/version"]), (#"{"version":3,"expected":0}"#, ["/expected"]),
    (#"{"version":3,"x":0}"#, ["/x"]),
  ]

  @Test(arguments: activation.indices)
  func activations(index: Int) async throws {
    let (body, expected) = Self.activation[index]
    #expect(try await pointers("/adapters/tickets/activate", body) == expected)
  }

  private static func train(_ more: String, data: String = #"{"dataset":"ds_1"}"#) -> String {
    #"{"task":"t","data":\#(data)\#(more.isEmpty ? "" : "," + more)}"#
  }

  private static func rows(_ rows: String, kind: String = "classification") -> String {
    train("\"kind\":\"\(kind)\"", data: #"{"examples":[\#(rows)]}"#)
  }

  static let training: [(String, [String])] = [
    (train(""), []), ("{}", ["/task", "/data"]), (#"{"task":"base","data":{"dataset":"ds_1"}}"#, ["/task"]),
    (#"{"task":"a b","data":{"dataset":"ds_1"}}"#, ["/task"]),
    ("{\"task\":\(text(128)),\"data\":{\"dataset\":\"ds_1\"}}", []),
    ("{\"task\":\(text(129)),\"data\":{\"dataset\":\"ds_1\"}}", ["/task"]),
    (train("", data: "{}"), ["/data"]),
    (train("", data: #"{"dataset":"ds_1","examples":[]}"#), ["/data"]),
    (train("", data: #"{"dataset":""}"#), ["/data/dataset"]), (train("", data: #"{"dataset":"x"}"#), ["404"]),
    (train("", data: #"{"dataset":1}"#), ["/data/dataset"]),
    (train("", data: #"{"examples":[]}"#), ["/data/examples"]),
    (train(#""kind":"regression""#), ["/kind"]), (train(#""kind":"generation""#), ["/kind"]),
    (train(#""method":"magic""#), ["/method"]), (train(#""rank":1024"#), []),
    (train(#""rank":1025"#), ["/rank"]),
    (train(#""rank":0"#), ["/rank"]), (train(#""rank":1e30"#), ["/rank"]), (train(#""alpha":10000"#), []),
    (train(#""alpha":10001"#), ["/alpha"]), (train(#""alpha":0"#), ["/alpha"]),
    (train(#""alpha":1e39"#), ["/alpha"]),
    (train(#""sites":[]"#), []), (train(#""sites":["query","query"]"#), ["/sites/1"]),
    (train(#""sites":["q"]"#), ["/sites/0"]),
    (train(#""sites":["q_proj","gate"]"#), ["/sites/0", "/sites/1"]),
    (train(#""sites":["all"]"#), []), (train(#""sites":["attention","key"]"#), ["/sites/1"]),
    (train(#""recompute":true"#), []), (train(#""recompute":1"#), ["/recompute"]),
    (train(#""sites":"query""#), ["/sites"]), (train(#""epochs":1001"#), ["/epochs"]),
    (train(#""batch_size":4097"#), ["/batch_size"]),
    (train(#""learning_rate":"NaN""#), ["/learning_rate"]),
    (train(#""learning_rate":0"#), ["/learning_rate"]),
    (train(#""learning_rate":1.1"#), ["/learning_rate"]), (train(#""learning_rate":1"#), []),
    (train(#""head_learning_rate":1.1"#), ["/head_learning_rate"]),
    (train(#""basis_learning_rate":1.1"#), ["/basis_learning_rate"]),
    (train(#""schedule":"step""#), ["/schedule"]), (train(#""warmup":1"#), ["/warmup"]),
    (train(#""weight_decay":1"#), ["/weight_decay"]),
    (train(#""clip_norm":-1"#), ["/clip_norm"]), (train(#""dropout":1"#), ["/dropout"]),
    (train(#""max_length":2"#), ["/max_length"]),
    (train(#""max_length":1000001"#), ["/max_length"]), (train(#""validation":1"#), ["/validation"]),
    (train(#""validation":-0.1"#), ["/validation"]),
    (train(#""seed":18446744073709551615"#), []), (train(#""seed":18446744073709551616"#), ["/seed"]),
    (train(#""seed":-1"#), ["/seed"]),
    (train(#""pooling":"max""#), ["/pooling"]), (train(#""head_dense":"x""#), ["/head_dense"]),
    (train(#""temperature":101"#), ["/temperature"]),
    (train(#""activate":"maybe""#), ["/activate"]), (train(#""from":"tickets@3""#), []),
    (train(#""from":"tickets""#), ["/from"]),
    (train(#""from":"tickets@0""#), ["/from"]), (train(#""from":"tickets@1000000000""#), ["/from"]),
    (train(#""subspace":"""#), ["/subspace"]),
    (train("\"subspace\":\(text(256))"), []), (train("\"subspace\":\(text(257))"), ["/subspace"]),
    (train(#""Rank":1"#), ["/Rank"]),
    (rows(#"{"text":"a","label":"x","text_pair":"b","weight":2}"#), []),
    (rows(#"{"text":"a"}"#), ["/data/examples/0/label"]),
    (
      rows(#"{"text":"a","label":"x"},{"text":"","label":""}"#),
      ["/data/examples/1/text", "/data/examples/1/label"]
    ),
    (rows(#"{"text":"a","label":"x","weight":0}"#), ["/data/examples/0/weight"]),
    (rows("{\"text\":\"a\",\"label\":\(text(256))}"), []),
    (rows("{\"text\":\"a\",\"label\":\(text(257))}"), ["/data/examples/0/label"]),
    (rows(#"{"text":"a","label":"x","value":1}"#), ["/data/examples/0/value"]),
    (rows(#"{"text":"a","labels":[]}"#, kind: "multilabel"), []),
    (rows(#"{"text":"a","labels":["x","x"]}"#, kind: "multilabel"), ["/data/examples/0/labels"]),
    (rows(#"{"text":"a","labels":["x",1]}"#, kind: "multilabel"), ["/data/examples/0/labels/1"]),
    (
      rows("{\"text\":\"a\",\"labels\":\(list(1_001, "\"x\""))}", kind: "multilabel"),
      ["/data/examples/0/labels"]
    ),
    (rows(#"{"text":"a","value":1.5}"#, kind: "regression"), []),
    (rows(#"{"text":"a","value":1e39}"#, kind: "regression"), ["/data/examples/0/value"]),
    (rows(#"{"text":"a","value":"1"}"#, kind: "regression"), ["/data/examples/0/value"]),
    (rows(#"{"anchor":"a","positive":"b","negative":"c"}"#, kind: "embedding"), []),
    (rows(#"{"anchor":"a"}"#, kind: "embedding"), ["/data/examples/0/positive"]),
    (rows("1"), ["/data/examples/0"]),
    (train("", data: "{\"examples\":\(list(100_001, "0"))}"), ["/data/examples"]),
  ]

  @Test(arguments: training.indices)
  func trainingRequests(index: Int) async throws {
    let (body, expected) = Self.training[index]
    let got = try await pointers("/train", body).map { $0.hasPrefix("404") ? "404" : $0 }
    #expect(got == expected, "\(body.prefix(120))")
  }

  @Test func defaultsAndKindsAreFilledIn() async throws {
    let node = StubNode()
    let kinds: [(String, String)] = [
      (#"{"text":"a","label":"x"}"#, "classification"), (#"{"text":"a","labels":["x"]}"#, "multilabel"),
      (#"{"text":"a","value":1}"#, "regression"), (#"{"anchor":"a","positive":"b"}"#, "embedding"),
    ]
    for (row, kind) in kinds {
      let answer = try await handler(node).send(
        .post, "/train", Self.train("", data: "{\"examples\":[\(row)]}"))
      #expect(answer.status == 202)
      #expect(answer["location"] == "/jobs/job_1")
      let request = try #require(node.seen.withLock { $0.training })
      #expect(request.settings.kind.rawValue == kind)
      #expect(
        request.settings
          == TrainingSettings.defaults(kind: request.settings.kind, method: "cora", on: .encoder))
      #expect(request.activate == .always)
    }
  }

  @Test func idempotencyKeysAreChecked() async throws {
    let node = StubNode()
    let longest = String(repeating: "k", count: Limits.tokenBytes)
    for key in ["a", longest] {
      #expect(
        try await handler(node).send(.post, "/train", Self.train(""), [("Idempotency-Key", key)]).status
          == 202)
      #expect(node.seen.withLock { $0.training?.idempotencyKey } == key)
    }
    for key in ["", "a b", longest + "k"] {
      let answer = try await handler().send(.post, "/train", Self.train(""), [("Idempotency-Key", key)])
      #expect(answer.pointers == ["Idempotency-Key"])
    }
  }

  @Test func aRepeatedRequestIsItsJobWhenItsDataSetIsGone() async throws {
    let node = StubNode()
    let key = [("Idempotency-Key", "k")]
    let body = #"{"task":"t","data":{"dataset":"ds_1"}}"#
    let first = try await handler(node).send(.post, "/train", body, key)
    #expect(first.status == 202)
    node.seen.withLock { $0.isEmptied = true }
    let again = try await handler(node).send(.post, "/train", body, key)
    #expect(again.status == 202 && again.bytes == first.bytes && again["location"] == first["location"])
    #expect(try await handler(node).send(.post, "/train", body + " ", key).code == "idempotency-conflict")
    #expect(try await handler(node).send(.post, "/train", body).code == "dataset-not-found")
  }

  private static func subspace(_ more: String) -> String {
    #"{"name":"s","source":"weights"\#(more.isEmpty ? "" : "," + more)}"#
  }

  static let subspaces: [(String, [String])] = [
    (subspace(""), []), ("{}", ["/name", "/source"]),
    (#"{"name":"-","source":"magic"}"#, ["/name", "/source"]),
    (
      subspace(#""checkpoints":["a"],"rank":4096,"scope":"global","center":true,"seed":1,"default":true"#), []
    ),
    (subspace(#""rank":4097"#), ["/rank"]), (subspace(#""rank":0"#), ["/rank"]),
    (subspace(#""scope":"all""#), ["/scope"]),
    (subspace(#""center":1"#), ["/center"]), (subspace(#""default":1"#), ["/default"]),
    (subspace(#""seed":-1"#), ["/seed"]),
    (subspace(#""checkpoints":["/etc/passwd"]"#), ["/checkpoints/0"]),
    (subspace(#""versions":["a@1"]"#), ["/versions"]),
    (subspace("\"checkpoints\":\(list(64, "\"a\""))"), []),
    (subspace("\"checkpoints\":\(list(65, "\"a\""))"), ["/checkpoints"]),
    (#"{"name":"s","source":"deltas"}"#, ["/checkpoints"]),
    (#"{"name":"s","source":"adapters"}"#, ["/versions"]),
    (#"{"name":"s","source":"adapters","versions":["a@1"]}"#, []),
    (#"{"name":"s","source":"adapters","versions":["a"]}"#, ["/versions/0", "/versions"]),
    (
      "{\"name\":\"s\",\"source\":\"adapters\",\"versions\":\(list(257, "\"a@1\""))}",
      ["/versions", "/versions"]
    ),
    (#"{"name":"s","source":"random","checkpoints":["a"]}"#, ["/checkpoints"]),
    (#"{"name":"s","source":"random"}"#, []),
    (subspace(#""path":"x""#), ["/path"]),
  ]

  @Test(arguments: subspaces.indices)
  func subspaceRequests(index: Int) async throws {
    let (body, expected) = Self.subspaces[index]
    #expect(try await pointers("/subspaces", body) == expected, "\(body.prefix(120))")
  }

  @Test func halfOfASurrogatePairIsRefused() async throws {
    let answer = try await handler().send(.post, "/adapters/a/infer", #"{"inputs":["\ud800"]}"#)
    #expect(answer.code == "invalid-unicode")
    #expect(answer.json?["pointer"]?.string == "/inputs/0")
    let broken = try await handler().send(.post, "/adapters/a/infer", #"{"inputs":["#)
    #expect(broken.code == "malformed-json")
    #expect(broken.json?["offset"]?.number?.integer == 11)
  }
}
