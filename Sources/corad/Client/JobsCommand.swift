internal import ArgumentParser
internal import HTTPClient
internal import HTTPWire

struct JobsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "jobs", abstract: "Training and subspace jobs.",
    subcommands: [List.self, Show.self, Watch.self, Cancel.self, Pause.self, Resume.self],
    defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All jobs.")
    @Option(help: "queued, running, paused, succeeded, failed or cancelled.") var state: String?
    @Option(help: "Jobs of this task alone.") var task: String?
    @OptionGroup var client: ClientOptions

    func run() throws {
      var query: [String] = []
      if let state { query.append("state=" + Daemon.escaped(state)) }
      if let task { query.append("task=" + Daemon.escaped(task)) }
      let path = "/jobs" + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
      let items = try client.daemon().items(path)
      if client.json {
        return Terminal.print(String(decoding: try JSON.array(items).encoded(), as: UTF8.self))
      }
      Terminal.print(
        Terminal.table(
          ["JOB", "TYPE", "STATE", "TASK", "PROGRESS", "LOSS", "VERSION", "CREATED"],
          items.map { job in
            [
              job["id"]?.text ?? "-", job["type"]?.text ?? "-", job["state"]?.text ?? "-",
              job["task"]?.text ?? "-", job["progress"]?.double.map { "\(Int($0 * 100))%" } ?? "-",
              job["loss"]?.text ?? "-", job["version"]?.text ?? "-", job["created_at"]?.text ?? "-",
            ]
          }))
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A job as it stands.")
    @Argument(help: "Id of the job.") var job: String
    @OptionGroup var client: ClientOptions

    func run() throws {
      let answer = try client.daemon().get("/jobs/\(Daemon.escaped(job))")
      Terminal.print(client.json ? answer.text : try JobsCommand.show(answer.body))
    }
  }

  struct Watch: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Follows a job to its end.")
    @Argument(help: "Id of the job.") var job: String
    @OptionGroup var follow: FollowOptions
    @OptionGroup var client: ClientOptions

    func run() throws {
      try JobFollower(daemon: client.daemon(), options: follow).finish(job, json: client.json)
    }
  }

  struct Cancel: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Ends a job without a version.")
    @Argument(help: "Id of the job.") var job: String
    @OptionGroup var client: ClientOptions
    func run() throws { try JobsCommand.move(job, "cancel", client) }
  }

  struct Pause: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Checkpoints a job and lets it rest.")
    @Argument(help: "Id of the job.") var job: String
    @OptionGroup var client: ClientOptions
    func run() throws { try JobsCommand.move(job, "pause", client) }
  }

  struct Resume: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Queues a paused job again.")
    @Argument(help: "Id of the job.") var job: String
    @OptionGroup var client: ClientOptions
    func run() throws { try JobsCommand.move(job, "resume", client) }
  }

  static func move(_ job: String, _ verb: String, _ client: ClientOptions) throws {
    let answer = try client.daemon().post("/jobs/\(Daemon.escaped(job))/\(verb)")
    Terminal.print(client.json ? answer.text : JobFollower.summary(try JSON(bytes: answer.body)))
  }

  static func show(_ response: [UInt8]) throws -> String {
    let job = try JSON(bytes: response)
    let names = [
      "id", "type", "state", "task", "method", "progress", "epoch", "step", "steps", "loss",
      "examples_per_second", "seconds_left", "metrics", "version", "subspace", "error", "settings",
      "created_at", "started_at", "finished_at", "created_by",
    ]
    return Terminal.record(names.compactMap { name in job[name].map { (name, $0) } })
  }
}
