/// The text of token ids as they come, in pieces that end between scalars.
///
/// All pieces together are what `Tokenizer.decode` gives for all ids. What cannot be told yet waits: part of a scalar,
/// a run of byte tokens, white space that may be stripped at the end.
public struct TextStream: Sendable {
  private let tokenizer: Tokenizer
  private let skipsSpecial: Bool
  private var steps: [Decoder.Step]

  init(_ tokenizer: Tokenizer, steps decoders: [Decoder], skipsSpecial: Bool) {
    self.tokenizer = tokenizer
    self.skipsSpecial = skipsSpecial
    var isFused = false
    steps = []
    for decoder in decoders {
      steps.append(Decoder.Step(decoder, isFused: isFused))
      isFused = isFused || decoder.fuses
    }
  }

  /// Takes the next id and gives what can be told of the text; an id that is not in use gives nothing.
  public mutating func append(_ id: Int32) -> String {
    guard let token = tokenizer.bytes(of: id, skippingSpecial: skipsSpecial) else { return "" }
    var text: [UInt8] = []
    feed(token, at: 0, into: &text)
    return String(decoding: text, as: UTF8.self)
  }

  /// The rest of the text; afterwards the stream is at an end.
  public mutating func finish() -> String {
    var text: [UInt8] = []
    for index in steps.indices {
      var rest: [[UInt8]] = []
      steps[index].finish { rest.append($0) }
      for token in rest { feed(token, at: index + 1, into: &text) }
    }
    return String(decoding: text, as: UTF8.self)
  }

  private mutating func feed(_ token: [UInt8], at index: Int, into text: inout [UInt8]) {
    guard index < steps.count else {
      text += token
      return
    }
    var given: [[UInt8]] = []
    steps[index].feed(token) { given.append($0) }
    for token in given { feed(token, at: index + 1, into: &text) }
  }
}
