import Foundation

/// transformers' greedy loop over a batch of streams; `peers/decode_peer.py`.
struct TorchDecoder {
  private let peer: Peer

  private struct Prepare: Encodable {
    let command = "prepare"
    let element: String
  }
  private struct Prepared: Decodable { let parameters: Int }
  private struct Decode: Encodable {
    let command = "decode"
    let prompts: [[Int32]]
    let steps: Int
  }
  private struct Decoded: Decodable {
    let promptSeconds: Double
    let decodeSeconds: Double
    let promptTokens: Int
    let decodeTokens: Int

    enum CodingKeys: String, CodingKey {
      case promptSeconds = "prompt_seconds"
      case decodeSeconds = "decode_seconds"
      case promptTokens = "prompt_tokens"
      case decodeTokens = "decode_tokens"
    }
  }

  /// - Parameter element: `float32` or `bfloat16`, of weights and activations.
  init(python: String, model: String, threads: Int, element: String) throws {
    peer = try Peer(python: python, script: "decode_peer.py", threads: threads, model: model)
    let _: Prepared = try peer.call(Prepare(element: element))
  }

  var versions: [String: String] { peer.versions }

  func decode(_ prompts: [[Int32]], steps: Int) throws -> DecodeTimes {
    let done: Decoded = try peer.call(Decode(prompts: prompts, steps: steps))
    return DecodeTimes(
      promptSeconds: done.promptSeconds, promptTokens: done.promptTokens, decodeSeconds: done.decodeSeconds,
      decodeTokens: done.decodeTokens)
  }
}
