internal import API
internal import Configuration
internal import Foundation
internal import HTTPServer
internal import HTTPWire
internal import Serving

/// Every key of the daemon, its default and its unit; `Deploy/config/corad.json` lists the same.
struct DaemonConfiguration: Sendable, Encodable {
  var model: String?
  var weights = "f32"
  var deterministic = false
  var store = "corad.sqlite"
  var listen = ["127.0.0.1:8080"]
  var apiKeyFile: String?
  var tlsCertificate: String?
  var tlsKey: String?
  /// `NAME=DIR`.
  var checkpoints: [String] = []
  var basePath = ""
  var trustedProxies: [String] = []
  var cacheBytes = 512 << 20
  var subspaceCacheBytes = 512 << 20
  var keyValueCacheBytes = 1 << 30
  var lanes = 0
  /// 0: one per core.
  var loops = 1
  var queueRows = 4096
  var queueJobs = 1000
  var batchTokens = 4096
  var requestTimeoutMilliseconds = 30_000
  var writingTimeoutMilliseconds = 300_000
  var drainTimeoutMilliseconds = 30_000
  var checkpointSteps = 50
  var headBytes = 16 << 10
  var bodyBytes = 64 << 20
  var connections = 4096
  var idleTimeoutMilliseconds = 75_000
  var headTimeoutMilliseconds = 10_000
  var bodyTimeoutMilliseconds = 30_000
  var writeTimeoutMilliseconds = 30_000
  var logLevel = "info"

  enum CodingKeys: String, CodingKey, CaseIterable {
    case model, weights, deterministic, store, listen
    case apiKeyFile = "api_key_file"
    case tlsCertificate = "tls_certificate"
    case tlsKey = "tls_key"
    case checkpoints
    case basePath = "base_path"
    case trustedProxies = "trusted_proxies"
    case cacheBytes = "cache_bytes"
    case subspaceCacheBytes = "subspace_cache_bytes"
    case keyValueCacheBytes = "kv_cache_bytes"
    case lanes, loops
    case queueRows = "queue_rows"
    case queueJobs = "queue_jobs"
    case batchTokens = "batch_tokens"
    case requestTimeoutMilliseconds = "request_timeout_ms"
    case writingTimeoutMilliseconds = "writing_timeout_ms"
    case drainTimeoutMilliseconds = "drain_timeout_ms"
    case checkpointSteps = "checkpoint_steps"
    case headBytes = "head_bytes"
    case bodyBytes = "body_bytes"
    case connections
    case idleTimeoutMilliseconds = "idle_timeout_ms"
    case headTimeoutMilliseconds = "head_timeout_ms"
    case bodyTimeoutMilliseconds = "body_timeout_ms"
    case writeTimeoutMilliseconds = "write_timeout_ms"
    case logLevel = "log_level"
  }

  /// Flags before the environment (`CORAD_CACHE_BYTES`) before the file before the defaults.
  ///
  /// - Throws: `ConfigurationFault` naming the key.
  static func load(
    flags: [String: ConfigValue], environment: [String: String], file: String?
  ) throws -> DaemonConfiguration {
    var providers: [any ConfigProvider] = [
      InMemoryProvider(
        name: "flags",
        values: Dictionary(
          uniqueKeysWithValues: flags.map { (AbsoluteConfigKey([$0.key]), $0.value) })),
      EnvironmentVariablesProvider(
        environmentVariables: environment.reduce(into: [:]) { kept, pair in
          if pair.key.hasPrefix("CORAD_") { kept[String(pair.key.dropFirst(6))] = pair.value }
        }),
    ]
    if let file { providers.append(try Self.provider(of: file)) }
    return try DaemonConfiguration(providers: providers)
  }

