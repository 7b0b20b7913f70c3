internal import Serving

/// What completions and chats take alike.
enum SamplingFields {
  static let names = [
    "model", "stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "min_p",
    "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "stop", "logprobs",
  ]

  static let neutral = [
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention",
  ]

  static let one = UnsupportedField("n", neutral: "1") { $0.number?.integer == 1 }

  /// All but the log-probabilities, which the two write in their own ways.
  static func options(_ body: ObjectDecoder) -> WritingOptions {
    var options = WritingOptions()
    options.maxTokens = body.integer("max_tokens", in: Limits.maxTokens)
    options.temperature = body.float("temperature", in: 0...2) ?? options.temperature
    options.topP = body.float("top_p", in: 0...1) ?? options.topP
    options.topK = body.integer("top_k", in: Limits.samplingTopK)
    options.minP = body.float("min_p", in: 0...1) ?? options.minP
    options.repetitionPenalty = body.float("repetition_penalty", in: 0.01...100) ?? options.repetitionPenalty
    options.presencePenalty = body.float("presence_penalty", in: -2...2) ?? options.presencePenalty
    options.frequencyPenalty = body.float("frequency_penalty", in: -2...2) ?? options.frequencyPenalty
    options.logitBias = logitBias(body)
    // Negative seeds are seeds too: two's complement.
    options.seed = body.integer("seed", in: Limits.seed).map { UInt64(bitPattern: Int64($0)) }
    options.stop = stop(body)
    return options
  }

  /// Whether the answer is streamed, and with usage at its end.
  static func stream(_ body: ObjectDecoder) -> (isStream: Bool, includesUsage: Bool) {
    let isStream = body.bool("stream") ?? false
    var includesUsage = false
    if let value = body.value("stream_options"),
      let options = ObjectDecoder(
        openAI: value, pointer: "/stream_options", taken: ["include_usage"], neutral: ["include_obfuscation"],
        errors: body.errors)
    {
      includesUsage = options.bool("include_usage") ?? false
      if !isStream { body.errors.add("/stream_options", "is for streams", allowed: "stream: true") }
    }
    return (isStream, includesUsage)
  }

  private static func logitBias(_ body: ObjectDecoder) -> [Int32: Float] {
    guard let value = body.value("logit_bias") else { return [:] }
    guard case .object(let members) = value else {
      body.wrongType("logit_bias", value, "an object")
      return [:]
    }
    if members.count > Limits.logitBiases {
      body.errors.add(
        "/logit_bias", "has \(members.count) members", allowed: "at most \(Limits.logitBiases)")
      return [:]
    }
    var biases: [Int32: Float] = [:]
    for member in members {
      let pointer = "/logit_bias/" + JSONPointer.escaped(member.name)
      guard let token = tokenID(member.name) else {
        body.errors.add(pointer, "is not a token id", allowed: ObjectDecoder.text(Limits.tokenID))
        continue
      }
      guard case .number(let bias) = member.value, (-100...100).contains(bias.double) else {
        body.errors.add(pointer, "is not a bias", allowed: "-100 through 100")
        continue
      }
      biases[token] = bias.float
    }
    return biases
  }

  /// A whole number without a sign or leading zeros.
  private static func tokenID(_ text: String) -> Int32? {
    guard (1...9).contains(text.utf8.count), text.utf8.allSatisfy(isDigit), text == "0" || text.first != "0"
    else { return nil }
    return Int32(text)
  }

  private static func stop(_ body: ObjectDecoder) -> [String] {
    guard let value = body.value("stop") else { return [] }
    let pointer = body.pointer("stop")
    func isGood(_ text: String, _ pointer: String) -> Bool {
      ObjectDecoder.checked(text, pointer, body.errors, limitBytes: Limits.stopBytes)
    }
    if case .string(let text) = value { return isGood(text, pointer) ? [text] : [] }
    return (body.array("stop", count: Limits.stops) ?? []).enumerated().compactMap { index, element in
      guard case .string(let text) = element else {
        body.errors.add("\(pointer)/\(index)", "is \(element.typeName), must be a string")
        return nil
      }
      return isGood(text, "\(pointer)/\(index)") ? text : nil
    }
  }
}
