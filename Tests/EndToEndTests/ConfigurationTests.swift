import DaemonSupport
import Foundation
import Testing

/// `corad serve --print-config`: flags before the environment before the file before the defaults.
@Suite struct ConfigurationTests {
  static let example = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Deploy/config/corad.json").path

  func printed(_ arguments: [String] = [], environment: [String: String] = [:]) throws -> JSON {
    let command = try Command.corad(["serve", "--print-config"] + arguments, environment: environment)
    guard command.status == 0 else { throw LiveDaemon.Failure(description: command.errors) }
    return command.json
  }

  @Test func theExampleListsEveryKeyWithItsDefault() throws {
    let bytes = try Data(contentsOf: URL(fileURLWithPath: Self.example))
    let example = try JSONDecoder().decode(JSON.self, from: bytes)
    #expect(try printed() == example)
    #expect(try printed(["--config", Self.example]) == example)
  }

  @Test func nearerWordsWin() throws {
    let folder = try TemporaryFolder()
    let file = folder.path + "/corad.json"
    try #"{"lanes": 3, "store": "file.sqlite", "listen": ["127.0.0.1:1", "unix:/a"], "loops": 2}"#
      .write(toFile: file, atomically: true, encoding: .utf8)
    let environment = [
      "CORAD_STORE": "variable.sqlite", "CORAD_LOOPS": "5", "CORAD_LISTEN": "unix:/b,unix:/c",
    ]
    let fromFile = try printed(["--config", file])
    #expect(fromFile["lanes"].int == 3 && fromFile["store"].string == "file.sqlite")
    #expect(fromFile["listen"].items.map(\.string) == ["127.0.0.1:1", "unix:/a"])
    #expect(fromFile["queue_rows"].int == 4096)
    let fromVariables = try printed(["--config", file], environment: environment)
    #expect(fromVariables["store"].string == "variable.sqlite" && fromVariables["loops"].int == 5)
    #expect(fromVariables["listen"].items.map(\.string) == ["unix:/b", "unix:/c"])
    #expect(fromVariables["lanes"].int == 3)
    let fromFlags = try printed(
      ["--config", file, "--store", "flag.sqlite", "--listen", "unix:/d"], environment: environment)
    #expect(fromFlags["store"].string == "flag.sqlite" && fromFlags["loops"].int == 5)
    #expect(fromFlags["listen"].items.map(\.string) == ["unix:/d"])
    // What is printed is a file that says the same.
    let kept = folder.path + "/printed.json"
    let text = try Command.corad(["serve", "--print-config", "--config", file], environment: environment)
      .output
    try text.write(toFile: kept, atomically: true, encoding: .utf8)
    #expect(try printed(["--config", kept]) == fromVariables)
  }

  @Test func aFlagIsTrueOrFalse() throws {
    let folder = try TemporaryFolder()
    let file = folder.path + "/corad.json"
    try #"{"deterministic": true}"#.write(toFile: file, atomically: true, encoding: .utf8)
    #expect(try printed()["deterministic"] == .bool(false))
    #expect(try printed(["--config", file])["deterministic"] == .bool(true))
    let off = ["CORAD_DETERMINISTIC": "false"]
    #expect(try printed(["--config", file], environment: off)["deterministic"] == .bool(false))
    #expect(try printed(["--deterministic"], environment: off)["deterministic"] == .bool(true))
    #expect(try printed(["--config", file, "--no-deterministic"])["deterministic"] == .bool(false))
  }

  @Test(arguments: [
    (#"{"lane": 1}"#, "lane"), (#"{"lanes": "many"}"#, "lanes"), (#"{"lanes": -1}"#, "lanes"),
    (#"{"listen": 8080}"#, "listen"), (#"{"body_bytes": 1.5}"#, "body_bytes"), ("[]", "config"),
    (#"{"deterministic": 1}"#, "deterministic"), (#"{"deterministic": "yes"}"#, "deterministic"),
    (#"{"drain_timeout_ms": 3600001}"#, "drain_timeout_ms"), ("{", "config"),
  ])
  func wrongFilesNameTheirKey(text: String, key: String) throws {
    let folder = try TemporaryFolder()
    let file = folder.path + "/corad.json"
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    let command = try Command.corad(["serve", "--print-config", "--config", file])
    #expect(command.status == 2 && command.output.isEmpty)
    #expect(command.errors.hasPrefix("corad: \(key) "), "\(command.errors)")
  }

  @Test(arguments: [
    (["--lanes", "x"], "lanes"), (["--cache-bytes=-1"], "cache_bytes"),
    (["--config", "/nowhere"], "config"),
    (["--none"], "none"), (["extra"], "extra"),
  ])
  func wrongFlagsAreRefused(arguments: [String], word: String) throws {
    let command = try Command.corad(["serve", "--print-config"] + arguments)
    #expect(command.status == 2 && command.errors.contains(word), "\(command.errors)")
  }

  @Test(arguments: [
    ([], "model"), (["--model", LiveDaemon.model, "--listen", "8080"], "listen"),
    (["--model", LiveDaemon.model, "--base-path", "a"], "base_path"),
    (["--model", LiveDaemon.model, "--tls-key", "/a"], "tls_key"),
    (["--model", LiveDaemon.model, "--checkpoint", "a"], "checkpoints"),
    (["--model", LiveDaemon.model, "--log-level", "loud"], "log_level"),
    (["--model", LiveDaemon.model, "--api-key-file", "/nowhere"], "api_key_file"),
  ])
  func whatCannotBeServedIsRefusedBeforeAnythingIsOpened(arguments: [String], key: String) throws {
    let folder = try TemporaryFolder()
    let store = folder.path + "/store.sqlite"
    let command = try Command.corad(["serve", "--store", store] + arguments)
    #expect(command.status == 2 && command.errors.hasPrefix("corad: \(key) "), "\(command.errors)")
    #expect(!FileManager.default.fileExists(atPath: store))
  }
}