  /// The file's keys; null says unset. A key that nobody reads is a typing error, not a wish.
  private static func provider(of file: String) throws -> InMemoryProvider {
    guard let bytes = FileManager.default.contents(atPath: file) else {
      throw ConfigurationFault(key: "config", detail: "cannot be read: \(file)")
    }
    guard case .object(let members)? = try? JSON(bytes: [UInt8](bytes)) else {
      throw ConfigurationFault(key: "config", detail: "is not a JSON object: \(file)")
    }
    var values: [AbsoluteConfigKey: ConfigValue] = [:]
    for (key, member) in members.sorted(by: { $0.key < $1.key }) where member != .null {
      guard CodingKeys(stringValue: key) != nil else {
        throw ConfigurationFault(key: key, detail: "is no key of the configuration")
      }
      let content: ConfigContent? =
        switch member {
        case .string(let text): .string(text)
        case .int(let number): .int(number)
        case .bool(let flag): .bool(flag)
        case .array(let array) where array.allSatisfy({ $0.string != nil }):
          .stringArray(array.compactMap(\.string))
        default: nil
        }
      guard let content else { throw ConfigurationFault(key: key, detail: "has a value of another type") }
      values[AbsoluteConfigKey([key])] = ConfigValue(content, isSecret: false)
    }
    return InMemoryProvider(name: "file", values: values)
  }

  private init(providers: [any ConfigProvider]) throws {
    // The reader passes over a value of another type in silence; a provider throws.
    func find(_ key: CodingKeys, _ type: ConfigType, _ wanted: String) throws -> ConfigContent? {
      for provider in providers {
        do {
          let found = try provider.value(forKey: AbsoluteConfigKey([key.rawValue]), type: type)
          if let value = found.value { return value.content }
        } catch {
          throw ConfigurationFault(key: key.rawValue, detail: "is not \(wanted) (\(provider.providerName))")
        }
      }
      return nil
    }
    func text(_ key: CodingKeys, _ value: inout String) throws {
      if case .string(let found)? = try find(key, .string, "a text") { value = found }
    }
    func optional(_ key: CodingKeys, _ value: inout String?) throws {
      if case .string(let found)? = try find(key, .string, "a text") { value = found }
    }
    func flag(_ key: CodingKeys, _ value: inout Bool) throws {
      if case .bool(let found)? = try find(key, .bool, "true or false") { value = found }
    }
    func list(_ key: CodingKeys, _ value: inout [String]) throws {
      if case .stringArray(let found)? = try find(key, .stringArray, "a list of texts") { value = found }
    }
    func number(_ key: CodingKeys, _ value: inout Int, _ range: ClosedRange<Int>) throws {
      if case .int(let found)? = try find(key, .int, "a whole number") { value = found }
      guard range.contains(value) else {
        throw ConfigurationFault(
          key: key.rawValue, detail: "is \(value), must be \(range.lowerBound) through \(range.upperBound)")
      }
    }
    try optional(.model, &model)
    try text(.weights, &weights)
    try flag(.deterministic, &deterministic)
    try text(.store, &store)
    try list(.listen, &listen)
    try optional(.apiKeyFile, &apiKeyFile)
    try optional(.tlsCertificate, &tlsCertificate)
    try optional(.tlsKey, &tlsKey)
    try list(.checkpoints, &checkpoints)
    try text(.basePath, &basePath)
    try list(.trustedProxies, &trustedProxies)
    try number(.cacheBytes, &cacheBytes, 0...(1 << 44))
    try number(.subspaceCacheBytes, &subspaceCacheBytes, 0...(1 << 44))
    try number(.keyValueCacheBytes, &keyValueCacheBytes, 1...(1 << 44))
    try number(.lanes, &lanes, 0...1024)
    try number(.loops, &loops, 0...256)
    try number(.queueRows, &queueRows, 1...1_000_000)
    try number(.queueJobs, &queueJobs, 1...1_000_000)
    try number(.batchTokens, &batchTokens, 1...1_000_000)
    try number(.requestTimeoutMilliseconds, &requestTimeoutMilliseconds, 1...3_600_000)
    try number(.writingTimeoutMilliseconds, &writingTimeoutMilliseconds, 1...3_600_000)
    try number(.drainTimeoutMilliseconds, &drainTimeoutMilliseconds, 0...3_600_000)
    try number(.checkpointSteps, &checkpointSteps, 1...1_000_000)
    try number(.headBytes, &headBytes, 512...(1 << 20))
    try number(.bodyBytes, &bodyBytes, 1024...(1 << 34))
    try number(.connections, &connections, 1...1_000_000)
    try number(.idleTimeoutMilliseconds, &idleTimeoutMilliseconds, 1...3_600_000)
    try number(.headTimeoutMilliseconds, &headTimeoutMilliseconds, 1...3_600_000)
    try number(.bodyTimeoutMilliseconds, &bodyTimeoutMilliseconds, 1...3_600_000)
    try number(.writeTimeoutMilliseconds, &writeTimeoutMilliseconds, 1...3_600_000)
    try text(.logLevel, &logLevel)
  }

