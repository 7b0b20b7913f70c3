internal import ArgumentParser
internal import Foundation
internal import HTTPClient
internal import HTTPWire

struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Trains a version of a task from a file of rows.")

  @Argument(help: "Name of the task.") var task: String
  @Option(help: "Rows as NDJSON or CSV (by the name's end).") var data: String?
  @Option(help: "A data set that the daemon has already.") var dataset: String?
  @Option(
    help:
      "classification, multilabel, regression, embedding or generation; told from the first row where it can be."
  )
  var kind: String?
  @Option(help: "cora (shared B, the task's A is trained), cora-init (both are) or lora.") var method: String?
  @Option(help: "Id, name or digest of the shared B; default where it is not given.") var subspace: String?
  @Option(help: "Columns of B that the task uses (8).") var rank: Int?
  @Option(help: "The update is scaled by alpha/rank (16).") var alpha: Double?
  @Option(
    help:
      "Comma-separated: query,key,value,attention.output,intermediate,output; on a decoder q_proj,… too; attention, feed_forward or all (query,value; to write, all)."
  )
  var sites: String?
  @Option(help: "Times that each row is seen (3).") var epochs: Int?
  @Option(help: "Rows of an optimiser step (32; to write, 8).") var batchSize: Int?
  @Option(help: "Largest rate of A.") var learningRate: Double?
  @Option(help: "Largest rate of the head.") var headLearningRate: Double?
  @Option(help: "Largest rate of B, where the method trains it (that of A).") var basisLearningRate: Double?
  @Option(help: "How the rate moves after warm-up: linear, cosine or constant.") var schedule: String?
  @Option(help: "Share of the steps until the rate is at its largest (0.06).") var warmup: Double?
  @Option(help: "Decoupled weight decay (0).") var weightDecay: Double?
  @Option(help: "Bound on the gradient's norm (1); 0 for none.") var clipNorm: Double?
  @Option(help: "Share of the hidden values that a step leaves out.") var dropout: Double?
  @Option(help: "Tokens of a text (128; to write, 512); the rest is cut off.") var maxLength: Int?
  @Option(help: "Share of the rows kept for validation (0.1).") var validation: Double?
  @Option(help: "The same seed, rows and settings give the same version.") var seed: Int?
  @Option(help: "mean, last or cls (mean; on a decoder last, but for embeddings).") var pooling: String?
  @Option(help: "Dense layer of the head: none, pooler (from the base) or fresh.") var headDense: String?
  @Option(help: "Similarities of embeddings are divided by it (0.05).") var temperature: Double?
  @Flag(
    inversion: .prefixedNo,
    help: "Compute layers again in the backward pass: less memory, more work. On to write, else off.")
  var recompute: Bool?
  @Option(help: "always, if_better or never.") var activate: String?
  @Option(help: "TASK@VERSION to start from.") var from: String?
  @Option(help: "The same key makes the same job once.") var idempotencyKey: String?
  @Flag(help: "Follow the job to its end.") var wait = false
  @OptionGroup var follow: FollowOptions
  @OptionGroup var client: ClientOptions

  /// Bytes of a file above which it is uploaded as a data set of its own.
  static let inlineBytes = 1 << 20

  func validate() throws {
    guard (data == nil) != (dataset == nil) else {
      throw ValidationError("Give either --data FILE or --dataset ID.")
    }
  }

  func run() throws {
    let daemon = try client.daemon()
    var fields: [(String, String)] = []
    if let idempotencyKey { fields.append(("Idempotency-Key", idempotencyKey)) }
    let answer = try daemon.send(.post, "/train", fields: fields, body: body(daemon))
    let job = try JSON(bytes: answer.body)
    let id = job["id"]?.string ?? ""
    if wait {
      if !client.json { Terminal.complain("job \(id)") }
      return try JobFollower(daemon: daemon, options: follow).finish(id, json: client.json)
    }
    Terminal.print(client.json ? answer.text : "\(id) \(job["state"]?.text ?? "")")
  }

  private func body(_ daemon: Daemon) throws -> [UInt8] {
    var settings = settings
    if let dataset {
      settings["data"] = .object(["dataset": .string(dataset)])
      return try JSON.object(settings).encoded()
    }
    guard let data else { return [] }
    let rows = try RowFile(data)
    let kind = kind ?? rows.kind
    if let kind { settings["kind"] = .string(kind) }
    if rows.isCSV || rows.bytes > Self.inlineBytes {
      guard let kind else { throw ValidationError("Give --kind: the first row does not tell it.") }
      let query = "name=\(Daemon.escaped(task))&kind=\(Daemon.escaped(kind))"
      let answer = try daemon.upload("/datasets?" + query, type: rows.mediaType, next: rows.pieces())
      let made = try JSON(bytes: answer.body)
      Terminal.complain("data set \(made["id"]?.text ?? "") \(made["rows"]?.text ?? "?") rows")
      settings["data"] = .object(["dataset": made["id"] ?? .null])
      return try JSON.object(settings).encoded()
    }
    // The rows go as they stand in the file: their numbers and escapes are the daemon's to read.
    var bytes = try JSON.object(settings).encoded()
    bytes.removeLast()
    bytes += Array(",\"data\":{\"examples\":[".utf8)
    for (index, line) in try rows.lines().enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      bytes += line
    }
    return bytes + Array("]}}".utf8)
  }

  private var settings: [String: JSON] {
    var settings: [String: JSON] = ["task": .string(task)]
    let texts = [
      "method": method, "subspace": subspace, "schedule": schedule, "pooling": pooling,
      "head_dense": headDense, "activate": activate, "from": from,
    ]
    let numbers = [
      "alpha": alpha, "learning_rate": learningRate, "head_learning_rate": headLearningRate,
      "basis_learning_rate": basisLearningRate, "warmup": warmup, "weight_decay": weightDecay,
      "clip_norm": clipNorm, "dropout": dropout, "validation": validation, "temperature": temperature,
    ]
    let wholes = [
      "rank": rank, "epochs": epochs, "batch_size": batchSize, "max_length": maxLength, "seed": seed,
    ]
    for (name, value) in texts { if let value { settings[name] = .string(value) } }
    for (name, value) in numbers { if let value { settings[name] = .number(value) } }
    for (name, value) in wholes { if let value { settings[name] = .int(value) } }
    if let recompute { settings["recompute"] = .bool(recompute) }
    if let sites {
      settings["sites"] = .array(sites.split(separator: ",").map { .string(String($0)) })
    }
    return settings
  }
}
