internal import ArgumentParser
internal import HTTPClient
internal import HTTPWire

struct AdaptersCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "adapters", abstract: "Tasks and their versions.",
    subcommands: [List.self, Show.self, Activate.self, Rollback.self, Delete.self],
    defaultSubcommand: List.self)

  static func show(_ response: [UInt8]) throws -> String {
    let task = try JSON(bytes: response)
    let names = ["task", "kind", "labels", "active_version", "bytes", "served", "created_at", "created_by"]
    var text = Terminal.record(names.map { ($0, task[$0]) })
    if let versions = task["versions"]?.array, !versions.isEmpty {
      text +=
        "\n\n"
        + Terminal.table(
          ["VERSION", "METHOD", "RANK", "BYTES", "CREATED", "METRICS"],
          versions.map { version in
            [
              version["version"]?.text ?? "-", version["method"]?.text ?? "-", version["rank"]?.text ?? "-",
              Terminal.bytes(version["bytes"]?.int), version["created_at"]?.text ?? "-",
              version["metrics"]?.text ?? "-",
            ]
          })
    }
    return text
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All tasks.")
    @OptionGroup var client: ClientOptions

    func run() throws {
      let items = try client.daemon().items("/adapters")
      if client.json {
        return Terminal.print(String(decoding: try JSON.array(items).encoded(), as: UTF8.self))
      }
      Terminal.print(
        Terminal.table(
          ["TASK", "KIND", "ACTIVE", "VERSIONS", "BYTES", "SERVED", "CREATED"],
          items.map { task in
            [
              task["task"]?.text ?? "-", task["kind"]?.text ?? "-", task["active_version"]?.text ?? "-",
              task["version_count"]?.text ?? "-", Terminal.bytes(task["bytes"]?.int),
              task["served"]?.text ?? "-", task["created_at"]?.text ?? "-",
            ]
          }))
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A task with its versions.")
    @Argument(help: "Name of the task.") var task: String
    @OptionGroup var client: ClientOptions

    func run() throws {
      let answer = try client.daemon().get("/adapters/\(Daemon.escaped(task))")
      Terminal.print(client.json ? answer.text : try AdaptersCommand.show(answer.body))
    }
  }

  struct Activate: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Moves a task to one of its versions.")
    @Argument(help: "Name of the task.") var task: String
    @Argument(help: "Number of the version.") var version: Int
    @Option(help: "Only where this version is active now.") var expected: Int?
    @OptionGroup var client: ClientOptions

    func run() throws {
      var body: [String: JSON] = ["version": .int(version)]
      if let expected { body["expected"] = .int(expected) }
      let answer = try client.daemon().post("/adapters/\(Daemon.escaped(task))/activate", .object(body))
      Terminal.print(client.json ? answer.text : try AdaptersCommand.show(answer.body))
    }
  }

  struct Rollback: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Moves a task back to its version before.")
    @Argument(help: "Name of the task.") var task: String
    @OptionGroup var client: ClientOptions

    func run() throws {
      let answer = try client.daemon().post("/adapters/\(Daemon.escaped(task))/rollback")
      Terminal.print(client.json ? answer.text : try AdaptersCommand.show(answer.body))
    }
  }

  struct Delete: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Deletes a task, or one version of it.")
    @Argument(help: "Name of the task.") var task: String
    @Option(help: "Delete this version alone.") var version: Int?
    @OptionGroup var client: ClientOptions

    func run() throws {
      let path = "/adapters/\(Daemon.escaped(task))" + (version.map { "/versions/\($0)" } ?? "")
      _ = try client.daemon().send(.delete, path)
    }
  }
}
