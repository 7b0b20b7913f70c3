internal import API
internal import ArgumentParser
internal import CContract
internal import Configuration
internal import Foundation
internal import HTTPServer
internal import Logging
internal import ServiceLifecycle
internal import Serving

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Runs the daemon.",
    discussion: "Flags come before the environment (CORAD_STORE for --store), the file and the defaults.")

  @Option(help: "Folder of the base: config.json, model.safetensors, tokenizer.json.") var model: String?
  @Option(
    help:
      "What the base's weights are held as: \(ServingConfiguration.weightFormats.joined(separator: ", ")).")
  var weights: String?
  @Flag(
    inversion: .prefixedNo,
    help: "Check at start that no answer depends on what is computed beside it: always so, and free.")
  var deterministic: Bool?
  @Option(help: "Database file; made where it is missing.") var store: String?
  @Option(help: "HOST:PORT or unix:PATH; repeatable.") var listen: [String] = []
  @Option(help: "File whose first line is the bearer key to ask for.") var apiKeyFile: String?
  @Option(help: "PEM file, leaf first.") var tlsCertificate: String?
  @Option(help: "PEM file without a passphrase.") var tlsKey: String?
  @Option(name: .customLong("checkpoint"), help: "NAME=DIR: a checkpoint for subspaces; repeatable.")
  var checkpoints: [String] = []
  @Option(help: "/prefix before every path.") var basePath: String?
  @Option(name: .customLong("trusted-proxy"), help: "Address whose Forwarded is believed; repeatable.")
  var trustedProxies: [String] = []
  @Option(help: "Bytes of resident adapters.") var cacheBytes: Int?
  @Option(help: "Bytes of resident subspaces beside the default one.") var subspaceCacheBytes: Int?
  @Option(help: "Bytes of keys and values of the texts that a decoder writes.") var kvCacheBytes: Int?
  @Option(help: "Compute lanes; 0: one per core.") var lanes: Int?
  @Option(help: "Event loops; 0: one per core.") var loops: Int?
  @Option(help: "Rows that may wait.") var queueRows: Int?
  @Option(help: "Jobs that may wait.") var queueJobs: Int?
  @Option(help: "Tokens of a batch.") var batchTokens: Int?
  @Option(name: .customLong("request-timeout-ms"), help: "The longest that a request may take.")
  var requestTimeout: Int?
  @Option(name: .customLong("writing-timeout-ms"), help: "The longest that writing a text may take.")
  var writingTimeout: Int?
  @Option(name: .customLong("drain-timeout-ms"), help: "Grace of answers in flight at a stop.")
  var drainTimeout: Int?
  @Option(help: "Optimiser steps between two checkpoints of a job.") var checkpointSteps: Int?
  @Option(help: "Bytes of a request's head.") var headBytes: Int?
  @Option(help: "Bytes of a request's body.") var bodyBytes: Int?
  @Option(help: "Connections at once.") var connections: Int?
  @Option(name: .customLong("idle-timeout-ms"), help: "Between two requests of a connection.")
  var idleTimeout: Int?
  @Option(name: .customLong("head-timeout-ms"), help: "Until a request's head is there.")
  var headTimeout: Int?
  @Option(name: .customLong("body-timeout-ms"), help: "Between two pieces of a body.")
  var bodyTimeout: Int?
  @Option(name: .customLong("write-timeout-ms"), help: "A reader that takes nothing for so long is let go.")
  var writeTimeout: Int?
  @Option(help: "trace, debug, info, notice, warning, error or critical.") var logLevel: String?
  @Option(help: "JSON file of the same keys.") var config: String?
  @Flag(help: "Print the values that hold and end.") var printConfig = false

  func run() async throws {
    let values: DaemonConfiguration
    do {
      values = try DaemonConfiguration.load(
        flags: flags, environment: ProcessInfo.processInfo.environment, file: config)
      if printConfig { return Terminal.print(try values.text()) }
    } catch let error as ConfigurationFault {
      throw complaint(error)
    }
    try await serve(values)
  }

  private func serve(_ values: DaemonConfiguration) async throws {
    let serving: ServingConfiguration
    let server: HTTPServerConfiguration
    let api: APIConfiguration
    let level: Logger.Level
    do {
      (serving, server, api) = (try values.serving(), try values.server(), try values.api())
      guard let named = Logger.Level(rawValue: values.logLevel) else {
        throw ConfigurationFault(key: "log_level", detail: "is no level: \(values.logLevel)")
      }
      level = named
    } catch let error as ConfigurationFault {
      throw complaint(error)
    }
    let signals = StopSignals()
    var log = Logger(label: "corad") { LogLines(label: $0) }
    log.logLevel = level
    let node: Node
    do throws(ServingError) {
      node = try await Node.open(serving, log: log) { signals.isStopping }
    } catch {
      if signals.isStopping { return log.info("stopped before it was ready") }
      Terminal.complain("corad: " + Doctor.sentence(error))
      throw Exit.failed
    }
    if signals.isStopping {
      await node.close()
      return log.info("stopped before it was ready")
    }
    try await run(node, server, api, log, signals, drain: .milliseconds(values.drainTimeoutMilliseconds))
  }

  private static var contract: String {
    var count = 0
    let bytes = ccontract_openapi_yaml(&count)
    return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
  }

  private func run(
    _ node: Node, _ configuration: HTTPServerConfiguration, _ api: APIConfiguration, _ log: Logger,
    _ signals: StopSignals, drain: Duration
  ) async throws {
    let counters = ServerFigures()
    let handler = APIHandler(
      node: node, configuration: api, log: log,
      openAPIYAML: Self.contract,
      metrics: { counters.samples() })
    let server = HTTPServer(configuration: configuration, handler: handler)
    counters.attach(server)
    let bound: [BoundAddress]
    do throws(ServerError) {
      bound = try server.start()
    } catch {
      await node.close()
      Terminal.complain("corad: cannot listen: \(error)")
      throw Exit.failed
    }
    let manager = ServiceManager(environment: ProcessInfo.processInfo.environment)
    var services: [any Service] = []
    if let interval = manager.watchdogInterval {
      services.append(WatchdogService(manager: manager, interval: interval))
    }
    services.append(NodeService(node: node))
    services.append(ServerService(server: server, grace: drain, manager: manager, log: log))
    let group = ServiceGroup(configuration: .init(services: services, logger: log))
    for address in bound { Terminal.print("listening on " + Self.url(address, configuration.tls != nil)) }
    manager.tell("READY=1")
    log.info("ready", metadata: ["base": "\(node.base.digest)"])
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      tasks.addTask {
        await signals.first()
        // Before anything else: who asks on an open connection is told.
        node.retire()
        await group.triggerGracefulShutdown()
      }
      try await group.run()
      tasks.cancelAll()
    }
    log.info("stopped")
  }

  private func complaint(_ error: ConfigurationFault) -> ExitCode {
    Terminal.complain("corad: \(error)")
    return Exit.usage
  }

  static func url(_ address: BoundAddress, _ isSecure: Bool) -> String {
    switch address {
    case .tcp: (isSecure ? "https://" : "http://") + address.description
    case .unix: address.description
    }
  }

  private var flags: [String: ConfigValue] {
    let texts: [(String, String?)] = [
      ("model", model), ("weights", weights), ("store", store), ("api_key_file", apiKeyFile),
      ("tls_certificate", tlsCertificate),
      ("tls_key", tlsKey), ("base_path", basePath), ("log_level", logLevel),
    ]
    let lists = [("listen", listen), ("checkpoints", checkpoints), ("trusted_proxies", trustedProxies)]
    let numbers: [(String, Int?)] = [
      ("cache_bytes", cacheBytes), ("subspace_cache_bytes", subspaceCacheBytes),
      ("kv_cache_bytes", kvCacheBytes), ("lanes", lanes), ("loops", loops),
      ("queue_rows", queueRows),
      ("queue_jobs", queueJobs),
      ("batch_tokens", batchTokens), ("request_timeout_ms", requestTimeout),
      ("writing_timeout_ms", writingTimeout),
      ("drain_timeout_ms", drainTimeout), ("checkpoint_steps", checkpointSteps), ("head_bytes", headBytes),
      ("body_bytes", bodyBytes), ("connections", connections), ("idle_timeout_ms", idleTimeout),
      ("head_timeout_ms", headTimeout), ("body_timeout_ms", bodyTimeout), ("write_timeout_ms", writeTimeout),
    ]
    var flags: [String: ConfigValue] = [:]
    for (key, value) in texts { if let value { flags[key] = ConfigValue(.string(value), isSecret: false) } }
    for (key, value) in lists where !value.isEmpty {
      flags[key] = ConfigValue(.stringArray(value), isSecret: false)
    }
    if let deterministic { flags["deterministic"] = ConfigValue(.bool(deterministic), isSecret: false) }
    for (key, value) in numbers { if let value { flags[key] = ConfigValue(.int(value), isSecret: false) } }
    return flags
  }
}

extension DaemonConfiguration {
  /// The values as a file that `--config` takes: every key, null where it is unset.
  func text() throws -> String {
    var members: [String: JSON] = [:]
    for key in CodingKeys.allCases { members[key.rawValue] = .null }
    if case .object(let set) = try JSON(bytes: [UInt8](try JSONEncoder().encode(self))) {
      members.merge(set) { $1 }
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(JSON.object(members)), as: UTF8.self)
  }
}
