internal import ArgumentParser
internal import Foundation
internal import HTTPClient
internal import HTTPWire

/// How a job is followed.
struct FollowOptions: ParsableArguments {
  @Option(
    help: "Seconds to wait for a daemon that goes away while a job is followed: it takes its jobs up again.")
  var patience = 60
}

/// Shows a job as it moves: one live line for a person, a line an event for a log.
struct JobFollower {
  let daemon: Daemon
  let options: FollowOptions

  /// Follows the job to its end. Where the daemon goes away, the stream goes on after the last event when it is back.
  ///
  /// - Returns: the job as it ended.
  /// - Throws: an exit code.
  func follow(_ id: String) throws -> JSON {
    let path = "/jobs/\(Daemon.escaped(id))"
    let patience = Duration.seconds(options.patience)
    var steps = 0
    var last: String?
    var lostAt: ContinuousClock.Instant?
    while true {
      var answer: ClientResponse?
      // A stream that ends before the job does.
      var failure = ClientError.connectionLost(code: 0)
      do throws(ClientError) {
        try daemon.http.events(path + "/events", lastEventID: last, retries: 0) { event in
          show(event, &steps)
          if event.event != "error" { (last, lostAt) = (event.id ?? last, nil) }
          return true
        }
        answer = try daemon.checked(try daemon.http.send(.get, path))
      } catch {
        failure = error
      }
      if let job = try answer.map({ try JSON(bytes: $0.body) }), Self.hasEnded(job) { return job }
      let since = lostAt ?? .now
      guard last != nil, Self.mayPass(failure), ContinuousClock.now - since < patience else {
        throw Daemon.failure(failure, daemon.address)
      }
      if lostAt == nil {
        note("corad: the stream of \(daemon.address) broke off; it is asked again for \(options.patience) s")
      }
      lostAt = since
      Thread.sleep(forTimeInterval: 0.2)
    }
  }

  private static func hasEnded(_ job: JSON) -> Bool {
    ["succeeded", "failed", "cancelled"].contains(job["state"]?.string)
  }

  /// Whether a daemon that starts again, or a proxy before it, may have failed so.
  private static func mayPass(_ error: ClientError) -> Bool {
    switch error {
    case .unreachable, .connectionLost, .malformedAnswer(.peerGone),
      .malformedAnswer(.malformed(.truncatedBody, _)), .refusedStream(502...504, _):
      true
    case .invalidURL, .unresolvedHost, .timeout, .tls, .malformedAnswer, .refusedStream: false
    }
  }

  private func show(_ event: ServerSentEvent, _ steps: inout Int) {
    if event.event == "error" {
      // The stream ends for a reason of the daemon's, not of the job's: its state is asked for next.
      return note("corad: " + Daemon.problem(500, event.data))
    }
    guard let data = try? JSON(bytes: event.data) else { return }
    steps = data["steps"]?.int ?? steps
    let line = Self.line(event.event ?? "event", data, steps: steps)
    if Terminal.isInteractive, event.event == "step" || data["step"] != nil, data["metrics"] == nil {
      Terminal.progress("\r\u{1b}[K" + line)
    } else {
      note(line)
    }
  }

  /// A line of its own, in place of the live one.
  private func note(_ line: String) {
    Terminal.complain((Terminal.isInteractive ? "\r\u{1b}[K" : "") + line)
  }

  /// Follows, prints the end and turns it into the command's exit.
  func finish(_ id: String, json: Bool) throws {
    let job = try follow(id)
    if json {
      Terminal.print(String(decoding: try job.encoded(), as: UTF8.self))
    } else {
      Terminal.print(Self.summary(job))
    }
    if job["state"]?.string != "succeeded" { throw Exit.failed }
  }

  static func line(_ kind: String, _ data: JSON, steps: Int) -> String {
    if let state = data["state"]?.string { return state }
    var parts: [String] = []
    if let step = data["step"]?.int, steps > 0 {
      parts.append(bar(Double(step) / Double(steps)) + " \(step)/\(steps)")
    } else if let progress = data["progress"]?.double {
      parts.append(bar(progress))
    } else {
      return kind + "  " + data.text
    }
    for name in ["epoch", "loss", "examples_per_second", "seconds_left", "metrics"] {
      if let value = data[name] { parts.append("\(name) \(value.text)") }
    }
    return parts.joined(separator: "  ")
  }

  /// `[#######.............]  35%`
  static func bar(_ share: Double, width: Int = 20) -> String {
    let share = min(max(share, 0), 1)
    let full = Int(share * Double(width))
    let percent = String(format: "%3.0f%%", share * 100)
    return "[" + String(repeating: "#", count: full) + String(repeating: ".", count: width - full) + "] "
      + percent
  }

  static func summary(_ job: JSON) -> String {
    var text = "\(job["id"]?.text ?? "") \(job["state"]?.text ?? "")"
    if let task = job["task"] { text += " \(task.text)" }
    if let version = job["version"] { text += "@\(version.text)" }
    if let subspace = job["subspace"], job["type"]?.string == "subspace" { text += " \(subspace.text)" }
    if let metrics = job["metrics"] { text += "  \(metrics.text)" }
    if let error = job["error"] { text += "\n  \(error["code"]?.text ?? ""): \(error["detail"]?.text ?? "")" }
    return text
  }
}
