internal import ArgumentParser
internal import HTTPClient
internal import HTTPWire

struct SubspaceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subspace", abstract: "Shared subspaces.",
    subcommands: [List.self, Show.self, Create.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All subspaces.")
    @OptionGroup var client: ClientOptions

    func run() throws {
      let items = try client.daemon().items("/subspaces")
      if client.json {
        return Terminal.print(String(decoding: try JSON.array(items).encoded(), as: UTF8.self))
      }
      Terminal.print(
        Terminal.table(
          ["SUBSPACE", "NAME", "SOURCE", "SCOPE", "RANK", "DEFAULT", "BYTES", "CREATED"],
          items.map { item in
            [
              item["id"]?.text ?? "-", item["name"]?.text ?? "-", item["source"]?.text ?? "-",
              item["scope"]?.text ?? "-", item["rank"]?.text ?? "-", item["default"]?.text ?? "-",
              Terminal.bytes(item["bytes"]?.int), item["created_at"]?.text ?? "-",
            ]
          }))
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A subspace, site by site.")
    @Argument(help: "Id, name or digest.") var subspace: String
    @OptionGroup var client: ClientOptions

    func run() throws {
      let answer = try client.daemon().get("/subspaces/\(Daemon.escaped(subspace))")
      if client.json { return Terminal.print(answer.text) }
      let value = try JSON(bytes: answer.body)
      let names = [
        "id", "name", "digest", "base", "source", "scope", "center", "rank", "default", "bytes", "created_at",
        "created_by",
      ]
      Terminal.print(Terminal.record(names.map { ($0, value[$0]) }) + "\n")
      Terminal.print(
        Terminal.table(
          ["SITE", "OUTPUTS", "RANK", "ENERGY KEPT"],
          (value["sites"]?.array ?? []).map { site in
            ["name", "outputs", "rank", "energy_kept"].map { site[$0]?.text ?? "-" }
          }))
    }
  }

  struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Starts the job that makes a subspace.")
    @Argument(help: "Name of the subspace.") var name: String
    @Option(help: "weights, deltas, adapters or random.") var source = "weights"
    @Option(name: .customLong("checkpoint"), help: "A checkpoint by its name in the daemon; repeatable.")
    var checkpoints: [String] = []
    @Option(name: .customLong("from"), help: "TASK@VERSION; repeatable.") var versions: [String] = []
    @Option(help: "site, layer_qkv or global.") var scope: String?
    @Option(help: "Columns of B at each site.") var rank: Int?
    @Option(help: "Of the source random.") var seed: Int?
    @Flag(help: "Take the mean off before the factorisation.") var center = false
    @Flag(name: .customLong("default"), help: "New versions use it from now on.") var makeDefault = false
    @Flag(help: "Follow the job to its end.") var wait = false
    @OptionGroup var follow: FollowOptions
    @OptionGroup var client: ClientOptions

    func run() throws {
      let daemon = try client.daemon()
      var body: [String: JSON] = ["name": .string(name), "source": .string(source)]
      if !checkpoints.isEmpty { body["checkpoints"] = .array(checkpoints.map { .string($0) }) }
      if !versions.isEmpty { body["versions"] = .array(versions.map { .string($0) }) }
      if let scope { body["scope"] = .string(scope) }
      if let rank { body["rank"] = .int(rank) }
      if let seed { body["seed"] = .int(seed) }
      if center { body["center"] = .bool(true) }
      if makeDefault { body["default"] = .bool(true) }
      let answer = try daemon.post("/subspaces", .object(body))
      let job = try JSON(bytes: answer.body)
      let id = job["id"]?.string ?? ""
      if wait { return try JobFollower(daemon: daemon, options: follow).finish(id, json: client.json) }
      Terminal.print(client.json ? answer.text : "\(id) \(job["state"]?.text ?? "")")
    }
  }
}
