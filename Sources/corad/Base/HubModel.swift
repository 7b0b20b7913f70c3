internal import Foundation
internal import FoundationNetworking
internal import Serving

/// A model on a Hugging Face hub.
struct HubModel {
  let name: String
  let revision: String

  /// Fetches what is missing; a part of a file is gone on with. Files get their names when they are whole.
  func fetch(to folder: String) async throws {
    try await fetch(ModelFiles.config, into: folder)
    var isWhole = false
    if !ModelFiles.isThere(ModelFiles.index, in: folder) {
      isWhole = try await fetch(ModelFiles.weights, into: folder, mayLack: true)
    }
    if !isWhole {
      guard try await fetch(ModelFiles.index, into: folder, mayLack: true) else {
        throw FetchFault(detail: "\(name) has neither \(ModelFiles.weights) nor \(ModelFiles.index)")
      }
      for file in try ModelFiles.shards(in: folder) { try await fetch(file, into: folder) }
    }
    try await fetch(ModelFiles.tokenizer, into: folder)
    for file in ModelFiles.optional(in: folder) { try await fetch(file, into: folder, mayLack: true) }
  }

  /// - Returns: false where the hub has none and the file may lack.
  @discardableResult
  private func fetch(_ file: String, into folder: String, mayLack: Bool = false) async throws -> Bool {
    let path = folder + "/" + file
    if FileManager.default.fileExists(atPath: path) { return true }
    let endpoint = ProcessInfo.processInfo.environment["HF_ENDPOINT"] ?? "https://huggingface.co"
    guard let url = URL(string: "\(endpoint)/\(name)/resolve/\(revision)/\(file)") else {
      throw FetchFault(detail: "\(endpoint) and \(name) make no URL")
    }
    let temporary = path + ".part"
    if !FileManager.default.fileExists(atPath: temporary) {
      _ = FileManager.default.createFile(atPath: temporary, contents: nil)
    }
    guard let handle = FileHandle(forWritingAtPath: temporary) else {
      throw FetchFault(detail: "\(temporary) cannot be written")
    }
    let start = try handle.seekToEnd()
    var request = URLRequest(url: url)
    // The bytes as stored: a resumed file must not be half compressed.
    request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
    if start > 0 { request.setValue("bytes=\(start)-", forHTTPHeaderField: "Range") }
    let download = Download(handle, resumedAt: start, name: file)
    let answer = try await download.run(request)
    try handle.close()
    switch answer.status {
    case 200, 206: break
    case 416 where start > 0:
      // The part is the whole, or of another file: its digest says.
      break
    case 404 where mayLack:
      try? FileManager.default.removeItem(atPath: temporary)
      return false
    default:
      if start == 0 { try? FileManager.default.removeItem(atPath: temporary) }
      throw FetchFault(detail: "\(url.absoluteString) answered \(answer.status)")
    }
    if let expected = answer.digest, FileDigest.sha256(path: temporary) != expected {
      try? FileManager.default.removeItem(atPath: temporary)
      throw FetchFault(detail: "\(file) does not have the digest \(expected)")
    }
    try ModelFiles.place(temporary, path)
    return true
  }
}

/// One transfer into a file.
// SAFETY: the session's delegate queue · URLSession calls a delegate on one serial queue, and `run` returns after it.
private final class Download: NSObject, URLSessionDataDelegate, @unchecked Sendable {
  struct Answer: Sendable {
    var status = 0
    /// SHA-256 in hexadecimal, where the hub gives one.
    var digest: String?
  }

  private let file: FileHandle
  private let start: UInt64
  private let name: String
  private var answer = Answer()
  private var received = 0
  private var shown = 0
  private var fault: (any Error)?
  private var continuation: CheckedContinuation<Answer, any Error>?

  init(_ file: FileHandle, resumedAt start: UInt64, name: String) {
    self.file = file
    self.start = start
    self.name = name
  }

  func run(_ request: URLRequest) async throws -> Answer {
    let session = URLSession(configuration: .default, delegate: self, delegateQueue: nil)
    defer { session.finishTasksAndInvalidate() }
    return try await withCheckedThrowingContinuation { continuation in
      self.continuation = continuation
      session.dataTask(with: request).resume()
    }
  }

  func urlSession(
    _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
    newRequest request: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
  ) {
    note(response)
    completionHandler(request)
  }

  func urlSession(
    _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
    completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
  ) {
    if let response = response as? HTTPURLResponse {
      note(response)
      answer.status = response.statusCode
      // The server sends the whole where it does not resume.
      if response.statusCode == 200, start > 0 {
        do { try file.truncate(atOffset: 0) } catch { fault = error }
      }
    }
    completionHandler(.allow)
  }

  func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
    guard answer.status == 200 || answer.status == 206, fault == nil else { return }
    do {
      try file.write(contentsOf: data)
    } catch {
      fault = error
      dataTask.cancel()
    }
    received += data.count
    if Terminal.isInteractive, received - shown > 1 << 20 {
      shown = received
      Terminal.progress("\r\u{1b}[K\(name) \(Terminal.bytes(received + Int(start)))")
    }
  }

  func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
    if shown > 0 { Terminal.progress("\r\u{1b}[K") }
    if let fault {
      continuation?.resume(
        throwing: FetchFault(detail: "\(name) cannot be written: \(fault.localizedDescription)"))
    } else if let error {
      continuation?.resume(
        throwing: FetchFault(detail: "\(name): \(error.localizedDescription)", isUnreachable: true))
    } else {
      continuation?.resume(returning: answer)
    }
    continuation = nil
  }

  /// A hub's digest of a large file stands in the redirection; a small file's tag is no SHA-256.
  private func note(_ response: HTTPURLResponse) {
    for field in ["x-linked-etag", "etag"] {
      guard answer.digest == nil, let tag = response.value(forHTTPHeaderField: field) else { continue }
      let digest = tag.filter(\.isHexDigit).lowercased()
      if digest.count == 64, tag.allSatisfy({ $0.isHexDigit || $0 == "\"" }) { answer.digest = digest }
    }
  }
}
