internal import Foundation

/// How a decoder's positions become angles: θ, and what stretches the longer waves of a model that was taught on
/// shorter texts.
public struct RotaryScaling: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case standard
    /// All frequencies divided by the factor (Kaiokendev).
    case linear(factor: Double)
    /// Llama 3.1: long waves divided by the factor, short ones left, a smooth step between.
    case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, originalPositions: Int)
    /// YaRN (arXiv 2309.00071).
    case yarn(
      factor: Double, attentionFactor: Double, betaFast: Double, betaSlow: Double, originalPositions: Int,
      truncates: Bool)
  }

  public let theta: Double
  public let kind: Kind

  /// - Throws: `.unsupportedSetting` with the name of a scaling or of a field that we do not have.
  init(_ fields: RotaryFields?, theta: Double?, positions: Int) throws(ModelError) {
    let name = "rope_scaling"
    self.theta = try ConfigJSON.number(fields?.theta ?? theta ?? 10_000, "rope_theta", in: 1...1e12)
    guard let fields else {
      kind = .standard
      return
    }
    let type = fields.ropeType ?? fields.type ?? "default"
    guard ["default", "linear", "llama3", "yarn"].contains(type) else {
      throw .unsupportedSetting(field: name, value: type)
    }
    if let unknown = fields.unknown.first { throw .unsupportedSetting(field: name, value: unknown) }
    if let partial = fields.partialRotaryFactor, partial != 1 {
      throw .unsupportedSetting(field: "partial_rotary_factor", value: "\(partial)")
    }
    func factor(_ value: Double?, _ field: String) throws(ModelError) -> Double {
      guard let value else { throw .missingSetting(field: "\(name).\(field)") }
      return try ConfigJSON.number(value, "\(name).\(field)", in: 1e-6...1e6)
    }
    let original = try ConfigJSON.size(
      fields.originalPositions ?? positions, "\(name).original_max_position_embeddings")
    switch type {
    case "linear":
      kind = .linear(factor: try factor(fields.factor, "factor"))
    case "llama3":
      let low = try factor(fields.lowFrequency, "low_freq_factor")
      let high = try factor(fields.highFrequency, "high_freq_factor")
      guard low < high else {
        throw .unsupportedSetting(field: "\(name).high_freq_factor", value: "\(high)")
      }
      kind = .llama3(
        factor: try factor(fields.factor, "factor"), lowFrequency: low, highFrequency: high,
        originalPositions: original)
    case "yarn":
      let stretch = try factor(fields.factor, "factor")
      kind = .yarn(
        factor: stretch, attentionFactor: try fields.attention(stretch),
        betaFast: try factor(fields.betaFast ?? 32, "beta_fast"),
        betaSlow: try factor(fields.betaSlow ?? 1, "beta_slow"), originalPositions: original,
        truncates: fields.truncate ?? true)
    default:
      kind = .standard
    }
  }

  /// What the cosines and sines are multiplied by.
  var attentionFactor: Float {
    if case .yarn(_, let attentionFactor, _, _, _, _) = kind { return Float(attentionFactor) }
    return 1
  }

  /// Angle per position of each pair of a head's columns, in float32 as transformers computes it: at position 4,000
  /// the rounding of a frequency is an angle of 2e-4.
  func frequencies(headSize: Int) -> [Float] {
    let pairs = headSize / 2
    let waves = (0..<pairs).map { Float(pow(theta, Double(Float(2 * $0) / Float(headSize)))) }
    switch kind {
    case .standard:
      return waves.map { 1 / $0 }
    case .linear(let factor):
      return waves.map { 1 / $0 / Float(factor) }
    case .llama3(let factor, let low, let high, let original):
      return waves.map { wave in
        let frequency = 1 / wave
        let length = 2 * Float.pi / frequency
        if length < Float(Double(original) / high) { return frequency }
        if length > Float(Double(original) / low) { return frequency / Float(factor) }
        let smooth = (Float(original) / length - Float(low)) / Float(high - low)
        return (1 - smooth) * frequency / Float(factor) + smooth * frequency
      }
    case .yarn(let factor, _, let fast, let slow, let original, let truncates):
      /// The pair that turns `turns` times over the original positions.
      func pair(turns: Double) -> Double {
        Double(headSize) * log(Double(original) / (turns * 2 * .pi)) / (2 * log(theta))
      }
      var (first, last) = (pair(turns: fast), pair(turns: slow))
      if truncates { (first, last) = (first.rounded(.down), last.rounded(.up)) }
      first = max(first, 0)
      last = min(last, Double(headSize - 1))
      if first == last { last += 0.001 }
      return waves.indices.map { index in
        let ramp = min(max((Float(index) - Float(first)) / Float(last - first), 0), 1)
        let kept = 1 - ramp
        return 1 / (Float(factor) * waves[index]) * (1 - kept) + 1 / waves[index] * kept
      }
    }
  }
}

