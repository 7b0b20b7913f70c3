import Foundation
import HTTPClient
import Testing

@testable import API

/// OpenAI's routes on the real binary: every operation, and every code that they document.
enum OpenAISteps {
  private static let formType = "multipart/form-data; boundary=bb"

  private static func form(_ rows: [String], purpose: String = "fine-tune") -> String {
    "--bb\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\n\(purpose)\r\n"
      + "--bb\r\nContent-Disposition: form-data; name=\"file\"; filename=\"parcels.jsonl\"\r\n\r\n"
      + rows.joined(separator: "\n") + "\r\n--bb--\r\n"
  }

  static func all(_ trial: Trial, _ rows: [String]) throws {
    let file = try files(trial, rows)
    try jobs(trial, file)
    try models(trial)
    try refusals(trial, file)
    try trial.call("deleteFile", "/v1/files/\(file)")
    try trial.refused(.datasetNotFound, "getFile", "/v1/files/\(file)")
  }

  private static func files(_ trial: Trial, _ rows: [String]) throws -> String {
    let made = try trial.call("createFile", "/v1/files", form(rows), type: formType)
    #expect(made["filename"]?.string == "parcels.jsonl" && made["rows"]?.number?.integer == rows.count)
    let id = made["id"]?.string ?? ""
    let list = try trial.call("listFiles", "/v1/files?purpose=fine-tune&limit=1")
    #expect(list["data"]?.array?.first?["id"]?.string == id)
    #expect(try trial.call("listFiles", "/v1/files?purpose=batch")["data"]?.array?.isEmpty == true)
    #expect(try trial.call("getFile", "/v1/files/\(id)") == made)
    let content = try trial.send("getFileContent", "/v1/files/\(id)/content", nil, [], "")
    let read = try content.text.split(separator: "\n").map { try JSONReader.read(Array($0.utf8)) }
    #expect(read == (try rows.map { try JSONReader.read(Array($0.utf8)) }))
    try trial.call("getFileContent", "/v1/files/\(id)/content")
    return id
  }

  private static func order(_ file: String, _ more: String = "") -> String {
    #"{"model":"base","training_file":"\#(file)"\#(more)}"#
  }

