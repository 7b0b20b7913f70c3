import Foundation

/// transformers' greedy loop over a batch of streams; `peers/decode_peer.py`.
struct TorchDecoder {
  private let peer: Peer

  private struct Prepare: Encodable {
    let command = "prepare"
    let element: String
    let adapters: Int
    let rank = DecoderTasks.rank
    let target = ["q_proj", "v_proj"]
  }
  private struct Prepared: Decodable { let parameters: Int }
  private struct Decode: Encodable {
    let command = "decode"
    let prompts: [[Int32]]
    let steps: Int
    let distinct: Int
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

  /// - Parameters:
  ///   - element: `float32` or `bfloat16`, of weights and activations.
  ///   - adapters: of PEFT, on query and value.
  init(python: String, model: String, threads: Int, element: String, adapters: Int = 0) throws {
    peer = try Peer(python: python, script: "decode_peer.py", threads: threads, model: model)
    let _: Prepared = try peer.call(Prepare(element: element, adapters: adapters))
  }

  var versions: [String: String] { peer.versions }

  /// - Parameter distinct: so many adapters, each of as many streams; 0 for the bare base.
  func decode(_ prompts: [[Int32]], steps: Int, distinct: Int = 0) throws -> DecodeTimes {
    let done: Decoded = try peer.call(Decode(prompts: prompts, steps: steps, distinct: distinct))
    return DecodeTimes(
      promptSeconds: done.promptSeconds, promptTokens: done.promptTokens, decodeSeconds: done.decodeSeconds,
      decodeTokens: done.decodeTokens)
  }
}