/// The fields of `rope_scaling`, or of `rope_parameters` as transformers 5 writes it.
struct RotaryFields: Decodable {
  let type: String?
  let ropeType: String?
  let theta: Double?
  let factor: Double?
  let originalPositions: Int?
  let lowFrequency: Double?
  let highFrequency: Double?
  let attentionFactor: Double?
  let betaFast: Double?
  let betaSlow: Double?
  let mscale: Double?
  let mscaleAllDim: Double?
  let truncate: Bool?
  let partialRotaryFactor: Double?
  /// Names of other fields, sorted: one that is not understood may change the angles.
  let unknown: [String]

  private enum CodingKeys: String, CodingKey, CaseIterable {
    case type
    case ropeType = "rope_type"
    case theta = "rope_theta"
    case factor
    case originalPositions = "original_max_position_embeddings"
    case lowFrequency = "low_freq_factor"
    case highFrequency = "high_freq_factor"
    case attentionFactor = "attention_factor"
    case betaFast = "beta_fast"
    case betaSlow = "beta_slow"
    case mscale
    case mscaleAllDim = "mscale_all_dim"
    case truncate
    case partialRotaryFactor = "partial_rotary_factor"
  }

  private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  init(from decoder: any Swift.Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    type = try container.decodeIfPresent(String.self, forKey: .type)
    ropeType = try container.decodeIfPresent(String.self, forKey: .ropeType)
    theta = try container.decodeIfPresent(Double.self, forKey: .theta)
    factor = try container.decodeIfPresent(Double.self, forKey: .factor)
    originalPositions = try container.decodeIfPresent(Int.self, forKey: .originalPositions)
    lowFrequency = try container.decodeIfPresent(Double.self, forKey: .lowFrequency)
    highFrequency = try container.decodeIfPresent(Double.self, forKey: .highFrequency)
    attentionFactor = try container.decodeIfPresent(Double.self, forKey: .attentionFactor)
    betaFast = try container.decodeIfPresent(Double.self, forKey: .betaFast)
    betaSlow = try container.decodeIfPresent(Double.self, forKey: .betaSlow)
    mscale = try container.decodeIfPresent(Double.self, forKey: .mscale)
    mscaleAllDim = try container.decodeIfPresent(Double.self, forKey: .mscaleAllDim)
    truncate = try container.decodeIfPresent(Bool.self, forKey: .truncate)
    partialRotaryFactor = try container.decodeIfPresent(Double.self, forKey: .partialRotaryFactor)
    let known = Set(CodingKeys.allCases.map(\.rawValue))
    unknown = try decoder.container(keyedBy: AnyKey.self).allKeys.map(\.stringValue)
      .filter { !known.contains($0) }.sorted()
  }

  /// YaRN's factor of the attention's logits, as the paper has it where the config is silent.
  func attention(_ factor: Double) throws(ModelError) -> Double {
    func scale(_ weight: Double) -> Double { factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1 }
    let value: Double
    if let attentionFactor {
      value = attentionFactor
    } else if let mscale, let mscaleAllDim, mscale != 0, mscaleAllDim != 0 {
      value = scale(mscale) / scale(mscaleAllDim)
    } else {
      value = scale(1)
    }
    return try ConfigJSON.number(value, "rope_scaling.attention_factor", in: 1e-6...1e6)
  }
}
