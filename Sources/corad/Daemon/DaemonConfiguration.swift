import Configuration
import Foundation
import HTTPServer
import HTTPWire
import Serving
import SystemPackage

/// Every key of the daemon, its default and its unit; `Deploy/config/corad.json` lists the same.
struct DaemonConfiguration: Sendable, Encodable {
  var model = ""
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
  var lanes = 0
  var loops = 1
  var queueRows = 4096
  var batchTokens = 4096
  var requestTimeoutMilliseconds = 30_000
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

  enum CodingKeys: String, CodingKey {
    case model, store, listen
    case apiKeyFile = "api_key_file"
    case tlsCertificate = "tls_certificate"
    case tlsKey = "tls_key"
    case checkpoints
    case basePath = "base_path"
    case trustedProxies = "trusted_proxies"
    case cacheBytes = "cache_bytes"
    case lanes, loops
    case queueRows = "queue_rows"
    case batchTokens = "batch_tokens"
    case requestTimeoutMilliseconds = "request_timeout_ms"
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
  /// - Throws: `ConfigurationFault` naming the key; the file's own error where it cannot be read.
  static func load(flags: [String: ConfigValue], file: String?) async throws -> DaemonConfiguration {
    var providers: [any ConfigProvider] = [
      InMemoryProvider(
        name: "flags",
        values: Dictionary(
          uniqueKeysWithValues: flags.map { (AbsoluteConfigKey([$0.key]), $0.value) })),
      EnvironmentVariablesProvider(
        environmentVariables: ProcessInfo.processInfo.environment.reduce(into: [:]) { kept, pair in
          if pair.key.hasPrefix("CORAD_") { kept[String(pair.key.dropFirst(6))] = pair.value }
        }),
    ]
    if let file {
      try checkKeys(of: file)
      providers.append(try await FileProvider<JSONSnapshot>(filePath: FilePath(file)))
    }
    return try DaemonConfiguration(reader: ConfigReader(providers: providers))
  }

  /// A key that nobody reads is a typing error, not a wish.
  private static func checkKeys(of file: String) throws {
    let bytes = try Data(contentsOf: URL(fileURLWithPath: file))
    guard let object = try JSONSerialization.jsonObject(with: bytes) as? [String: Any] else {
      throw ConfigurationFault(key: file, detail: "is not a JSON object")
    }
    for key in object.keys.sorted() where CodingKeys(stringValue: key) == nil {
      throw ConfigurationFault(key: key, detail: "is no key of the configuration")
    }
  }

  private init(reader: ConfigReader) throws {
    func text(_ key: CodingKeys, _ value: inout String) {
      value = reader.string(forKey: ConfigKey([key.rawValue]), default: value)
    }
    func optional(_ key: CodingKeys, _ value: inout String?) {
      value = reader.string(forKey: ConfigKey([key.rawValue])) ?? value
    }
    func list(_ key: CodingKeys, _ value: inout [String]) {
      value = reader.stringArray(forKey: ConfigKey([key.rawValue]), default: value)
    }
    func number(_ key: CodingKeys, _ value: inout Int, _ range: ClosedRange<Int>) throws {
      value = try reader.requiredInt(forKey: ConfigKey([key.rawValue]), default: value)
      guard range.contains(value) else {
        throw ConfigurationFault(
          key: key.rawValue, detail: "is \(value), must be \(range.lowerBound) through \(range.upperBound)")
      }
    }
    text(.model, &model)
    text(.store, &store)
    list(.listen, &listen)
    optional(.apiKeyFile, &apiKeyFile)
    optional(.tlsCertificate, &tlsCertificate)
    optional(.tlsKey, &tlsKey)
    list(.checkpoints, &checkpoints)
    text(.basePath, &basePath)
    list(.trustedProxies, &trustedProxies)
    try number(.cacheBytes, &cacheBytes, 0...(1 << 44))
    try number(.lanes, &lanes, 0...1024)
    try number(.loops, &loops, 1...256)
    try number(.queueRows, &queueRows, 1...1_000_000)
    try number(.batchTokens, &batchTokens, 1...1_000_000)
    try number(.requestTimeoutMilliseconds, &requestTimeoutMilliseconds, 1...3_600_000)
    try number(.drainTimeoutMilliseconds, &drainTimeoutMilliseconds, 0...3_600_000)
    try number(.checkpointSteps, &checkpointSteps, 1...1_000_000)
    try number(.headBytes, &headBytes, 512...(1 << 20))
    try number(.bodyBytes, &bodyBytes, 1024...(1 << 34))
    try number(.connections, &connections, 1...1_000_000)
    try number(.idleTimeoutMilliseconds, &idleTimeoutMilliseconds, 1...3_600_000)
    try number(.headTimeoutMilliseconds, &headTimeoutMilliseconds, 1...3_600_000)
    try number(.bodyTimeoutMilliseconds, &bodyTimeoutMilliseconds, 1...3_600_000)
    try number(.writeTimeoutMilliseconds, &writeTimeoutMilliseconds, 1...3_600_000)
    text(.logLevel, &logLevel)
  }

  /// The core's share of it.
  func serving() throws -> ServingConfiguration {
    guard !model.isEmpty else {
      throw ConfigurationFault(key: "model", detail: "is missing: the folder of the base (--model DIR)")
    }
    var serving = ServingConfiguration(modelDirectory: model, storePath: store)
    serving.cacheBytes = cacheBytes
    serving.lanes = lanes
    serving.queueRows = queueRows
    serving.batchTokens = batchTokens
    serving.requestTimeoutMilliseconds = requestTimeoutMilliseconds
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
    return HTTPServerConfiguration(listeners: addresses, tls: tls, loops: loops, limits: limits)
  }
}

/// A key that cannot be used, and why.
struct ConfigurationFault: Error, CustomStringConvertible {
  let key: String
  let detail: String
  var description: String { "\(key) \(detail)" }
}
