internal import ArgumentParser
internal import HTTPClient
internal import HTTPWire

struct InferCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "infer", abstract: "Answers texts with a task; lines of the input where none is given.")

  @Argument(help: "Name of the task, or base.") var task: String
  @Argument(help: "Texts.") var texts: [String] = []
  @Option(help: "Labels to list.") var topK: Int?
  @Option(help: "A version other than the active one.") var version: Int?
  @Option(help: "error or end.") var truncate: String?
  @OptionGroup var client: ClientOptions

  /// Lines of the input that one request takes.
  private static let batch = 64

  func run() throws {
    let daemon = try client.daemon()
    if !texts.isEmpty { return try answer(texts, daemon) }
    var lines: [String] = []
    while let line = readLine() {
      lines.append(line)
      if lines.count == Self.batch {
        try answer(lines, daemon)
        lines.removeAll()
      }
    }
    if !lines.isEmpty { try answer(lines, daemon) }
  }

  private func answer(_ texts: [String], _ daemon: Daemon) throws {
    var body: [String: JSON] = ["inputs": .array(texts.map { .string($0) })]
    var parameters: [String: JSON] = [:]
    if let topK { parameters["top_k"] = .int(topK) }
    if let version { parameters["version"] = .int(version) }
    if let truncate { parameters["truncate"] = .string(truncate) }
    if !parameters.isEmpty { body["parameters"] = .object(parameters) }
    let response = try daemon.post("/adapters/\(Daemon.escaped(task))/infer", .object(body))
    if client.json { return Terminal.print(response.text) }
    let result = try JSON(bytes: response.body)
    for (index, prediction) in (result["predictions"]?.array ?? []).enumerated() {
      Terminal.print(Self.line(prediction, isListed: topK != nil) + "\t" + texts[index])
    }
    for output in result["outputs"]?.array ?? [] { Terminal.print(output["text"]?.text ?? "") }
    for embedding in result["embeddings"]?.array ?? [] {
      Terminal.print((embedding.array ?? []).compactMap { $0.double.map { "\($0)" } }.joined(separator: " "))
    }
  }

  static func line(_ prediction: JSON, isListed: Bool) -> String {
    if let value = prediction["value"] { return value.text }
    if isListed || prediction["label"] == nil, let scores = prediction["scores"]?.array, isListed {
      return scores.map { "\($0["label"]?.text ?? "") \($0["score"]?.text ?? "")" }.joined(separator: ", ")
    }
    if let labels = prediction["labels"] { return labels.text }
    return "\(prediction["label"]?.text ?? "-")\t\(prediction["score"]?.text ?? "-")"
  }
}