  /// The core's share of it.
  func serving() throws -> ServingConfiguration {
    guard let model, !model.isEmpty else {
      throw ConfigurationFault(key: "model", detail: "is missing: the folder of the base (--model DIR)")
    }
    var serving = ServingConfiguration(modelDirectory: model, storePath: store)
    let formats = ServingConfiguration.weightFormats
    guard formats.contains(weights) else {
      throw ConfigurationFault(
        key: "weights", detail: "is \(weights), must be one of \(formats.joined(separator: ", "))")
    }
    serving.weights = weights
    serving.checksDeterminism = deterministic
    serving.cacheBytes = cacheBytes
    serving.subspaceCacheBytes = subspaceCacheBytes
    serving.keyValueCacheBytes = keyValueCacheBytes
    serving.lanes = lanes
    serving.queueRows = queueRows
    serving.queueJobs = queueJobs
    serving.batchTokens = batchTokens
    serving.requestTimeoutMilliseconds = requestTimeoutMilliseconds
    serving.writingTimeoutMilliseconds = writingTimeoutMilliseconds
    serving.checkpointSteps = checkpointSteps
    for entry in checkpoints {
      let parts = entry.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else {
        throw ConfigurationFault(key: "checkpoints", detail: "holds \"\(entry)\", must be NAME=DIR")
      }
      serving.checkpoints[parts[0]] = parts[1]
    }
    return serving
  }

  /// The server's share of it.
  func server() throws -> HTTPServerConfiguration {
    var addresses = ListenAddress.inherited(
      environment: ProcessInfo.processInfo.environment, processID: ProcessInfo.processInfo.processIdentifier)
    if addresses.isEmpty {
      addresses = try listen.map { text in
        guard let address = ListenAddress(text) else {
          throw ConfigurationFault(key: "listen", detail: "holds \"\(text)\", must be HOST:PORT or unix:PATH")
        }
        return address
      }
    }
    var limits = HTTPLimits()
    limits.headBytes = headBytes
    limits.bodyBytes = bodyBytes
    limits.connections = connections
    limits.idleTime = .milliseconds(idleTimeoutMilliseconds)
    limits.headTime = .milliseconds(headTimeoutMilliseconds)
    limits.bodyTime = .milliseconds(bodyTimeoutMilliseconds)
    limits.writeTime = .milliseconds(writeTimeoutMilliseconds)
    var tls: TLSConfiguration?
    switch (tlsCertificate, tlsKey) {
    case (let certificate?, let key?):
      tls = TLSConfiguration(certificateChainPath: certificate, privateKeyPath: key)
    case (nil, nil): break
    default: throw ConfigurationFault(key: "tls_key", detail: "and tls_certificate are needed together")
    }
    return HTTPServerConfiguration(
      listeners: addresses, tls: tls, loops: loops > 0 ? loops : ProcessInfo.processInfo.activeProcessorCount,
      limits: limits)
  }
}

extension DaemonConfiguration {
  /// The surface's share of it.
  func api() throws -> APIConfiguration {
    var api = APIConfiguration()
    if !basePath.isEmpty, !basePath.hasPrefix("/") || basePath.hasSuffix("/") {
      throw ConfigurationFault(key: "base_path", detail: "must start with / and not end with it")
    }
    api.basePath = basePath
    if let apiKeyFile { api.require(key: try Secret.read(apiKeyFile)) }
    api.trustedProxies = Set(trustedProxies)
    api.trainingBodyBytes = bodyBytes
    return api
  }
}

/// A key that cannot be used, and why.
struct ConfigurationFault: Error, CustomStringConvertible {
  let key: String
  let detail: String
  var description: String { "\(key) \(detail)" }
}