  private static func jobs(_ trial: Trial, _ file: String) throws {
    let route = "/v1/fine_tuning/jobs"
    let made = try trial.call(
      "createFineTuningJob", route, order(file, #","seed":3,"hyperparameters":{"n_epochs":2}"#))
    let id = made["id"]?.string ?? ""
    #expect(made["hyperparameters"]?["learning_rate_multiplier"]?.number?.double == 1)
    while !Trial.hasEnded(try trial.call("getJob", "/jobs/\(id)")) { usleep(5_000) }
    let done = try trial.call("getFineTuningJob", "\(route)/\(id)")
    #expect(done["fine_tuned_model"]?.string == "parcels@1" && done["seed"]?.number?.integer == 3)
    let events = try trial.call("listFineTuningEvents", "\(route)/\(id)/events?limit=100")
    let messages = events["data"]?.array?.compactMap { $0["message"]?.string } ?? []
    #expect(messages.first == "The job is succeeded." && messages.last == "The job is queued.")
    let times = events["data"]?.array?.compactMap { $0["created_at"]?.number?.integer } ?? []
    #expect(times == times.sorted(by: >) && times.last ?? 0 >= made["created_at"]?.number?.integer ?? .max)
    #expect(
      try trial.call("listFineTuningCheckpoints", "\(route)/\(id)/checkpoints")["data"]?.array?.isEmpty
        == true)

    let key = [("Idempotency-Key", "v1")]
    let body = order(file, #","suffix":"slow","hyperparameters":{"n_epochs":1000}"#)
    let long = try trial.call("createFineTuningJob", route, body, key)["id"]?.string ?? ""
    #expect(try trial.call("createFineTuningJob", route, body, key)["id"]?.string == long)
    try trial.refused(.idempotencyConflict, "createFineTuningJob", route, order(file), key)
    try trial.refused(.inUse, "deleteFile", "/v1/files/\(file)")
    #expect(try trial.call("pauseFineTuningJob", "\(route)/\(long)/pause")["status"]?.string == "paused")
    // What it goes on from is kept.
    let kept = try trial.call("listFineTuningCheckpoints", "\(route)/\(long)/checkpoints?limit=1")
    if let checkpoint = kept["data"]?.array?.first {
      #expect(checkpoint["fine_tuning_job_id"]?.string == long)
      #expect(checkpoint["created_at"]?.number?.integer ?? 0 >= made["created_at"]?.number?.integer ?? .max)
    }
    let resumed = try trial.call("resumeFineTuningJob", "\(route)/\(long)/resume")["status"]?.string
    #expect(resumed == "queued" || resumed == "running")
    #expect(
      try trial.call("cancelFineTuningJob", "\(route)/\(long)/cancel")["status"]?.string == "cancelled")
    try trial.refused(.jobState, "resumeFineTuningJob", "\(route)/\(long)/resume")
    let list = try trial.call("listFineTuningJobs", "\(route)?limit=1")
    #expect(list["data"]?.array?.first?["id"]?.string == long && list["has_more"]?.bool == true)
    try trial.call("listFineTuningJobs", "\(route)?after=\(long)")
    try trial.refused(.jobNotFound, "getFineTuningJob", "\(route)/none")
    // A job that trains nothing is not of this list.
    let subspace = try trial.call(
      "createSubspace", "/subspaces", #"{"name": "v1", "source": "random", "rank": 2}"#, status: 202)
    try trial.refused(.jobNotFound, "getFineTuningJob", "\(route)/\(subspace["id"]?.string ?? "")")
    _ = try trial.job(subspace["id"]?.string ?? "")
  }

  private static func models(_ trial: Trial) throws {
    let list = try trial.call("listModels", "/v1/models")
    let ids = list["data"]?.array?.compactMap { $0["id"]?.string } ?? []
    #expect(ids.first == "base" && ids.contains("parcels") && ids.contains("tickets"))
    #expect(try trial.call("getModel", "/v1/models/parcels@1")["root"]?.string == "base")
    try trial.refused(.taskNotFound, "getModel", "/v1/models/none")
    try trial.refused(.versionNotFound, "getModel", "/v1/models/parcels@9")
    try trial.refused(.inUse, "deleteModel", "/v1/models/parcels@1")
    #expect(try trial.call("deleteModel", "/v1/models/parcels")["deleted"]?.bool == true)
    let embeddings = try trial.call(
      "createEmbeddings", "/v1/embeddings", #"{"model":"base","input":["a","b"],"encoding_format":"float"}"#)
    let vector = embeddings["data"]?.array?.last?["embedding"]?.floats ?? []
    #expect(vector.count == 384 && abs(vector.reduce(0) { $0 + $1 * $1 } - 1) < 1e-3)
    try trial.call(
      "createEmbeddings", "/v1/embeddings", #"{"model":"base","input":"a","encoding_format":"base64"}"#)
  }

  private static func refusals(_ trial: Trial, _ file: String) throws {
    let route = "/v1/embeddings"
    let id = "createEmbeddings"
    try trial.refused(.notFound, "listModels", "/v1/nothing")
    try trial.refused(.methodNotAllowed, "listModels", "/v1/embeddings")
    try trial.refused(.malformedJSON, id, route, "{")
    try trial.refused(.unsupportedMediaType, id, route, "{}", type: "text/plain")
    try trial.refused(.invalidUnicode, id, route, #"{"model":"base","input":"\ud800"}"#)
    let wrong = try trial.refused(.validationFailed, id, route, #"{"model":"tickets","input":"a"}"#)
    #expect(wrong["param"]?.string == "/model")
    let text = String(repeating: "word ", count: 400)
    let long = try trial.refused(.textTooLong, id, route, #"{"model":"base","input":["a","\#(text)"]}"#)
    #expect(long["param"]?.string == "/input/1" && long["limit"]?.number?.integer == 256)
    let most = Array(repeating: "\"\(String(repeating: "word ", count: 200))\"", count: 64)
    try trial.refused(
      .deadlineExceeded, id, route, #"{"model":"base","input":[\#(most.joined(separator: ","))]}"#,
      [("X-Request-Timeout", "1")])
    let full = Array(repeating: #""x""#, count: 65).joined(separator: ",")
    try trial.refused(.overloaded, id, route, #"{"model":"base","input":[\#(full)]}"#)
    try trial.refused(
      .requestTimeout,
      raw:
        "POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
      as: id)
    try trial.refused(
      .bodyTooLarge, "createFineTuningJob", "/v1/fine_tuning/jobs", String(repeating: " ", count: 300 << 10))
    try trial.refused(
      .invalidRow, "createFile", "/v1/files", form([#"{"prompt":"a"}"#]), type: formType)
    try trial.refused(.malformedRequest, "createFile", "/v1/files", "--bb\r\n", type: formType)
    for (operation, path, body) in [
      ("createCompletion", "/v1/completions", #"{"model":"base","prompt":"a","stream":true}"#),
      (
        "createChatCompletion", "/v1/chat/completions",
        #"{"model":"tickets","messages":[{"role":"user","content":"a"}]}"#
      ),
    ] {
      try trial.refused(.notImplemented, operation, path, body)
      let unknown = body.replacingOccurrences(
        of: #""(base|tickets)""#, with: #""none""#, options: .regularExpression)
      try trial.refused(.taskNotFound, operation, path, unknown)
    }
  }

  /// What a damaged or foreign store gives.
  static func damaged(_ trial: Trial) throws {
    for (task, code) in [
      ("garbled", ProblemCode.invalidAdapter), ("foreign", .baseMismatch), ("swapped", .internal),
    ] {
      try trial.refused(
        code, "createEmbeddings", "/v1/embeddings", #"{"model":"\#(task)","input":"a"}"#)
    }
  }

  /// An upload that the store does not take.
  static func upload(_ trial: Trial, _ rows: [String], refused code: ProblemCode) throws {
    try trial.refused(code, "createFile", "/v1/files", form(rows), type: formType)
  }
}
