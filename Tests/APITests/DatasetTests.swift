import Adapters
import HTTPWire
import Serving
import Synchronization
import Testing
import Training

@testable import API

@Suite struct DatasetTests {
  private func upload(
    _ body: String, kind: String = "classification", type: String = "text/csv", node: StubNode = StubNode()
  ) async throws -> Answer {
    try await handler(node).send(.post, "/datasets?name=rows&kind=\(kind)", body, type: type)
  }

  @Test func csvRowsOfEveryKind() async throws {
    let node = StubNode()
    let answer = try await upload(
      "\u{feff}\"text\",label,weight,text_pair\r\n\"a, \"\"b\"\"\r\nc\",x,2,\r\nd,y,,e", node: node)
    #expect(answer.status == 201)
    #expect(answer["location"] == "/datasets/ds_1")
    #expect(
      node.seen.withLock { $0.rows } == [
        .classification(text: "a, \"b\"\r\nc", label: "x", weight: 2),
        .classification(text: "d", pair: "e", label: "y"),
      ])
    let several = StubNode()
    _ = try await upload("labels,text\nx|y,a\n,b\n", kind: "multilabel", node: several)
    #expect(
      several.seen.withLock { $0.rows } == [
        .multilabel(text: "a", labels: ["x", "y"]), .multilabel(text: "b", labels: []),
      ])
    _ = try await upload("text,value\na,-1.5e0\n", kind: "regression", node: several)
    #expect(several.seen.withLock { $0.rows.last } == .regression(text: "a", value: -1.5))
    _ = try await upload("anchor,positive,negative\na,b,\n", kind: "embedding", node: several)
    #expect(several.seen.withLock { $0.rows.last } == .embedding(anchor: "a", positive: "b"))
    _ = try await upload("prompt,completion,weight\n,b,\na,b,3\n", kind: "generation", node: several)
    #expect(
      several.seen.withLock { Array($0.rows.suffix(2)) } == [
        .completion(prompt: "", completion: "b"), .completion(prompt: "a", completion: "b", weight: 3),
      ])
  }

  @Test(arguments: [
    ("text,label\na,x\nb\n", 3), ("text,label\na,x\n\"b\nc\",\n", 3), ("text\na\n", 1),
    ("text,label,text\n", 1),
    ("text,label,more\n", 1), ("text,label\na\"b,x\n", 2), ("text,label\n\"a\"b,x\n", 2),
    ("text,label\na,x\n\"b,x\n", 3),
    ("text,label\na,x\rb,y\n", 2), ("text,label,weight\na,x,1\nb,y,heavy\n", 3),
    ("text,label,weight\na,x,0\n", 2),
    ("text,label\n\n\na,\n", 4), (",,,,,,,,,,,,,,,,\n", 1),
  ])
  func badCSVNamesItsLine(body: String, line: Int) async throws {
    let node = StubNode()
    let answer = try await upload(body, node: node)
    #expect(answer.code == "invalid-row", "\(answer.text)")
    #expect(answer.json?["line"]?.number?.integer == line, "\(answer.text)")
    #expect(node.seen.withLock { $0.abandoned && !$0.finished })
  }

  @Test(arguments: [
    ("{\"text\":\"a\",\"label\":\"x\"}\n\n{\"text\":\"b\"}\n", 3),
    ("{\"text\":\"a\",\"label\":\"x\"}\nnope\n", 2), ("[]\n", 1),
    ("{\"text\":\"a\",\"label\":\"\\ud800\"}", 1), ("{\"text\":\"a\",\"label\":\"x\",\"label\":\"y\"}", 1),
    ("{\"text\":\"a\",\"label\":\"x\",\"more\":1}", 1),
  ])
  func badNDJSONNamesItsLine(body: String, line: Int) async throws {
    let answer = try await upload(body, type: "application/x-ndjson")
    #expect(answer.code == "invalid-row")
    #expect(answer.json?["line"]?.number?.integer == line, "\(answer.text)")
  }

  @Test(arguments: [
    (#"{"prompt":"a"}"#, "completion is missing"), (#"{"completion":"b"}"#, "prompt is missing"),
    (#"{"prompt":"a","completion":""}"#, "completion is empty"),
    (#"{"prompt":1,"completion":"b"}"#, "prompt is"),
    (#"{"prompt":"a","completion":"b","weight":0}"#, "weight"),
    (#"{"prompt":"a","completion":"b","messages":[]}"#, "prompt is not known"),
    (#"{"messages":[]}"#, "messages has 0"), (#"{"messages":{}}"#, "messages is"),
    (#"{"messages":[{"role":"user","content":"a"}]}"#, "no turn of the assistant"),
    (#"{"messages":[{"role":"tool","content":"a"}]}"#, "messages/0/role is not known"),
    (#"{"messages":[{"role":"assistant","content":null}]}"#, "messages/0/content is"),
    (#"{"messages":[{"role":"assistant"}]}"#, "messages/0/content is missing"),
    (#"{"messages":[{"content":"a"}]}"#, "messages/0/role is missing"),
    (#"{"messages":[{"role":"assistant","content":"a","name":"n"}]}"#, "messages/0/name is not known"),
    (#"{"text":"a","label":"b"}"#, "is not known"),
  ])
  func badRowsToWriteNameTheirLine(row: String, detail: String) async throws {
    let good = #"{"messages":[{"role":"assistant","content":"b"}]}"# + "\n"
    let answer = try await upload(good + row, kind: "generation", type: "application/x-ndjson")
    #expect(answer.code == "invalid-row" && answer.json?["line"]?.number?.integer == 2, "\(answer.text)")
    #expect(answer.text.contains(detail), "\(answer.text)")
  }

  @Test func bytesThatAreNotUTF8AreRefusedInBothFormats() async throws {
    let csv = Array("text,label\n".utf8) + [0xff] + Array(",x\n".utf8)
    let json = Array("{\"text\":\"".utf8) + [0xff] + Array("\",\"label\":\"x\"}\n".utf8)
    let target = "/datasets?name=rows&kind=classification"
    #expect(try await handler().send(.post, target, bytes: csv, type: "text/csv").code == "invalid-row")
    #expect(
      try await handler().send(.post, target, bytes: json, type: "application/x-ndjson").code == "invalid-row"
    )
  }

  /// However the stream is cut, the rows are the same.
  @Test func cutsDoNotMatter() throws {
    let csv = Array("\u{feff}\"text\",label\r\n\"é\"\"\r\n😀\",x\r\nb,\"y\"".utf8)
    let json = Array("{\"text\":\"é😀\",\"label\":\"x\"}\r\n\n{\"text\":\"b\",\"label\":\"y\"}".utf8)
    for cut in 0...csv.count {
      var reader = CSVRows(kind: .classification)
      var rows: [TrainingExample] = []
      try reader.receive(Array(csv[..<cut]), into: &rows)
      try reader.receive(Array(csv[cut...]), into: &rows)
      try reader.finish(into: &rows)
      #expect(
        rows == [.classification(text: "é\"\r\n😀", label: "x"), .classification(text: "b", label: "y")],
        "cut \(cut)")
    }
    for cut in 0...json.count {
      var reader = NDJSONRows(kind: .classification)
      var rows: [TrainingExample] = []
      try reader.receive(Array(json[..<cut]), into: &rows)
      try reader.receive(Array(json[cut...]), into: &rows)
      try reader.finish(into: &rows)
      #expect(
        rows == [.classification(text: "é😀", label: "x"), .classification(text: "b", label: "y")],
        "cut \(cut)")
    }
  }

  @Test func rowsLongerThanTheLimitAreRefused() {
    let long = Array(repeating: UInt8(ascii: "a"), count: Limits.rowBytes + 1)
    var csv = CSVRows(kind: .classification)
    var json = NDJSONRows(kind: .classification)
    var rows: [TrainingExample] = []
    #expect(throws: ServingError.self) { try csv.receive(long, into: &rows) }
    #expect(throws: ServingError.self) { try json.receive(long, into: &rows) }
  }

  @Test func emptySetsOtherTypesAndLargeBodiesAreRefused() async throws {
    #expect(try await upload("text,label\n").code == "validation-failed")
    #expect(try await upload("", type: "application/x-ndjson").code == "validation-failed")
    #expect(try await upload("{}", type: "application/json").code == "unsupported-media-type")
    let body = "text,label\na,x\n"
    let exact = handler { $0.datasetBytes = body.utf8.count }
    let small = handler { $0.datasetBytes = body.utf8.count - 1 }
    let target = "/datasets?name=rows&kind=classification"
    #expect(try await exact.send(.post, target, body, type: "text/csv").status == 201)
    #expect(try await small.send(.post, target, body, type: "text/csv").code == "body-too-large")
  }

  @Test func nameAndKindAreAskedFor() async throws {
    let api = handler()
    #expect(try await api.send(.post, "/datasets", "x", type: "text/csv").pointers == ["name", "kind"])
    #expect(
      try await api.send(.post, "/datasets?name=-&kind=x&y=1", "x", type: "text/csv").pointers == [
        "y", "name", "kind",
      ])
  }
}
