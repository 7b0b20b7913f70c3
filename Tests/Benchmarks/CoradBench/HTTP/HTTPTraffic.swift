import Adapters
import Foundation
import Tensors

/// The two requests, byte for byte, as a plain client sends them.
enum HTTPTraffic {
  static let task = "tickets"
  static let labels = ["billing", "delivery", "account", "other"]
  static let inputs = 32
  static let bodyBytes = 4_096
  /// What the stubbed tokeniser gives for a text; about what the real one does.
  static let tokens = 30

  /// Scores as a softmax gives them: full-length digits, a different order in every row.
  static let predictions: [Prediction] = {
    var random = RandomSource(seed: 7)
    return (0..<inputs).map { _ in
      let logits = labels.map { _ in 2 * random.normal() }
      return .classification(scores: logits.withUnsafeBufferPointer { Prediction.softmax($0) })
    }
  }()

  /// `{"inputs": [32 texts]}` of 4,096 bytes.
  static let body: [UInt8] = {
    let words = [
      "my", "card", "was", "charged", "twice", "for", "the", "order", "that", "arrived", "late", "and", "I",
      "cannot", "reach", "anybody", "about", "account", "settings", "please", "help", "refund", "invoice",
    ]
    var random = RandomSource(seed: 11)
    let frame = #"{"inputs":["#.utf8.count + "]}".utf8.count + inputs * 3 - 1
    let texts = (0..<inputs).map { index in
      let length = (bodyBytes - frame) * (index + 1) / inputs - (bodyBytes - frame) * index / inputs
      var text = ""
      while text.utf8.count < length {
        text += (text.isEmpty ? "" : " ") + words[random.below(words.count)]
      }
      return "\"" + text.prefix(length - 1) + ".\""
    }
    return Array((#"{"inputs":["# + texts.joined(separator: ",") + "]}").utf8)
  }()

  static let get = Array(
    "GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: corad-bench\r\nAccept: */*\r\n\r\n".utf8)

  static let infer =
    Array(
      """
      POST /adapters/\(task)/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: corad-bench\r\nAccept: */*\r
      Content-Type: application/json\r\nContent-Length: \(body.count)\r\n\r\n
      """.utf8) + body
}
