internal import ArgumentParser
internal import Foundation
internal import HTTPClient
internal import HTTPWire

/// Shows a job as it moves: one live line for a person, a line an event for a log.
struct JobFollower {
  let daemon: Daemon
  let isQuiet: Bool

  /// Follows the job to its end.
  ///
  /// - Returns: the job as it ended.
  /// - Throws: an exit code.
  func follow(_ id: String) throws -> JSON {
    let isLive = Terminal.isInteractive
    var steps = 0
    try daemon.events("/jobs/\(Daemon.escaped(id))/events") { event in
      if event.event == "error" {
        // The stream ends for a reason of the daemon's, not of the job's: its state is asked for below.
        Terminal.complain((isLive ? "\r\u{1b}[K" : "") + "corad: " + Daemon.problem(500, event.data))
        return true
      }
      guard !isQuiet, let data = try? JSON(bytes: event.data) else { return true }
      steps = data["steps"]?.int ?? steps
      let line = Self.line(event.event ?? "event", data, steps: steps)
      if isLive, event.event == "step" || data["step"] != nil, data["metrics"] == nil {
        Terminal.progress("\r\u{1b}[K" + line)
      } else {
        Terminal.progress((isLive ? "\r\u{1b}[K" : "") + line + "\n")
      }
      return true
    }
    return try JSON(bytes: daemon.get("/jobs/\(Daemon.escaped(id))").body)
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
